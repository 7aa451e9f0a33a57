package upstream

import (
	"context"
	"errors"
	"net/http/httptrace"
	"slices"
	"sync/atomic"
	"syscall"
)

// errNoConnection is the cause of a request that waited in vain for one of the connections that the edge may have at most.
var errNoConnection = errors.New("all connections that the edge may have to it are in use")

// ownLimits are errors that say that the edge, or its machine, has reached a limit: connections, files, ports, memory.
// Callers can bring that about, by many connections, and it says nothing about the server that was to be asked.
var ownLimits = []error{
	errNoConnection, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
}

// isOwnLimit reports whether a request came to nothing by a limit of the edge's own.
func isOwnLimit(err error) bool {
	return slices.ContainsFunc(ownLimits, func(limit error) bool { return errors.Is(err, limit) })
}

// connectionWait tells whether a request has got a connection, or one is being made for it. A request that has come no
// further has only waited for others to give one back.
type connectionWait struct{ asked, begun atomic.Bool }

// traced returns a context by which the transport tells it.
func (w *connectionWait) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { w.asked.Store(true) },
		DNSStart:     func(httptrace.DNSStartInfo) { w.begun.Store(true) },
		ConnectStart: func(string, string) { w.begun.Store(true) },
		GotConn:      func(httptrace.GotConnInfo) { w.begun.Store(true) },
	})
}

// isInVain reports whether the request has waited for a connection and for nothing else.
func (w *connectionWait) isInVain() bool { return w.asked.Load() && !w.begun.Load() }
