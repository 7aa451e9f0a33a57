// Package dockerfiletest checks deploy/Dockerfile with the linter of the program that builds it. It is a module of its
// own, so that the edge doesn't depend on that program.
package dockerfiletest
