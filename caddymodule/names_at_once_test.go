package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// slowNames is a GitLab's front that answers nothing about a name until it is told to.
type slowNames struct {
	asked chan string // each name once
	// mu guards all below.
	mu       sync.Mutex
	held     map[string]chan struct{}
	answered int
	most     int // how many names waited for their answers at once
}

// hold keeps a question waiting, and one that is sent a second time with it.
func (s *slowNames) hold(_ http.ResponseWriter, r *http.Request) bool {
	directory, name := path.Split(r.URL.Path)
	if directory != "/api/v4/projects/" {
		return false
	}
	s.mu.Lock()
	release, again := s.held[name]
	if !again {
		release = make(chan struct{})
		s.held[name] = release
		s.most = max(s.most, len(s.held)-s.answered)
		s.asked <- name
	}
	s.mu.Unlock()
	select {
	case <-release:
	case <-r.Context().Done():
	}
	return false
}

func (s *slowNames) answer(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered++
	close(s.held[name])
}

// TestAListOfProjectsAsksAboutFourNamesAtATime has GitLab answer the question that has waited longest once four wait.
func TestAListOfProjectsAsksAboutFourNamesAtATime(t *testing.T) {
	setForTest(t, &process.namesPatience, time.Minute)
	const names = 12
	slow := &slowNames{asked: make(chan string, names), held: make(map[string]chan struct{})}
	gitlab := newGitLab(t)
	options := "api_token " + administrator + "\nprojects on {\n"
	for i := range names {
		options += fmt.Sprintf(" on %d\n", project+i)
	}
	e := startEdge(t, frontOf(t, gitlab, slow.hold), options+"}", withAdmin)
	var list adminapi.ProjectList
	var calling sync.WaitGroup
	calling.Go(func() { list = mustCall[adminapi.ProjectList](t, e, http.MethodGet, "projects", "") })
	bound, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var waiting []string
	for asked := 0; asked < names || len(waiting) > 0; {
		if asked == names || len(waiting) == namesAtOnce {
			for range 10 { // a fifth question would have come by then
				mustCall[adminapi.Status](t, e, http.MethodGet, "status", "")
			}
			slow.answer(waiting[0])
			waiting = waiting[1:]
			continue
		}
		select {
		case name := <-slow.asked:
			waiting = append(waiting, name)
			asked++
		case <-bound.Done():
			t.Fatalf("%d names were asked about", asked)
		}
	}
	calling.Wait()
	if slow.most != namesAtOnce {
		t.Errorf("%d questions were under way at once", slow.most)
	}
	if list.Warning != "" || len(list.Projects) != names || fmt.Sprint(list.Projects[0].Names) != "[group/app]" {
		t.Errorf("listed %+v", list)
	}
}

// TestAListOfProjectsAsksNoMoreOnceOneQuestionFailed has a GitLab that answers nobody's question about a name.
func TestAListOfProjectsAsksNoMoreOnceOneQuestionFailed(t *testing.T) {
	var mu sync.Mutex // guards asked
	asked := make(map[string]bool)
	gitlab := newGitLab(t)
	options := "api_token " + administrator + "\nprojects on {\n"
	for i := range 50 {
		options += fmt.Sprintf(" on %d\n", project+i)
	}
	e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
		directory, name := path.Split(r.URL.Path)
		if directory != "/api/v4/projects/" {
			return false
		}
		mu.Lock()
		asked[name] = true
		mu.Unlock()
		w.WriteHeader(http.StatusForbidden)
		return true
	}), options+"}", withAdmin)
	list := mustCall[adminapi.ProjectList](t, e, http.MethodGet, "projects", "")
	mu.Lock()
	defer mu.Unlock()
	if list.Warning == "" || len(list.Projects) != 50 || len(asked) == 0 || len(asked) > 2*namesAtOnce {
		t.Errorf("%d were asked about, %d listed: %q", len(asked), len(list.Projects), list.Warning)
	}
}
