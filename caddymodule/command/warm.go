package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// warmRequest is what the flags say.
type warmRequest struct {
	adminapi.WarmRequest
	tokenFile string
}

func (i *invocation) beginWarming(asked warmRequest) (status adminapi.WarmingStatus, err error) {
	request := asked.WarmRequest
	if request.Token, err = readToken(asked.tokenFile, i.command.InOrStdin()); err != nil {
		return status, err
	}
	request.Project, request.Package = i.args[0], i.args[1]
	if len(i.args) == 3 {
		request.Version = i.args[2]
	}
	err = i.call(http.MethodPost, adminapi.CallWarm, nil, request, &status)
	return status, err
}

// seeWarming shows a warming, when it is over if that is to be waited for, and returns the exit code that it deserves.
func (i *invocation) seeWarming(status adminapi.WarmingStatus, wait bool) (int, error) {
	if wait {
		if err := i.watchWarming(&status); err != nil {
			return 1, err
		}
	}
	if err := i.show(status, func() { i.showWarming(status) }); err != nil {
		return 1, err
	}
	switch {
	case status.Error != "":
		return 1, errors.New(status.Error)
	case status.NoRoom && !status.Running:
		return exitWrong, fmt.Errorf("there is room for %d of %d files; nothing was evicted that was used since it began", status.Already+status.Fetched, status.Files)
	case status.Failed > 0:
		return exitWrong, fmt.Errorf("%d of %d files failed", status.Failed, status.Files)
	case !status.Running && status.Files == 0:
		return exitWrong, errors.New("GitLab lists no files of that name")
	}
	return 0, nil
}

func (i *invocation) stopWarming(id string) (int, error) {
	var status adminapi.WarmingStatus
	if err := i.call(http.MethodDelete, adminapi.CallWarm, url.Values{"id": {id}}, nil, &status); err != nil {
		return 1, err
	}
	return 0, i.show(status, func() {
		if status.Running {
			printf(i.out, "%s stops when the files that are on their way have come\n", status.ID)
			return
		}
		printf(i.out, "%s was over\n", status.ID)
	})
}

func (i *invocation) listWarmings() (int, error) {
	var list adminapi.WarmingList
	if err := i.call(http.MethodGet, adminapi.CallWarm, nil, nil, &list); err != nil {
		return 1, err
	}
	return 0, i.show(list, func() {
		if len(list.Warmings) == 0 {
			printf(i.out, "nothing is being warmed, nor was since the start\n")
			return
		}
		i.showWarmings(list.Warmings)
	})
}

func (i *invocation) showWarmings(warmings []adminapi.WarmingStatus) {
	rows := make([][]string, 0, len(warmings))
	for _, w := range warmings {
		rows = append(rows, []string{
			w.ID, warmingState(w), w.Project, strings.TrimSpace(w.Package + " " + w.Version),
			fmt.Sprintf("%d of %d", w.Already+w.Fetched, w.Files), fmt.Sprint(w.Failed), w.Begun.Local().Format(time.DateTime), w.Upstream,
		})
	}
	i.table("ID | STATE | PROJECT | PACKAGE | STORED | FAILED | BEGUN | GITLAB", rows)
}

// warmingState is how a warming does, in a word or its error.
func warmingState(w adminapi.WarmingStatus) string {
	switch {
	case w.Running && w.WaitsUntil != nil:
		return "waits for GitLab"
	case w.Running:
		return "running"
	case w.Error != "":
		return w.Error
	case w.NoRoom:
		return "no more room"
	}
	return "done"
}
