package command

import (
	"context"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// completionTime is how long a press of the Tab key may take. What the edge has told by then is offered.
const completionTime = time.Second

// completable are the names that are offered. Bash expands what a program offers it as if the user had typed it: a file that is
// named $(reboot), as own patterns of names may allow, must not be run by a press of a key. A name that begins with - would be
// taken for a flag.
var completable = regexp.MustCompile(`^[A-Za-z0-9_.@][A-Za-z0-9_.@/+~-]*$`)

// entryNames are the arguments that name an entry, from the left to the right, as the admin API calls them, each with how to read
// it from an entry.
var entryNames = []struct {
	parameter string
	of        func(adminapi.EntryStatus) string
}{
	{"project", func(e adminapi.EntryStatus) string { return e.Project }},
	{"package", func(e adminapi.EntryStatus) string { return e.Package }},
	{"version", func(e adminapi.EntryStatus) string { return e.Version }},
	{"file", func(e adminapi.EntryStatus) string { return e.File }},
}

// completeNames completes the first arguments, as many as the verb takes, of PROJECT, PACKAGE, VERSION and FILE by what the running
// edge knows. An edge that can't be asked completes nothing, and says nothing.
func completeNames(most int) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		flags := caddycmd.Flags{FlagSet: command.Flags()}
		address, upstream := flags.String("address"), flags.String("upstream")
		args = joined(args, &address, &upstream)
		if all := command.Flags().Lookup("all"); len(args) >= most || (all != nil && all.Changed && most == 1) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		address, err := caddycmd.DetermineAdminAPIAddress(address, nil, flags.String("config"), flags.String("adapter"))
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		asking := &invocation{command: command, args: args, out: io.Discard, address: address}
		ctx, cancel := context.WithTimeout(asking.context(), completionTime)
		defer cancel()
		return asking.completions(ctx, upstream, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// joined mends what bash cuts: it takes colons for the ends of words, so that `--address localhost:2020 24` comes as the address
// "localhost" and the arguments ":", "2020" and "24". It returns the arguments that were typed.
func joined(args []string, address, upstream *string) (typed []string) {
	var last *string // what the words before belong to; nil for an argument
	for len(args) > 0 {
		if args[0] != ":" || len(args) == 1 {
			typed, args, last = append(typed, args[0]), args[1:], nil
			continue
		}
		switch {
		case strings.HasPrefix(args[1], "//"):
			last = upstream
		case last == nil:
			last = address
		}
		*last += ":" + args[1]
		args = args[2:]
	}
	return typed
}

// completions are the names that begin with what was typed, each with what there is to say of it, as far as the edge tells them
// before ctx ends.
func (i *invocation) completions(ctx context.Context, upstream, begun string) []cobra.Completion {
	pages := make(chan map[string]string)
	// Ends with the last page, or with the call that is under way when ctx ends: the program doesn't wait for that and exits.
	go func() {
		defer close(pages)
		tell := func(page map[string]string) (goOn bool) {
			select {
			case pages <- page:
				return true
			case <-ctx.Done():
				return false
			}
		}
		if len(i.args) == 0 {
			i.tellProjects(upstream, tell)
		} else {
			i.tellEntries(upstream, tell)
		}
	}()
	found := make(map[string]string)
	for {
		select {
		case page, more := <-pages:
			if !more {
				return offered(found, begun)
			}
			maps.Copy(found, page)
		case <-ctx.Done():
			return offered(found, begun)
		}
	}
}

// offered are those of the names that may be offered, in order.
func offered(found map[string]string, begun string) (completions []cobra.Completion) {
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if strings.HasPrefix(name, begun) && completable.MatchString(name) {
			completions = append(completions, cobra.CompletionWithDesc(name, found[name]))
		}
	}
	return completions
}

// tellProjects tells all names of the projects that the edge knows.
func (i *invocation) tellProjects(upstream string, tell func(map[string]string) (goOn bool)) {
	var list adminapi.ProjectList
	if i.call(http.MethodGet, adminapi.CallProjects, nil, nil, &list) != nil {
		return
	}
	page := make(map[string]string)
	for _, project := range list.Projects {
		if upstream != "" && project.Upstream != upstream {
			continue
		}
		for _, name := range append(project.Names, project.Project) {
			page[name] = project.State
		}
	}
	tell(page)
}

// tellEntries tells what stored files have as the next argument: packages of a project, versions of a package, files of a version.
func (i *invocation) tellEntries(upstream string, tell func(map[string]string) (goOn bool)) {
	query := i.entriesQuery(adminapi.MaxListedEntries, upstream)
	for {
		var list adminapi.EntryList
		if i.call(http.MethodGet, adminapi.CallEntries, query, nil, &list) != nil {
			return
		}
		page := make(map[string]string)
		for _, entry := range list.Entries {
			page[entryNames[len(i.args)].of(entry)] = ""
		}
		if !tell(page) || list.Next == "" {
			return
		}
		query.Set("after", list.Next)
	}
}
