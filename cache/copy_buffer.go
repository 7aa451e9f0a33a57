package cache

import (
	"sync"
	"sync/atomic"
)

const (
	// copyPiece is how much is copied at a time where the kernel can't send a file by itself.
	copyPiece = 128 << 10
	// maxCopyBuffers bounds how many readers of fills copy such pieces at a time, 16 MiB. All others copy smallCopyPiece.
	maxCopyBuffers = 128
	smallCopyPiece = 16 << 10
)

// copyBuffer is memory for one piece of a file on its way to a reader.
type (
	copyBuffer      [copyPiece]byte
	smallCopyBuffer [smallCopyPiece]byte
)

var (
	copyBuffers      = sync.Pool{New: func() any { return new(copyBuffer) }}
	smallCopyBuffers = sync.Pool{New: func() any { return new(smallCopyBuffer) }}
	copyBuffersTaken atomic.Int32
)

// withCopyBuffer lends memory for as long as one piece takes.
func withCopyBuffer(copies func(buffer []byte) (int64, error)) (int64, error) {
	defer copyBuffersTaken.Add(-1)
	if copyBuffersTaken.Add(1) > maxCopyBuffers {
		buffer := smallCopyBuffers.Get().(*smallCopyBuffer)
		defer smallCopyBuffers.Put(buffer)
		return copies(buffer[:])
	}
	buffer := copyBuffers.Get().(*copyBuffer)
	defer copyBuffers.Put(buffer)
	return copies(buffer[:])
}
