package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// startAnswers are how the GitLabs of one config have answered the question that the edge asks when the config comes into force,
// so that a wrong URL is seen before the first caller fails.
type startAnswers struct {
	// mu guards known; nothing is waited for under it.
	mu    sync.Mutex
	known map[access]*upstream.StartAnswer
}

// of returns the answer by one way to a GitLab; nil while there is none.
func (s *startAnswers) of(way access) *upstream.StartAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[way]
}

func (s *startAnswers) note(way access, answer upstream.StartAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[access]*upstream.StartAnswer)
	}
	s.known[way] = &answer
}

// tellWhereItStands tells in the log what each handler stands in front of, and asks each GitLab whether it is there, once by each
// way. It waits for no answer.
func (a *App) tellWhereItStands(ctx context.Context) {
	var asked []access
	for _, h := range a.handlers {
		h.logger.Info("the edge stands in front of GitLab", zap.String("upstream", h.client.Upstream()), zap.Stringer("rules", h.rules),
			zap.String("directory", h.attachment.directory))
		if !a.process.asksAtStart || slices.Contains(asked, h.access) {
			continue
		}
		asked = append(asked, h.access)
		// Ends with the answer, within ten seconds, or with Stop.
		a.work.Go(func() { h.askAtStart(ctx) })
	}
}

// askAtStart asks GitLab whether it is there, and tells of the answer.
func (h *Handler) askAtStart(ctx context.Context) {
	answer := h.client.AskAtStart(ctx)
	if ctx.Err() != nil {
		return // the config has ended, and its GitLab with it
	}
	h.app.startAnswers.note(h.access, answer)
	where, took := zap.String("upstream", h.client.Upstream()), zap.Duration("took", answer.Took)
	switch {
	case errors.Is(answer.Err, upstream.ErrRedirectsToHTTPS):
		h.tellTrouble(trouble{
			what: "GitLab redirects to https", consequence: "no file can be fetched, since that would lead callers past the edge; give gitlab_packages the https URL",
			where: where, err: answer.Err, further: []zap.Field{took, zap.String("location", answer.Location)},
		})
	case answer.Err != nil:
		h.tellTrouble(trouble{
			what: "GitLab doesn't answer the start's question", consequence: "if its URL is wrong, no request will succeed; if it is down, callers are served once it is up",
			where: where, err: answer.Err, further: []zap.Field{took}, passing: true,
		})
	case !answer.LooksLikeGitLab():
		h.tellTrouble(trouble{
			what:        "the start's question was answered, but not as GitLab answers",
			consequence: "is the URL right, with the path that GitLab may run below? Something in front of GitLab may also answer in its place",
			where:       where, err: errors.New(strangeness(&answer)), further: []zap.Field{took}, passing: true,
		})
	default:
		h.logger.Info("GitLab has answered the start's question", where, took, zap.Int("status", answer.Status))
	}
}

// strangeness says in what an answer isn't GitLab's.
func strangeness(answer *upstream.StartAnswer) string {
	told := strconv.Itoa(answer.Status) + " " + cmp.Or(answer.ContentType, "without a type")
	if answer.Location != "" {
		told += ", to " + answer.Location
	}
	return told
}

// shownStartAnswer is an answer as the status tells it.
func shownStartAnswer(answer *upstream.StartAnswer) *adminapi.StartAnswer {
	shown := &adminapi.StartAnswer{
		Asked: answer.Sent.UTC(), Seconds: answer.Took.Seconds(), Status: answer.Status, LooksLikeGitLab: answer.LooksLikeGitLab(),
	}
	took := fmt.Sprintf("%d ms", max(1, answer.Took.Round(time.Millisecond).Milliseconds()))
	switch {
	case answer.Err != nil && answer.Status == 0:
		shown.Text = "no answer after " + took + ": " + answer.Err.Error()
	case answer.Err != nil:
		shown.Text = "answered in " + took + ", but can't be asked: " + answer.Err.Error()
	case !shown.LooksLikeGitLab:
		shown.Text = "answered in " + took + ", but not as GitLab answers: " + strangeness(answer)
	default:
		shown.Text = "answered in " + took
	}
	return shown
}
