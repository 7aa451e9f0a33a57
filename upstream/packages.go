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
// Its errors say what went wrong in words for admins, and hold no credential.
func (c *Client) PackageFiles(ctx context.Context, caller Caller, project, name, version string) ([]PackageFile, error) {
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
	packages, err := list[listedPackage](ctx, c, caller, base, query)
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
		files, err := list[listedFile](ctx, c, caller, base+"/"+strconv.FormatInt(p.ID, 10)+"/package_files", nil)
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

// list reads all pages of a list.
func list[T any](ctx context.Context, c *Client, caller Caller, path string, query url.Values) (items []T, err error) {
	page := "1"
	for range maxListPages {
		some, next, err := listOnePage[T](ctx, c, caller, path, query, page)
		if err != nil {
			return nil, err
		}
		items = append(items, some...)
		if next == "" {
			return items, nil
		}
		page = next
	}
	return nil, errors.New("the list has no end")
}

func listOnePage[T any](ctx context.Context, c *Client, caller Caller, path string, query url.Values, page string) (items []T, next string, err error) {
	asked := url.Values{"per_page": {strconv.Itoa(listPage)}, "page": {page}}
	maps.Copy(asked, query)
	target, err := c.target(path, asked.Encode())
	if err != nil {
		return nil, "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.Base.String(), nil)
	if err != nil {
		return nil, "", fmt.Errorf("building a request: %w", err)
	}
	request.URL = target
	caller.Credential.AddTo(request.Header)
	request.Header.Set("User-Agent", userAgent)
	response, err := c.askGitLab(request, c.cfg.HeaderTimeout)
	if err != nil {
		return nil, "", unreachable("asking", err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusOK:
	case response.StatusCode >= http.StatusInternalServerError:
		return nil, "", statusUnreachable(response)
	case response.StatusCode >= http.StatusMultipleChoices && response.StatusCode < http.StatusBadRequest:
		return nil, "", errors.New("GitLab redirects; name the project by its number or its present path")
	default:
		return nil, "", errors.New("GitLab answered " + response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxListAnswer)).Decode(&items); err != nil {
		return nil, "", fmt.Errorf("reading GitLab's list: %w", err)
	}
	// doc/api/rest/_index.md, offset-based pagination.
	return items, response.Header.Get("X-Next-Page"), nil
}
