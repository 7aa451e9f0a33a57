package history

// Counts is what an edge did, in one step or since the process began to count.
type Counts struct {
	Requests, Downloads, Hits, Uploads, Refused, Failed int64
	BytesSent, BytesUpstream                            int64
	Asked, Spared                                       int64
	// FirstByte counts downloads by the bucket that the time to their first byte falls into.
	FirstByte Buckets
}

// Bounds are the upper bounds of a histogram's buckets, in seconds and rising. A last bucket has all that took longer.
type Bounds [13]float64

// Buckets are how many fell into each bucket of a histogram, not counting those of the buckets before.
type Buckets [len(Bounds{}) + 1]int64

// counters are the numbers of Counts before those of its buckets.
const counters = 10

// numbers are all numbers of the counts, in the order in which they lie in the file.
func (c *Counts) numbers() (numbers [counters + len(Buckets{})]*int64) {
	copy(numbers[:], []*int64{
		&c.Requests, &c.Downloads, &c.Hits, &c.Uploads, &c.Refused, &c.Failed, &c.BytesSent, &c.BytesUpstream, &c.Asked, &c.Spared,
	})
	for i := range c.FirstByte {
		numbers[counters+i] = &c.FirstByte[i]
	}
	return numbers
}

// Add adds other counts to these.
func (c *Counts) Add(other Counts) {
	others := other.numbers()
	for i, number := range c.numbers() {
		*number += *others[i]
	}
}

// since returns what has come to these totals since earlier ones. A total that has fallen counts as one that hasn't changed.
func (c *Counts) since(earlier Counts) (grown Counts) {
	now, before := c.numbers(), earlier.numbers()
	for i, number := range grown.numbers() {
		*number = max(0, *now[i]-*before[i])
	}
	return grown
}

// Quantile estimates within how many seconds the given part of all began, such as 0.5 for the median. It takes those of one bucket
// as spread evenly over it, and says the last bound where it falls into the bucket of those that took longer: what histogram_quantile
// of Prometheus does. False means that there were none.
func (b Bounds) Quantile(part float64, of Buckets) (seconds float64, ok bool) {
	var all int64
	for _, count := range of {
		all += count
	}
	if all == 0 {
		return 0, false
	}
	rank, lower, before := part*float64(all), 0.0, int64(0)
	for i, upper := range b {
		if count := of[i]; count > 0 && float64(before+count) >= rank {
			return lower + (upper-lower)*(rank-float64(before))/float64(count), true
		}
		lower, before = upper, before+of[i]
	}
	return lower, true
}
