package caddymodule

import (
	"errors"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
)

// sharedResult is how a file was looked for in the shared store, or written to it: one closed set.
type sharedResult string

const (
	// sharedFound: it was there.
	sharedFound sharedResult = "found"
	// sharedAbsent: it wasn't; or GitLab's answer doesn't say which bytes it would be.
	sharedAbsent sharedResult = "absent"
	// sharedIsWrong: it has, or had, other bytes.
	sharedIsWrong sharedResult = "wrong"
	// sharedNotAsked: the shared store rests.
	sharedNotAsked sharedResult = "not_asked"
	// sharedFailed: it didn't answer in time, or not as it should.
	sharedFailed sharedResult = "failed"
	// sharedWrote: it was written.
	sharedWrote sharedResult = "written"
)

var (
	readResults  = []sharedResult{sharedFound, sharedAbsent, sharedIsWrong, sharedNotAsked, sharedFailed}
	writeResults = []sharedResult{sharedWrote, sharedFound, sharedNotAsked, sharedFailed}
)

// addShared makes the metrics of the shared store.
func (m *metrics) addShared() {
	reads := m.histogram("shared_store_read_duration_seconds", "Seconds until the head of an object of the shared store, or until it is known that there is none, by result.", askBuckets, "result")
	for _, result := range readResults {
		m.sharedReads[result] = reads.WithLabelValues(string(result))
	}
	writes := m.counter("shared_store_writes_total", "Files that were to be written to the shared store, by result.", "result")
	for _, result := range writeResults {
		m.sharedWrites[result] = writes.WithLabelValues(string(result))
	}
	m.sharedBytes = m.counter("shared_store_written_bytes_total", "Bytes of files written to the shared store.").WithLabelValues()
	m.sharedWrong = m.counter("shared_store_wrong_total", "Objects of the shared store that had other bytes than their names say.").WithLabelValues()
}

func sharedResultOf(err error) sharedResult {
	switch {
	case err == nil:
		return sharedFound
	case errors.Is(err, bucket.ErrAbsent), errors.Is(err, errUnnamed):
		return sharedAbsent
	case errors.Is(err, bucket.ErrWrong), errors.Is(err, bucket.ErrDistrusted):
		return sharedIsWrong
	case errors.Is(err, bucket.ErrResting):
		return sharedNotAsked
	}
	return sharedFailed
}

// sharedRead counts a look into the shared store.
func (m *metrics) sharedRead(err error, took time.Duration) {
	m.sharedReads[sharedResultOf(err)].Observe(took.Seconds())
}

// sharedWritten counts a file that was to be written there.
func (m *metrics) sharedWritten(wrote bool, size int64, err error) {
	if wrote {
		m.sharedBytes.Add(float64(size))
	}
	result := sharedResultOf(err)
	switch {
	case err == nil && wrote:
		result = sharedWrote
	case result != sharedFound && result != sharedNotAsked:
		result = sharedFailed
	}
	m.sharedWrites[result].Inc()
}
