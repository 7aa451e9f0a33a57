package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// PackageFile is a file that GitLab lists in a project's package registry.
type PackageFile struct {
	Ref Ref
	// Size is in bytes.
	Size int64
	// SHA256 is lower-case hex; empty where GitLab has none.
	SHA256 string
}

const (
	// listPage is how many items are asked for at a time, which is the most that GitLab gives.
	listPage = 100
	// maxListPages bounds a list that never ends.
	maxListPages = 10_000
	// maxListAnswer bounds what is read of one page, in bytes.
	maxListAnswer = 16 << 20
)

// PackageFiles asks GitLab, in a caller's name, which files a project's generic package has: those of one version, or of
// all if version is empty (contract, section 9). Of several uploads of one name it returns the one that is given out, the
// last (contract, section 7). The project is a canonical spelling, and the files' refs have it.
// Its errors say what went wrong in words for admins, and hold no credential: *ListRefusedError, *UnreachableError and others.
// again, if given, is called with the error of each page that can't be had; where it returns nil, which may take as long as the
// error asks for, that page is asked for again.
func (c *Client) PackageFiles(ctx context.Context, caller Caller, project, name, version string, again ...func(error) error) ([]PackageFile, error) {
	query := url.Values{"package_type": {"generic"}, "package_name": {name}}
	if version != "" {
		query.Set("package_version", version)
	}
	base := "/api/v4/projects/" + url.PathEscape(project) + "/packages"
	type listedPackage struct {
		ID      int64  `json:"id"`
		Name    string `json:"name"`
		Version string `json:"version"`
		Type    string `json:"package_type"`
	}
	packages, err := list[listedPackage](ctx, c, caller, base, query, again)
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	var found []PackageFile
	for _, p := range packages {
		// The name that is asked for is any part of the listed ones, and older GitLabs know no package_version.
		if p.Name != name || p.Type != "generic" || (version != "" && p.Version != version) {
			continue
		}
		type listedFile struct {
			Name   string `json:"file_name"`
			Size   int64  `json:"size"`
			SHA256 string `json:"file_sha256"`
		}
		files, err := list[listedFile](ctx, c, caller, base+"/"+strconv.FormatInt(p.ID, 10)+"/package_files", nil, again)
		if err != nil {
			return nil, fmt.Errorf("listing the files of version %q: %w", p.Version, err)
		}
		places := make(map[string]int, len(files))
		for _, f := range files {
			// Directories are part of the stored name, encoded.
			file := f.Name
			if decoded, err := url.PathUnescape(file); err == nil {
				file = decoded
			}
			listed := PackageFile{Ref: Ref{project, p.Name, p.Version, file}, Size: f.Size, SHA256: strings.ToLower(f.SHA256)}
			if at, again := places[file]; again {
				found[at] = listed
				continue
			}
			places[file] = len(found)
			found = append(found, listed)
		}
	}
	return found, nil
}

// ListRefusedError says that GitLab answered a question for a list by something else than one.
type ListRefusedError struct {
	// Status is the answer's, as a number, and RetryAfter its Retry-After, as sent.
	Status     int
	RetryAfter string
}

func (e *ListRefusedError) Error() string {
	return "GitLab answered " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
}

// list reads all pages of a list.
func list[T any](ctx context.Context, c *Client, caller Caller, path string, query url.Values, again []func(error) error) (items []T, err error) {
	asked := url.Values{"per_page": {strconv.Itoa(listPage)}, "page": {"1"}}
	maps.Copy(asked, query)
	for range maxListPages {
		some, next, err := listOnePage[T](ctx, c, caller, path, asked)
		for err != nil && len(again) > 0 {
			if refused := again[0](err); refused != nil {
				return nil, refused
			}
			some, next, err = listOnePage[T](ctx, c, caller, path, asked)
		}
		if err != nil {
			return nil, err
		}
		items = append(items, some...)
		if next == nil {
			return items, nil
		}
		asked = next
	}
	return nil, errors.New("the list has no end")
}

// listOnePage asks for one page, and returns the query of the next; nil for none.
func listOnePage[T any](ctx context.Context, c *Client, caller Caller, path string, asked url.Values) (items []T, next url.Values, err error) {
	target, err := c.target(path, asked.Encode())
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.Base.String(), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("building a request: %w", err)
	}
	request.URL = target
	caller.Credential.AddTo(request.Header)
	request.Header.Set("User-Agent", userAgent)
	response, err := c.askGitLab(request, c.cfg.HeaderTimeout)
	if err != nil {
		return nil, nil, unreachable("asking", err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusOK:
	case response.StatusCode >= http.StatusInternalServerError:
		return nil, nil, statusUnreachable(response)
	case response.StatusCode >= http.StatusMultipleChoices && response.StatusCode < http.StatusBadRequest:
		return nil, nil, errors.New("GitLab redirects; name the project by its number or its present path")
	default:
		return nil, nil, &ListRefusedError{response.StatusCode, response.Header.Get("Retry-After")}
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxListAnswer)).Decode(&items); err != nil {
		return nil, nil, fmt.Errorf("reading GitLab's list: %w", err)
	}
	return items, nextPage(response.Header, asked), nil
}

// nextLink is what a Link header says of the next page (RFC 8288, section 3).
var nextLink = regexp.MustCompile(`<([^>]*)>\s*;[^,<]*\brel="?next"?`)

// nextPage is the query of the page after one; nil if that was the last. X-Next-Page is a number; a list by keyset has none, and
// only a link (doc/api/rest/_index.md, pagination). Of the link the query alone counts: whatever host it names, the edge's own
// GitLab is asked.
func nextPage(header http.Header, asked url.Values) url.Values {
	next := maps.Clone(asked)
	if page := header.Get("X-Next-Page"); page != "" {
		next.Set("page", page)
		return next
	}
	link := nextLink.FindStringSubmatch(strings.Join(header.Values("Link"), ", "))
	if link == nil {
		return nil
	}
	target, err := url.Parse(link[1])
	if err != nil {
		return nil
	}
	next.Del("page") // which a keyset takes the place of
	maps.Copy(next, target.Query())
	return next
}
