package command

import "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"

// troubles are what keeps the edge from working in full, each in words. A GitLab that nobody has asked yet is none.
func troubles(status adminapi.Status) (found []string) {
	for _, store := range status.Stores {
		if !store.Usable {
			found = append(found, "the cache directory "+store.Directory+" can't be used")
		}
	}
	for _, gitlab := range status.Upstreams {
		if gitlab.GitLab == adminapi.Down {
			found = append(found, gitlab.Upstream+" is down")
		}
		if gitlab.ObjectStorage == adminapi.Down {
			found = append(found, "the object storage of "+gitlab.Upstream+" is down")
		}
	}
	switch status.Switches {
	case adminapi.SwitchesRecalled:
		found = append(found, "the run-time switches can't be read, and those known last are in force")
	case adminapi.SwitchesUnknown:
		found = append(found, "the run-time switches can't be read, and none are known, so all requests get 503")
	}
	return found
}
