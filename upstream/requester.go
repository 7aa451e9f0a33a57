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
	// aProbe of a breaker's asks whether the server can be reached, which no old connection shows.
	aProbe
)

type requesterKey struct{}

// requestedBy returns a context that tells Connections for whom requests are sent.
func requestedBy(ctx context.Context, by requester) context.Context {
	return context.WithValue(ctx, requesterKey{}, by)
}

// requesterOf is for whom requests are sent with a context; for the edge, if nothing is said.
func requesterOf(ctx context.Context) requester {
	by, _ := ctx.Value(requesterKey{}).(requester)
	return by
}
