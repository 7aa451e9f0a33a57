package caddymodule

// beginOrJoin begins warmings of one id, for a directory each, with a token; where that is empty, with the handler's own, if it
// has one. Where others run already that do the same, it begins none and returns those: of equal calls at the same moment one
// begins, and the others join it.
func (p *processWide) beginOrJoin(wanted []*warming, token string) (running []*warming, joined bool, err error) {
	p.beginningWarmings.Lock()
	defer p.beginningWarmings.Unlock()
	if running := alreadyRunning(wanted); running != nil {
		return running, true, nil
	}
	for at, w := range wanted {
		if err := w.begin(token); err != nil {
			for _, begun := range wanted[:at] {
				begun.cancel(errWarmingStopped)
			}
			return nil, false, err
		}
	}
	return wanted, false, nil
}

// alreadyRunning returns running warmings that do what these are to do, of one id; nil unless there is one for each.
func alreadyRunning(wanted []*warming) []*warming {
	for _, other := range wanted[0].handler.attachment.state.warmings.all() {
		var running []*warming
		for _, w := range wanted {
			if other := w.handler.attachment.state.warmings.find(other.id); other != nil && other.serves(w) {
				running = append(running, other)
			}
		}
		if len(running) == len(wanted) {
			return running
		}
	}
	return nil
}

// serves reports whether a warming does all that another one of its directory is to do: it goes on, fetches the same and pins it
// for the same time. By whose token doesn't matter, since the files are the same. But GitLab may refuse to somebody without a
// token what it gives to one with a token.
func (w *warming) serves(other *warming) bool {
	select {
	case <-w.stopped:
		return false
	default:
	}
	return w.handler.client.Upstream() == other.handler.client.Upstream() && w.project == other.project &&
		w.name == other.name && w.version == other.version && w.pin == other.pin && (!w.anonymous || other.anonymous)
}
