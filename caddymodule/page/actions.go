package page

import (
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// maxForm bounds what a form may send, in bytes.
const maxForm = 64 << 10

// act lets an action be done, if the form is the page's own and whoever sent it may act.
func (p *Page) act(w http.ResponseWriter, r *http.Request, do answer) {
	const refused = "Not done"
	if err := p.crossOrigin.Check(r); err != nil {
		p.showMessage(w, r, http.StatusForbidden, refused, "The form was sent by a page of another site.")
		return
	}
	if mayAct, why := p.mayAct(r); !mayAct {
		p.showMessage(w, r, http.StatusForbidden, refused, why)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		p.showMessage(w, r, http.StatusBadRequest, refused, "The form can't be read, or is too large.")
		return
	}
	if !p.hasToken(r.PostForm) {
		p.showMessage(w, r, http.StatusForbidden, refused, "The form isn't from this run of the edge. Go back, load the page again, and send it once more.")
		return
	}
	p.logger.Info("an action by the page", zap.String("action", strings.Trim(r.URL.Path, "/")), zap.String("user", userOf(r)))
	do(p, w, r)
}

// switchProject switches a project, or all of which nothing else was said, on or off, or takes back what was said.
func (p *Page) switchProject(w http.ResponseWriter, r *http.Request) {
	call, known := map[string]string{"on": adminapi.CallEnable, "off": adminapi.CallDisable, "reset": adminapi.CallReset}[r.PostForm.Get("state")]
	if !known {
		p.showMessage(w, r, http.StatusBadRequest, "Not done", "A project can be switched on or off, or what was said of it taken back.")
		return
	}
	request := switchRequestOf(r.PostForm)
	if request.All && r.PostForm.Get("confirmed") == "" {
		p.askAboutSwitch(w, r, request, r.PostForm.Get("state"))
		return
	}
	answer, err := ask[adminapi.SwitchAnswer](r.Context(), p.edge, http.MethodPost, call, nil, request)
	if err != nil {
		p.showError(w, r, "Not done", err)
		return
	}
	about := "Project " + visible(request.Project)
	if request.All {
		about = "What isn't listed"
	}
	made := result{Done: about + " is " + visible(answer.State) + " now."}
	if len(answer.Names) > 0 {
		made.Further = append(made.Further, "So it is by its other names: "+visible(strings.Join(answer.Names, ", "))+".")
	}
	for _, kept := range answer.Kept {
		made.Further = append(made.Further, "Project "+visible(kept.Project)+" was switched by itself and stays "+visible(kept.State)+".")
	}
	p.tell(w, "projects", "", made.with(answer.Warning))
}

func switchRequestOf(form url.Values) adminapi.SwitchRequest {
	return adminapi.SwitchRequest{Upstream: form.Get(parameterUpstream), Project: form.Get(parameterProject), All: form.Get("all") != ""}
}

// with is a result with a warning, if there is one.
func (r result) with(warning string) result {
	if warning != "" {
		r.Further = append(r.Further, sentenceOf(warning))
	}
	return r
}

// purge removes files, marks them stale or forgets grants.
func (p *Page) purge(w http.ResponseWriter, r *http.Request) {
	request := purgeRequestOf(r.PostForm)
	if r.PostForm.Get("confirmed") == "" {
		p.askAboutPurge(w, r, request)
		return
	}
	answer, err := ask[adminapi.PurgeAnswer](r.Context(), p.edge, http.MethodPost, adminapi.CallPurge, nil, request)
	if err != nil {
		p.showError(w, r, "Not done, or only in part", err)
		return
	}
	var made result
	switch {
	case request.Grants:
		made.Done = plural(answer.Grants, "grant was", "grants were") + " forgotten. GitLab is asked about each caller anew."
		p.tell(w, "actions", "", made.with(answer.Warning))
		return
	case request.Soft:
		made.Done = plural(answer.Entries, "file was", "files were") + " marked as stale. GitLab is asked before they are served again."
	default:
		made.Done = plural(answer.Entries, "file was", "files were") + " removed; " + sizeText(answer.Bytes) + " are free."
	}
	if answer.HeldBytes > 0 {
		made.Further = append(made.Further, sizeText(answer.HeldBytes)+" become free by themselves, once nothing reads them any more.")
	}
	if len(answer.Names) > 0 {
		made.Further = append(made.Further, "What was stored by the project's other names is gone, too: "+visible(strings.Join(answer.Names, ", "))+".")
	}
	if objects := len(answer.SharedObjects) + answer.FurtherSharedObjects; objects > 0 {
		made.Further = append(made.Further, "The bucket may still have their bytes, in "+plural(objects, "object", "objects")+". No edge deletes there.")
	}
	p.tell(w, "files", "", made.with(answer.Warning))
}

func purgeRequestOf(form url.Values) adminapi.PurgeRequest {
	asked := askedOf(form)
	return adminapi.PurgeRequest{
		Upstream: asked.Upstream, Project: asked.Project, Package: asked.Package, Version: asked.Version, File: asked.File,
		All: form.Get("all") != "", Soft: form.Get("soft") != "", Grants: form.Get("grants") != "",
	}
}

// unpin lets files be evicted that were pinned.
func (p *Page) unpin(w http.ResponseWriter, r *http.Request) {
	asked := askedOf(r.PostForm)
	answer, err := ask[adminapi.UnpinAnswer](r.Context(), p.edge, http.MethodPost, adminapi.CallUnpin, nil, adminapi.UnpinRequest{
		Upstream: asked.Upstream, Project: asked.Project, Package: asked.Package, Version: asked.Version, File: asked.File, All: r.PostForm.Get("all") != "",
	})
	if err != nil {
		p.showError(w, r, "Not done", err)
		return
	}
	made := result{Done: plural(answer.Pins, "pin was", "pins were") + " taken back."}
	if answer.Pins == 0 {
		made.Done = "Nothing of that was pinned."
	}
	p.tell(w, "files", "", made.with(answer.Warning))
}

// warm fetches a package in advance, and keeps it from eviction if a time to pin it is given; or stops doing so.
func (p *Page) warm(w http.ResponseWriter, r *http.Request) {
	method, query, request := http.MethodPost, url.Values(nil), any(adminapi.WarmRequest{
		Upstream: r.PostForm.Get(parameterUpstream), Project: r.PostForm.Get(parameterProject), Package: r.PostForm.Get(parameterPackage),
		Version: r.PostForm.Get(parameterVersion), Token: r.PostForm.Get("gitlab_token"), Pin: strings.TrimSpace(r.PostForm.Get("pin")),
	})
	stop := r.PostForm.Get("stop")
	if stop != "" {
		method, query, request = http.MethodDelete, url.Values{"id": {stop}}, nil
	}
	warming, err := ask[adminapi.WarmingStatus](r.Context(), p.edge, method, adminapi.CallWarm, query, request)
	if err != nil {
		p.showError(w, r, "Not done", err)
		return
	}
	what := selection(warming.Project, warming.Package, warming.Version)
	made := result{Done: what + " is being fetched. It goes on by itself; see below."}
	switch {
	case stop != "":
		made.Done = what + ": no further file is begun. Those on their way in still come."
	case warming.Joined:
		made.Done = what + " was being fetched already; see below."
	}
	if warming.Anonymous {
		made.Further = append(made.Further, "GitLab is asked without a token, since neither the form nor the config has one.")
	}
	p.tell(w, "actions", "#now", made)
}

// verify compares all files with their SHA-256, or stops doing so.
func (p *Page) verify(w http.ResponseWriter, r *http.Request) {
	method, done := http.MethodPost, "All stored files are being read and compared with their SHA-256; see below."
	if r.PostForm.Get("stop") != "" {
		method, done = http.MethodDelete, "The verification stops."
	}
	if _, err := ask[adminapi.VerificationList](r.Context(), p.edge, method, adminapi.CallVerify, nil, nil); err != nil {
		p.showError(w, r, "Not done", err)
		return
	}
	p.tell(w, "actions", "#now", result{Done: done})
}
