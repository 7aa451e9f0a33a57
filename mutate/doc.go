// Command mutate tells which changes to a package's code its tests wouldn't notice. mutate/run runs it;
// mutate/README.md tells how to read its table.
//
// Such a change is a mutant: a condition negated, a statement dropped, an error swallowed. All mutants of a package are
// compiled into one test binary, and an environment variable turns one of them on. Compiling takes most of the time
// where each mutant has a binary of its own. Another variable has the binary write down which mutants a test reaches: no
// other test can notice them. The working tree isn't touched: go test reads the changed files by -overlay.
package main
