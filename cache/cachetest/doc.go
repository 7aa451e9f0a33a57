// Package cachetest has file systems for tests of the store: Memory, which holds everything in memory and knows what a
// power cut would leave of it, and Faulty, which stands in front of another one, counts what is asked of it, and fails
// where it is told to.
package cachetest
