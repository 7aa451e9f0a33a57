package page

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// confirmPage asks before something is destroyed.
type confirmPage struct {
	frame
	// What will be done, and to what; Sentences say the rest.
	What, About string
	Sentences   []string
	// Files are some of those meant; More says how many others there are.
	Files []fileView
	More  string
	// Action is where the form goes, Fields what it sends, Button its word.
	Action string
	Fields []field
	Button string
	// CanBeSoft offers to mark files as stale instead.
	CanBeSoft bool
	// Back leads away from it. Nothing says that there is nothing to do.
	Back    string
	Nothing bool
}

type field struct{ Name, Value string }

// confirmedFiles is how many of the files the confirmation of a purge lists.
const confirmedFiles = 10

// confirmPurge answers GET purge: what would be removed, and whether it shall be.
func (p *Page) confirmPurge(w http.ResponseWriter, r *http.Request) {
	if mayAct, why := p.mayAct(r); !mayAct {
		p.showMessage(w, r, http.StatusForbidden, "Not for everybody", why)
		return
	}
	p.askAboutPurge(w, r, purgeRequestOf(r.URL.Query()))
}

func (p *Page) askAboutPurge(w http.ResponseWriter, r *http.Request, request adminapi.PurgeRequest) {
	request.DryRun = true
	answer, err := ask[adminapi.PurgeAnswer](r.Context(), p.edge, http.MethodPost, adminapi.CallPurge, nil, request)
	if err != nil {
		p.showError(w, r, "That can't be removed", err)
		return
	}
	about := selection(request.Project, request.Package, request.Version, request.File)
	if request.All {
		about = "everything"
	}
	if request.Upstream != "" {
		about += " of " + shortUpstream(request.Upstream)
	}
	content := confirmPage{
		frame: p.frame(r, "Remove files?", "files"), About: about, Action: "purge", Button: "Remove", Back: "files", CanBeSoft: true,
		What:   "This will remove " + plural(answer.Entries, "file", "files") + " from the edge, " + sizeText(answer.Bytes+answer.HeldBytes) + " in all.",
		Fields: purgeFields(request), Nothing: answer.Entries == 0,
	}
	switch {
	case request.Grants:
		content.Title, content.Button, content.Back, content.CanBeSoft = "Forget grants?", "Forget", "actions", false
		content.What, content.Nothing = "This will forget "+plural(answer.Grants, "grant", "grants")+" of GitLab's.", answer.Grants == 0
		content.Sentences = append(content.Sentences, "GitLab is then asked about each caller anew. While it is down, nobody whose grant was forgotten gets a file.")
	case content.Nothing:
		content.What = "Nothing of that is stored."
	default:
		content.Sentences = append(content.Sentences, "GitLab keeps its files. The next download of each is fetched from there again.")
		p.listFiles(r, &content, request, answer.Entries)
	}
	if len(answer.Names) > 0 {
		content.Sentences = append(content.Sentences, "The project is known by other names, too, and what is stored by them goes with it: "+visible(enumerated(answer.Names))+".")
	}
	if objects := len(answer.SharedObjects) + answer.FurtherSharedObjects; objects > 0 {
		content.Sentences = append(content.Sentences, "The bucket may keep their bytes, in "+plural(objects, "object", "objects")+". No edge deletes there.")
	}
	if answer.Warning != "" {
		content.Sentences = append(content.Sentences, sentenceOf(answer.Warning))
	}
	p.show(w, r, http.StatusOK, "confirm", content)
}

// listFiles lists some of the files that a purge would remove. The list is a help: without it the numbers still stand.
func (p *Page) listFiles(r *http.Request, content *confirmPage, request adminapi.PurgeRequest, entries int) {
	query := url.Values{parameterLimit: {strconv.Itoa(confirmedFiles)}}
	for name, value := range map[string]string{
		parameterUpstream: request.Upstream, parameterProject: request.Project, parameterPackage: request.Package,
		parameterVersion: request.Version, parameterFile: request.File,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	list, err := ask[adminapi.EntryList](r.Context(), p.edge, http.MethodGet, adminapi.CallEntries, query, nil)
	if err != nil {
		return
	}
	content.Files = filesOf(list.Entries, confirmedFiles)
	content.More = moreText(entries-len(content.Files), "file", "files")
}

// purgeFields are the fields by which a confirmation says again what is meant.
func purgeFields(request adminapi.PurgeRequest) (fields []field) {
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, field{name, value})
		}
	}
	add(parameterUpstream, request.Upstream)
	add(parameterProject, request.Project)
	add(parameterPackage, request.Package)
	add(parameterVersion, request.Version)
	add(parameterFile, request.File)
	if request.All {
		add("all", "yes")
	}
	if request.Grants {
		add("grants", "yes")
	}
	return fields
}

// confirmSwitch answers GET switch: whether all projects shall be switched.
func (p *Page) confirmSwitch(w http.ResponseWriter, r *http.Request) {
	if mayAct, why := p.mayAct(r); !mayAct {
		p.showMessage(w, r, http.StatusForbidden, "Not for everybody", why)
		return
	}
	p.askAboutSwitch(w, r, switchRequestOf(r.URL.Query()), r.URL.Query().Get("state"))
}

func (p *Page) askAboutSwitch(w http.ResponseWriter, r *http.Request, request adminapi.SwitchRequest, state string) {
	sentences := map[string]string{
		"off":   "Whoever asks for a file of such a project gets 404, and GitLab isn't asked.",
		"on":    "Such projects are then served to those whom GitLab allows them.",
		"reset": "The config then decides again.",
	}
	sentence, known := sentences[state]
	if err := request.Check(); err != nil || !known {
		p.showMessage(w, r, http.StatusBadRequest, "Not done", "Which project, and on, off or reset?")
		return
	}
	about := "project " + visible(request.Project)
	if request.All {
		about = "all projects that weren't switched by themselves"
	}
	if request.Upstream != "" {
		about += " of " + shortUpstream(request.Upstream)
	}
	content := confirmPage{
		frame: p.frame(r, "Switch "+state+"?", "projects"), About: about, What: "This will switch " + about + " " + state + ".", Sentences: []string{sentence},
		Action: "switch", Button: "Switch " + state, Back: "projects", Fields: []field{{"state", state}},
	}
	if state == "reset" {
		content.Title, content.What, content.Button = "Take back?", "This will take back what was said at run time about "+about+".", "Take back"
	}
	for _, given := range []field{{parameterUpstream, request.Upstream}, {parameterProject, request.Project}} {
		if given.Value != "" {
			content.Fields = append(content.Fields, given)
		}
	}
	if request.All {
		content.Fields = append(content.Fields, field{"all", "yes"})
	}
	p.show(w, r, http.StatusOK, "confirm", content)
}
