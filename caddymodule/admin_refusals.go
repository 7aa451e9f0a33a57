package caddymodule

import "net/http"

// adminRefusals answers GET refusals.
func (a *App) adminRefusals(r *http.Request) (any, error) {
	if err := readQuery(r, nil); err != nil {
		return nil, err
	}
	return a.process.refusals.list(), nil
}
