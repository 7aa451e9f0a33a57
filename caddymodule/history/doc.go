// Package history keeps what an edge did: totals by steps of time, in a file of a fixed size that survives restarts. It knows neither
// Caddy nor Prometheus nor what the numbers count; package caddymodule reads these from its metrics once a minute (keep_history.go
// there). Nothing of it is in the way of a request.
//
// history.go is the history as its one keeper and its readers use it. counts.go has the numbers of a step, and how quantiles come of
// them. ring.go is what lies in memory, file.go how that lies in the file, save.go when it goes there, and disk.go what it asks of the
// operating system.
//
// # The file
//
//	      0  header      4 KiB: format, rings, bounds of the histogram, checksum
//	  4,096  minutes        61 slots, for an hour
//	 19,712  5 minutes     289 slots, for a day
//	 93,696  hours       2,161 slots, for ninety days
//	646,912  end
//
// Each ring has one slot more than is shown, for the step that is under way. A slot is a step:
//
//	  0  when the step began, Unix time in seconds
//	  8  ten counters, in the order of Counts
//	 88  downloads by time to first byte, a number for each bucket
//	200  nothing
//	252  CRC-32C of all before
//
// Numbers are little-endian. The step that began at t lies in slot t/step modulo the number of slots. A slot whose checksum or place is
// wrong is a step of which nothing is known, and so are zeros alone; no other slot depends on it. Slots have 256 bytes, so that none
// lies in two pages of memory or sectors of a disk, and a process that is killed leaves each as it was or as it is.
//
// Slots are written where they lie, and nothing is synced: a killed process loses the minute that wasn't written, a power cut what
// the system had still in memory, which is half a minute more with Linux's defaults.
package history
