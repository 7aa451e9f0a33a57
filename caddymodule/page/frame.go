package page

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

//go:embed templates
var templateFiles embed.FS

// frame is what all pages have.
type frame struct {
	// Title is the page's, Section its link in the navigation.
	Title, Section string
	// Base leads from the page to the folder in which all pages are.
	Base string
	// MayAct says that forms are shown; WhyNot why they aren't.
	MayAct bool
	WhyNot string
	// Token must be in each form.
	Token string
	// User is who is let in, as far as that is known.
	User string
	// Result is what an action that led here has done; nil for none.
	Result *result
	Now    time.Time
}

func (p *Page) frame(r *http.Request, title, section string) frame {
	mayAct, whyNot := p.mayAct(r)
	depth := strings.Count(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f := frame{Title: title, Section: section, Base: strings.Repeat("../", depth), MayAct: mayAct, WhyNot: whyNot, User: userOf(r), Now: p.now()}
	if mayAct {
		f.Token = p.token
	}
	if id := r.URL.Query().Get(resultParameter); id != "" {
		f.Result = p.results.get(id)
	}
	return f
}

// functions are what templates can call.
var functions = template.FuncMap{
	"asset":    func(name string) string { return assetNames[name] },
	"name":     visible,
	"upstream": shortUpstream,
	"size":     sizeText,
	"count":    func(count any) string { return countText(asInt64(count)) },
	"minute":   minuteText,
	"machine":  machineTime,
	"link":     link,
	"plural":   func(count any, one, many string) string { return plural(asInt64(count), one, many) },
	"axis":     axisText,
	"tab":      tabOf,
	"list":     func(moving moving, token string) listPart { return listPart{moving, token} },
	"row":      func(row movingRow, action, token string) rowPart { return rowPart{row, action, token} },
	"choose": func(upstreams []string, none, chosen string) upstreamPart {
		return upstreamPart{upstreams, none, chosen}
	},
	"momentAt": func(at time.Time) moment { return moment{true, at} },
}

// What the templates of parts get: a template takes one value.
type (
	tab struct {
		Href, Name string
		IsHere     bool
	}
	listPart struct {
		List  moving
		Token string
	}
	rowPart struct {
		Row           movingRow
		Action, Token string
	}
	upstreamPart struct {
		Upstreams    []string
		None, Chosen string
	}
)

// Blank is the row that the script fills in.
func (listPart) Blank() movingRow { return movingRow{} }

// tabOf is a link of the navigation. Each page has a frame.
func tabOf(page interface{ base() frame }, section, name string) tab {
	f := page.base()
	return tab{Href: f.Base + section, Name: name, IsHere: f.Section == section}
}

func (f frame) base() frame { return f }

// axisText is a time at the end of a chart's axis.
func axisText(form string, at time.Time) string {
	if form == "clock" {
		return at.UTC().Format("15:04")
	}
	return at.UTC().Format("2 Jan")
}

func asInt64(count any) int64 {
	switch count := count.(type) {
	case int:
		return int64(count)
	case uint32:
		return int64(count)
	case int64:
		return count
	}
	return 0
}

// link makes a relative address with query parameters, given by name and value; those without a value are left out.
func link(page string, parameters ...string) string {
	query := make(url.Values)
	for i := 0; i+1 < len(parameters); i += 2 {
		if parameters[i+1] != "" {
			query.Set(parameters[i], parameters[i+1])
		}
	}
	if len(query) == 0 {
		return page
	}
	return page + "?" + query.Encode()
}

// templates has one for each page, each with the frame and the parts.
var templates = readTemplates("overview", "files", "projects", "actions", "troubles", "confirm", "message")

func readTemplates(pages ...string) map[string]*template.Template {
	common := template.Must(template.New("frame.html").Funcs(functions).ParseFS(templateFiles, "templates/frame.html", "templates/parts_*.html"))
	read := make(map[string]*template.Template, len(pages))
	for _, page := range pages {
		read[page] = template.Must(template.Must(common.Clone()).ParseFS(templateFiles, "templates/"+page+".html"))
	}
	return read
}

// show sends a page. It is written whole before the first byte is sent, so that trouble in it is an error and no half page.
func (p *Page) show(w http.ResponseWriter, r *http.Request, status int, page string, content any) {
	var written bytes.Buffer
	if err := templates[page].ExecuteTemplate(&written, "frame.html", content); err != nil {
		p.logger.Error("a page can't be written", zap.String("page", page), zap.Error(err))
		http.Error(w, "This page can't be shown. The log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(written.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(written.Bytes()) // a viewer who left doesn't read it
	}
}

// message is a page of a few sentences.
type message struct {
	frame
	Sentences []string
}

// showMessage sends a page of sentences, such as a refusal.
func (p *Page) showMessage(w http.ResponseWriter, r *http.Request, status int, title string, sentences ...string) {
	p.show(w, r, status, "message", message{p.frame(r, title, ""), sentences})
}

// showError sends what a call has failed with.
func (p *Page) showError(w http.ResponseWriter, r *http.Request, title string, err error) {
	status, sentence := told(err)
	p.showMessage(w, r, status, title, sentence)
}
