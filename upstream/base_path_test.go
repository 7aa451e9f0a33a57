package upstream

import (
	"errors"
	"testing"
)

// TestRoutesBelowABasePath: the base path is found in every spelling, and no way into it by dot segments goes by unseen.
func TestRoutesBelowABasePath(t *testing.T) {
	const file = "/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/app.bin"
	for _, test := range []struct {
		base, path, project string
		organization        bool
		want                error // nil, ErrNotGeneric, or errInvalidPath for an *InvalidError
	}{
		{"", file, "group/app", false, nil},
		{"", "/o/any" + file, "group/app", true, nil},
		{"", "/gitlab" + file, "", false, ErrNotGeneric},
		{"/gitlab", file, "", false, ErrNotGeneric},
		{"/gitlab", "/gitlab" + file, "group/app", false, nil},
		{"/gitlab", "//gitl%61b//" + file, "group/app", false, nil},
		{"/gitlab", "/gitlab/o/any" + file, "group/app", true, nil},
		{"/gitlab", "/o/any/gitlab" + file, "", false, ErrNotGeneric},
		{"/a%20b/c", "/a%20b/%63" + file, "group/app", false, nil},
		{"/a/b", "/a" + file, "", false, ErrNotGeneric},
		{"/a/b", "/a/b/a/b" + file, "", false, ErrNotGeneric},
		// What was decoded before has lost the slash that isn't one.
		{"/gitlab", "/x/../gitlab" + file, "group/app", false, errInvalidPath},
		{"/gitlab", "/x/%2e%2E/gitlab" + file, "group/app", false, errInvalidPath},
		{"/gitlab", "/x/.%2e/%67itlab//" + file, "group/app", false, errInvalidPath},
		{"/gitlab", "/./gitlab" + file, "group/app", false, errInvalidPath},
		{"/gitlab", "/x/../gitlab/o/any" + file, "group/app", false, errInvalidPath},
		{"/gitlab", "/x/../gitlab/y/.." + file, "group/app", false, errInvalidPath},
		{"/gitlab", "/gitlab/.." + "/gitlab" + file, "", false, errInvalidPath},
		{"/gitlab", "/../gitlab" + file, "group/app", false, errInvalidPath},
		{"/gitlab", "/gitlab/x/.." + file, "group/app", false, errInvalidPath},
		{"/gitlab/sub", "/gitlab/x/../sub" + file, "group/app", false, errInvalidPath},
		{"/gitlab/sub", "/gitlab/./sub" + file, "group/app", false, errInvalidPath},
		{"/gitlab", "/.", "", false, ErrNotGeneric},
		{"/git%6cab", "/gitlab" + file, "group/app", false, nil},
		{"/a%20b", "/a%20b" + file, "group/app", false, nil},
		// Read in another way, they aren't below it: refused all the same, since some cut dots only.
		{"/gitlab", "/gitlab/../x/gitlab" + file, "", false, errInvalidPath},
		{"/gitlab", "/x/.." + file, "", false, ErrNotGeneric},
		{"/gitlab", "/x/../gitlab/api/v4/version", "", false, ErrNotGeneric},
	} {
		route, err := ParseRouteBelow(test.base, test.path)
		if _, invalid := errors.AsType[*InvalidError](err); invalid {
			err = errInvalidPath
		}
		if !errors.Is(err, test.want) || route.Ref.Project != test.project || route.Organization != test.organization {
			t.Errorf("%s below %q: %+v, %v; want %q, %v", test.path, test.base, route, err, test.project, test.want)
		}
	}
}

var errInvalidPath = errors.New("the path is invalid")

// TestARouteOfAnOrganization: GitLab has each route a second time below /o/:organization_path.
func TestARouteOfAnOrganization(t *testing.T) {
	const file = "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin"
	want, err := ParseRoute(file)
	if err != nil {
		t.Fatal(err)
	}
	for path, forwarded := range map[string]string{
		"/o/any" + file:                    "",
		"//%6F//any%2Fthing/" + file + "/": "",
		"/o/o" + file:                      "",
		"/o/any/api/v4/projects/24/generic/pkg/1.0.0/app.bin":      "/o/any" + file,
		"/%6f//a%20b/api/v4/projects/24/generic/pkg/1.0.0/app.bin": "/%6f/a%20b" + file,
	} {
		if forwarded == "" {
			forwarded = path
		}
		route, err := ParseRoute(path)
		if err != nil || route.Ref != want.Ref || !route.Organization || route.Path != forwarded {
			t.Errorf("%s: %+v, %v", path, route, err)
		}
	}
	for _, path := range []string{"/o" + file, "/O/any" + file, "/o/a/b" + file, "/o/a/o/b" + file, "/x/any" + file, "/o/any", "/o/any/group/app"} {
		if route, err := ParseRoute(path); !errors.Is(err, ErrNotGeneric) {
			t.Errorf("%s: %+v, %v", path, route, err)
		}
	}
	for _, path := range []string{"/o/." + file, "/o/../o/any" + file, "/o/any/.." + file} {
		if _, err := ParseRoute(path); err == nil || errors.Is(err, ErrNotGeneric) {
			t.Errorf("%s: %v", path, err)
		}
	}
	route, err := ParseRoute("/o/any/api/v4/projects/24/packages/generic/pkg/1.0.0/%00")
	if err == nil || route.Ref.Project != "24" || !route.Organization {
		t.Errorf("an illegal name: %+v, %v", route, err)
	}
}
