// Package pagetest drives the edge's page in a real browser. It is a module of its own, so that the edge doesn't depend on what drives
// the browser.
package pagetest
