package caddymodule

import "github.com/hashicorp/golang-lru/v2/simplelru"

// newLRU returns an empty memory of at most that many entries, a positive number. The least recently used goes first.
func newLRU[K comparable, V any](most int) *simplelru.LRU[K, V] {
	memory, err := simplelru.NewLRU[K, V](most, nil)
	if err != nil {
		panic(err) // only for a number that isn't positive
	}
	return memory
}
