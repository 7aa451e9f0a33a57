//go:build !linux && !darwin && !freebsd

package cache

// A store renames files over others, removes files that are being read, and keeps a second process out by flock. Windows and
// some others do none of that the way the store relies on, so that nothing is built for them. The name tells whoever tries.
var _ = the_edge_is_for_Linux_macOS_and_FreeBSD_only
