package command

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func entriesVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "entries [PROJECT [PACKAGE [VERSION [FILE]]]] [--search TEXT] [--upstream URL] [--limit N] [--all]",
		Short: "Lists what is stored",
		Long: `Lists stored files: all, or those of a project, a package, a version, or one. Shows the first hundred; with --all it shows
all. With --json it prints one line for each page.

With --search it shows those with a text in project/package/version/file, whatever its case.`,
		Example: examples("entries", "entries 24", "entries group/app my_package 1.0.0", "entries --search setup.exe", "entries --all --json --limit 1000"),
		Args:    takes("[PROJECT]", "[PACKAGE]", "[VERSION]", "[FILE]"), ValidArgsFunction: completeNames(4),
	}
	flags := command.Flags()
	upstream := flags.String("upstream", "", "The GitLab, if the edge stands in front of several")
	search := flags.String("search", "", "Show only files with this text in their project, package, version or name")
	limit := flags.Int("limit", adminapi.ListedEntries, "How many to show, or to ask for at a time")
	all := flags.Bool("all", false, "Show all")
	return verb(command, func(i *invocation) (int, error) {
		if err := i.refuseEmptyNames(); err != nil {
			return 1, err
		}
		query := i.entriesQuery(*limit, *upstream)
		switch {
		case *search != "":
			query.Set("search", *search)
		case flags.Changed("search"):
			return 1, errors.New("--search is empty; leave it out to see all")
		}
		for shown := 0; ; {
			var list adminapi.EntryList
			if err := i.call(http.MethodGet, adminapi.CallEntries, query, nil, &list); err != nil {
				return 1, err
			}
			// A page of a search can have few entries, or none, and not be the last.
			last := list.Next == "" || (!*all && (*search == "" || shown+len(list.Entries) >= *limit))
			if err := i.show(list, func() { i.showEntries(list, shown == 0, last) }); err != nil {
				return 1, err
			}
			if last {
				return 0, nil
			}
			shown += len(list.Entries)
			query.Set("after", list.Next)
			query.Set("limit", strconv.Itoa(pageLimit(*limit, shown, *all)))
		}
	})
}

// pageLimit is how many the next page is to have when so many are shown.
func pageLimit(limit, shown int, all bool) int {
	if all {
		return limit
	}
	return limit - shown
}

// entriesQuery asks for the entries that the arguments name, of one GitLab or all.
func (i *invocation) entriesQuery(limit int, upstream string) url.Values {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	for at, name := range i.args {
		query.Set(entryNames[at].parameter, name)
	}
	if upstream != "" {
		query.Set("upstream", upstream)
	}
	return query
}

// showEntries prints a page. first says that nothing was printed before, last that no other page follows.
func (i *invocation) showEntries(list adminapi.EntryList, first, last bool) {
	if len(list.Entries) == 0 {
		if first && last {
			printf(i.out, "nothing is stored under that name\n")
		}
		return
	}
	var rows [][]string
	for _, e := range list.Entries {
		pinned := ""
		if e.PinnedUntil != nil {
			pinned = e.PinnedUntil.Local().Format(time.DateOnly)
		}
		confirmed := "not yet"
		if e.Confirmed != nil {
			confirmed = humanize.Time(*e.Confirmed)
		}
		rows = append(rows, []string{
			e.Project, e.Package, e.Version, e.File, sizeText(e.Size), humanize.Time(e.Stored), confirmed, humanize.Time(e.LastUsed),
			strconv.FormatUint(uint64(e.Hits), 10), pinned, e.Upstream, e.Directory, e.SHA256,
		})
	}
	head := ""
	if first {
		head = "PROJECT | PACKAGE | VERSION | FILE | SIZE | STORED | CONFIRMED | LAST USED | HITS | PINNED UNTIL | GITLAB | DIRECTORY | SHA-256"
	}
	i.table(head, rows)
	if list.Next != "" && last {
		printf(i.out, "There are more: --all shows them.\n")
	}
}
