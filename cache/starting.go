package cache

// starting is what a store knows of its start until all entries of the index are in memory. Guarded by Store.mu, with which
// held all methods are called, but for oldParts and ready.
type starting struct {
	// loading is true until then, and forgotten are the keys whose entries were removed meanwhile.
	loading   bool
	forgotten map[keyHash]struct{}
	// foundBlobs are the files that the index named, each once, and foundBytes their size.
	foundBlobs int
	foundBytes int64
	// oldParts are parts of earlier processes, load's alone once it runs.
	oldParts []string
	// ready is closed when all is loaded, and files that nothing names are removed.
	ready chan struct{}
}

func newStarting() starting {
	return starting{loading: true, forgotten: make(map[keyHash]struct{}), ready: make(chan struct{})}
}

// forget notes that a key's entry is gone, which the index may still have.
func (st *starting) forget(h keyHash) {
	if st.loading {
		st.forgotten[h] = struct{}{}
	}
}

// mayHave reports whether the index may have an entry of a key that memory doesn't have.
func (st *starting) mayHave(h keyHash) bool {
	_, forgotten := st.forgotten[h]
	return st.loading && !forgotten
}

// end notes that all entries are loaded.
func (st *starting) end() { st.loading, st.forgotten = false, nil }

// find notes that the index names a file.
func (st *starting) find(blob *blobState) {
	if !blob.found {
		blob.found = true
		st.foundBlobs++
		st.foundBytes += blob.size
	}
}
