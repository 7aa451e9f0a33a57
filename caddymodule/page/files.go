package page

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// Query parameters of the page of files, which are those of the call entries.
const (
	parameterUpstream = "upstream"
	parameterProject  = "project"
	parameterPackage  = "package"
	parameterVersion  = "version"
	parameterFile     = "file"
	parameterSearch   = "search"
	parameterAfter    = "after"
	parameterLimit    = "limit"
)

// shownFiles is how many files a page lists.
const shownFiles = 50

// searchSteps is how many calls are made for one page of a search that finds nothing: each looks at adminapi.MaxSearchedEntries.
const searchSteps = 10

// fileView is a stored file as a page shows it.
type fileView struct {
	adminapi.EntryStatus
	Confirmed, PinnedUntil moment
}

func filesOf(entries []adminapi.EntryStatus, most int) []fileView {
	files := make([]fileView, 0, min(most, len(entries)))
	for _, entry := range entries[:min(most, len(entries))] {
		files = append(files, fileView{entry, momentOf(entry.Confirmed), momentOf(entry.PinnedUntil)})
	}
	return files
}

// IsConfirmed and IsPinned say whether there are these times.
func (f fileView) IsConfirmed() bool { return f.Confirmed.Known }

func (f fileView) IsPinned() bool { return f.PinnedUntil.Known }

// filesPage is what is stored, by pages.
type filesPage struct {
	frame
	// Asked is what the viewer looks for.
	Asked     filesAsked
	Upstreams []string
	Files     []fileView
	// Next leads to the next page, First to the first; empty for none.
	Next, First string
	Trouble     string
}

// filesAsked are the fields of the search.
type filesAsked struct {
	Search, Upstream, Project, Package, Version, File string
}

// IsAll reports whether nothing is looked for.
func (a filesAsked) IsAll() bool { return a == filesAsked{} }

func (a filesAsked) parameters(further ...string) []string {
	return append([]string{
		parameterSearch, a.Search, parameterUpstream, a.Upstream, parameterProject, a.Project, parameterPackage, a.Package,
		parameterVersion, a.Version, parameterFile, a.File,
	}, further...)
}

// askedOf reads the fields of a search, or of a form that names what is meant. Names are taken as they are, with their spaces.
func askedOf(values url.Values) filesAsked {
	return filesAsked{
		Search: strings.TrimSpace(values.Get(parameterSearch)), Upstream: values.Get(parameterUpstream), Project: values.Get(parameterProject),
		Package: values.Get(parameterPackage), Version: values.Get(parameterVersion), File: values.Get(parameterFile),
	}
}

// showFiles lists what is stored.
func (p *Page) showFiles(w http.ResponseWriter, r *http.Request) {
	given := r.URL.Query()
	asked := askedOf(given)
	content := filesPage{frame: p.frame(r, "Files", "files"), Asked: asked}
	query := url.Values{parameterLimit: {strconv.Itoa(shownFiles)}}
	for parameters := asked.parameters(parameterAfter, given.Get(parameterAfter)); len(parameters) > 1; parameters = parameters[2:] {
		if parameters[1] != "" {
			query.Set(parameters[0], parameters[1])
		}
	}
	status := http.StatusOK
	list, err := p.askEntries(r, query)
	if err != nil {
		status, content.Trouble = told(err)
	}
	content.Files = filesOf(list.Entries, len(list.Entries))
	if list.Next != "" {
		content.Next = link("files", asked.parameters(parameterAfter, list.Next)...)
	}
	if given.Get(parameterAfter) != "" {
		content.First = link("files", asked.parameters()...)
	}
	content.Upstreams = p.upstreams(r)
	p.show(w, r, status, "files", content)
}

// askEntries asks for a page of files. A search looks at a bounded number of names for one answer, so that it is asked to go on while it
// finds none.
func (p *Page) askEntries(r *http.Request, query url.Values) (list adminapi.EntryList, err error) {
	for range searchSteps {
		list, err = ask[adminapi.EntryList](r.Context(), p.edge, http.MethodGet, adminapi.CallEntries, query, nil)
		if err != nil || len(list.Entries) > 0 || list.Next == "" {
			break
		}
		query.Set(parameterAfter, list.Next)
	}
	return list, err
}

// upstreams are the GitLabs that a form can name; none where they aren't known.
func (p *Page) upstreams(r *http.Request) (known []string) {
	status, err := p.askStatus(r.Context())
	if err != nil {
		return nil
	}
	for _, upstream := range status.Upstreams {
		known = append(known, upstream.Upstream)
	}
	return known
}

// PurgeLink is the link to the confirmation of a purge of this file.
func (f fileView) PurgeLink() string {
	return link("purge", parameterUpstream, f.Upstream, parameterProject, f.Project, parameterPackage, f.Package, parameterVersion, f.Version, parameterFile, f.File)
}
