package caddymodule

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"
)

// sizeText writes a number of bytes as people do in a Caddyfile.
func sizeText(bytes int64) string {
	if bytes < 0 {
		return "-" + sizeText(-bytes)
	}
	return humanize.IBytes(uint64(bytes))
}

// parseSize reads a number of bytes as a Caddyfile writes it: 200GiB, 1GB, 1048576.
func parseSize(text string) (int64, error) {
	size, err := humanize.ParseBytes(text)
	if err != nil || size > math.MaxInt64 {
		return 0, fmt.Errorf("%q is no size such as 200GiB", text)
	}
	return int64(size), nil
}
