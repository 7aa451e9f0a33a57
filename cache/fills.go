package cache

// fills are those under way. Guarded by Store.mu, with which held all methods are called.
type fills struct {
	running map[*Fill]struct{}
	// ended says that no fill begins any more, and no beginning of a file is kept.
	ended bool
	// parts counts those that were numbered, since the start.
	parts uint64
}

// number names another part.
func (l *fills) number() uint64 {
	l.parts++
	return l.parts
}

// enter makes a fill one of those that end ends; false if that is over.
func (l *fills) enter(f *Fill) bool {
	if !l.ended {
		l.running[f] = struct{}{}
	}
	return !l.ended
}
