// Package composetest checks deploy/compose.yaml with the library by which docker compose reads it. It is a module of its own,
// so that the edge doesn't depend on that library.
package composetest
