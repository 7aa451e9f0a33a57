package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheTokenForNamesGoesToGitLabAlone(t *testing.T) {
	for name, test := range map[string]struct {
		location string
		asked    int
	}{
		"to another host": {"https://elsewhere.example.com/api/v4/projects/24", 1}, "without end": {"http://gitlab.example.com/api/v4/projects/24", maxStorageHops},
	} {
		asked := 0
		client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
			asked++
			if request.URL.Host != "gitlab.example.com" || request.Header.Get("Private-Token") != "admin" || request.Header.Get("User-Agent") != userAgent {
				t.Errorf("%s is asked with %v", request.URL, request.Header)
			}
			return answerOf(request, 301, http.Header{"Location": {test.location}}, http.NoBody), nil
		})
		got, err := NewAliases(client, "admin", NewAliasMemory()).Ask(t.Context(), "group/app", OfAdmin())
		if err == nil || got.Answered || asked != test.asked {
			t.Errorf("%s: %+v, %v, asked %d times", name, got, err, asked)
		}
	}
}

func TestA404WithABrokenTypeIsNoWordOfGitLabs(t *testing.T) {
	client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
		return answerOf(request, 404, http.Header{"Content-Type": {"application/json; charset"}}, io.NopCloser(strings.NewReader("{}"))), nil
	})
	if got, err := NewAliases(client, "admin", NewAliasMemory()).Ask(t.Context(), "24", OfAdmin()); err == nil || got.Answered {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestWhoLeavesHearsSoAndTheQuestionGoesOn: others may wait for the same answer.
func TestWhoLeavesHearsSoAndTheQuestionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
			<-answer
			return answerOf(request, 200, http.Header{}, io.NopCloser(strings.NewReader(`{"id":24,"path_with_namespace":"group/app"}`))), nil
		})
		aliases := NewAliases(client, "admin", NewAliasMemory())
		leaves := errors.New("the caller leaves")
		first, leave := context.WithCancelCause(t.Context())
		second, leaveToo := context.WithCancelCause(t.Context())
		type told struct {
			led bool
			err error
		}
		results := [2]chan told{make(chan told, 1), make(chan told, 1)}
		for i, ctx := range []context.Context{first, second} {
			go func() { // ends with the context
				led, err := aliases.question(ctx, "24", OfAdmin())
				results[i] <- told{led, err}
			}()
			synctest.Wait()
		}
		leave(leaves)
		leaveToo(leaves)
		if got := <-results[0]; !got.led || !errors.Is(got.err, leaves) {
			t.Errorf("who asked: %+v", got)
		}
		if got := <-results[1]; got.led || !errors.Is(got.err, leaves) {
			t.Errorf("who waited: %+v", got)
		}
		close(answer)
		synctest.Wait()
		if got := aliases.Last("group/app"); got.ID != "24" {
			t.Errorf("the answer is lost: %+v", got)
		}
	})
}

// TestANameOfAProjectThatWasPushedOutCountsAsNeverAnswered: what was known of the name before it was a project's is no answer.
func TestANameOfAProjectThatWasPushedOutCountsAsNeverAnswered(t *testing.T) {
	memory := NewAliasMemory()
	memory.learnUnknown("group/app", time.Now())
	memory.learn("group/app", "24", "group/app", time.Now())
	memory.known.Remove("group/app")
	if got := memory.Last("group/app"); got.Answered {
		t.Errorf("%+v", got)
	}
}
