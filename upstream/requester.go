package upstream

import "context"

// requester is who a server is sent a request for.
type requester int

const (
	// theEdge asks for a check or a fetch: what becomes of it shows whether the server works.
	theEdge requester = iota
	// aCaller asks, by a request that is forwarded. It shows nothing: how it is made, and how long its answer takes, is its
	// caller's to choose.
	aCaller
	// aVisitor asks for something else than a generic package (Client.ForwardOther). It shows nothing either, and is never
	// tried a second time while the first try may still be answered: GitLab has pages that answer once, such as those by which
	// a log-in elsewhere comes back.
	aVisitor
	// aStranger has the edge ask: a caller whom GitLab isn't known to allow. It shows as much of the server as theEdge's own, but
	// what is slow may be due to the stranger alone.
	aStranger
	// aProbe of a breaker's asks whether the server can be reached, which no old connection shows.
	aProbe

	requesters
)

type requesterKey struct{}

// requestedBy returns a context that tells Connections for whom requests are sent.
func requestedBy(ctx context.Context, by requester) context.Context {
	return context.WithValue(ctx, requesterKey{}, by)
}

// WithStanding returns a context for checks and fetches of a caller of that standing: those of strangers have second tries of
// their own (Connections).
func WithStanding(ctx context.Context, standing Standing) context.Context {
	if standing == Trusted {
		return ctx
	}
	return requestedBy(ctx, aStranger)
}

// requesterOf is for whom requests are sent with a context; for the edge, if nothing is said.
func requesterOf(ctx context.Context) requester {
	by, _ := ctx.Value(requesterKey{}).(requester)
	return by
}
