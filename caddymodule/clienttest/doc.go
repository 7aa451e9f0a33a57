// Package clienttest runs GitLab's own client for Go against a real edge. It is a module of its own, so that the edge
// doesn't depend on that client.
package clienttest
