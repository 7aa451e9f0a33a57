package page

import (
	"path"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// stateView is how one thing does that the edge rests on: a word, a reason and a time.
type stateView struct {
	// Name is the thing's, such as "GitLab", and Which the one that is meant.
	Name, Which string
	Mood, Word  string
	Reason      string
	// Since is when it began to be so, or was found to be so; When says which of them.
	Since moment
	When  string
	// Wrong says it within a sentence, where it isn't good.
	Wrong string
}

// What stateView.When says of its time.
const (
	whenSince    = "since"
	whenAsked    = "asked"
	whenAnswered = "last answered"
	whenTried    = "last tried"
	whenLast     = "last"
	whenOpened   = "open since"
	whenRead     = "read"
)

// at gives the state a time that is known, unless it has one.
func (s *stateView) at(since *time.Time, when string) {
	if known := momentOf(since); known.Known && !s.Since.Known {
		s.Since, s.When = known, when
	}
}

// began is when what is wrong with it began, or was last so, if that is known.
func (s stateView) began() moment {
	if s.When == whenRead || s.When == whenOpened {
		return moment{}
	}
	return s.Since
}

// statesOf are all things' states, in the order in which they are shown.
func statesOf(status adminapi.Status) (states []stateView) {
	for _, upstream := range status.Upstreams {
		states = append(states, gitlabState(status, upstream), storageState(status, upstream))
	}
	for _, store := range status.Stores {
		if store.SharedStore != nil {
			states = append(states, bucketState(status, *store.SharedStore))
		}
	}
	for _, store := range status.Stores {
		states = append(states, diskState(status, store), indexState(store))
	}
	if state, isOf := switchesState(status); isOf {
		states = append(states, state)
	}
	return states
}

func gitlabState(status adminapi.Status, upstream adminapi.UpstreamStatus) stateView {
	host := shortUpstream(upstream.Upstream)
	state := stateView{Name: "GitLab", Which: host}
	if upstream.AtStart != nil {
		state.Reason = sentenceOf(upstream.AtStart.Text)
		state.Since, state.When = moment{Known: true, At: upstream.AtStart.Asked}, whenAsked
	}
	switch upstream.GitLab {
	case adminapi.Up:
		state.Mood, state.Word = moodGood, "answers"
		if upstream.AtStart != nil && !upstream.AtStart.LooksLikeGitLab && upstream.AtStart.Status != 0 {
			state.Mood, state.Word, state.Wrong = moodWarn, "answers oddly", host+" didn't answer the start's question as GitLab does"
		}
	case adminapi.Down:
		state.Mood, state.Word, state.Wrong = moodBad, "doesn't answer", host+" doesn't answer"
		state.Reason = "It is asked again every few seconds. Those whom it allowed lately get what is stored."
		state.Since, state.When = momentOf(upstream.GitLabSince), whenSince
	case adminapi.Unanswered:
		state.Mood, state.Word, state.Wrong = moodBad, "hasn't answered", host+" hasn't answered yet"
	case adminapi.Redirects:
		state.Mood, state.Word, state.Wrong = moodBad, "redirects to https", host+" redirects to https, so that no file can be fetched"
		state.Reason = "Give gitlab_packages the https URL."
	default:
		state.Mood, state.Word = moodIdle, "not asked yet"
	}
	state.at(upstream.GitLabAnswered, whenAnswered)
	state.at(&status.Started, whenSince) // it was like that from the start on
	return state
}

func storageState(status adminapi.Status, upstream adminapi.UpstreamStatus) stateView {
	host := shortUpstream(upstream.Upstream)
	state := stateView{Name: "Object storage", Which: "of " + host}
	switch upstream.ObjectStorage {
	case adminapi.Up:
		state.Mood, state.Word, state.Reason = moodGood, "answers", "What GitLab redirects to comes from there."
		state.at(upstream.ObjectStorageAnswered, whenAnswered)
	case adminapi.Down:
		state.Mood, state.Word, state.Wrong = moodBad, "doesn't answer", "the object storage of "+host+" doesn't answer"
		state.Reason = "It is asked again every few seconds. What is stored here is served."
		state.at(upstream.ObjectStorageSince, whenSince)
	default:
		state.Mood, state.Word = moodIdle, "not asked yet"
		state.Reason = "GitLab hasn't sent the edge there."
		state.at(&status.Started, whenSince)
	}
	return state
}

func bucketState(status adminapi.Status, bucket adminapi.SharedStoreStatus) stateView {
	state := stateView{Name: "Bucket", Which: visible(bucket.Store), Since: momentOf(bucket.Since), When: whenSince}
	switch bucket.State {
	case adminapi.SharedUp:
		state.Mood, state.Word = moodGood, "answers"
	case adminapi.SharedSlowed:
		state.Mood, state.Word, state.Wrong = moodWarn, "is left alone", "the bucket asks for fewer requests"
	case adminapi.SharedDown:
		state.Mood, state.Word, state.Wrong = moodWarn, "can't be used", "the bucket can't be used"
	default:
		state.Mood, state.Word = moodIdle, "not asked yet"
		state.at(&status.Started, whenSince)
	}
	switch {
	case bucket.Reason != "":
		state.Reason = sentenceOf(bucket.Reason)
	case bucket.OwedFiles > 0:
		state.Reason = plural(bucket.OwedFiles, "file", "files") + " (" + sizeText(bucket.OwedBytes) + ") still to be written there."
	case !bucket.Writes:
		state.Reason = "It is only read."
	case !bucket.Reads:
		state.Reason = "It is only written to."
	default:
		state.Reason = "It has all that it is owed."
	}
	return state
}

func diskState(status adminapi.Status, store adminapi.StoreStatus) stateView {
	state := stateView{Name: "Disk", Which: visible(store.Directory)}
	if !store.Usable {
		state.Mood, state.Word, state.Wrong = moodBad, "can't be used", "the cache directory "+visible(path.Base(store.Directory))+" can't be used"
		state.Reason = "Downloads stream uncached until it can be used again."
		for _, failure := range status.RecentFailures {
			if moment := lastFailure(status, "", store.Directory); moment.Known && failure.Time.Equal(moment.At) {
				state.Since, state.When = moment, whenTried
				if failure.Error != "" {
					state.Reason = sentenceOf(failure.Error)
				}
				break
			}
		}
		state.at(store.Since, whenSince)
		return state
	}
	state.Mood, state.Word = moodGood, ratioText(store.Bytes, store.MaxSize)+" used"
	state.Reason = sizeText(store.Bytes) + " of " + sizeText(store.MaxSize) + ". " + evictedText(store)
	if full := lastFailure(status, "the disk has no room", store.Directory); full.Known {
		state.Mood, state.Word, state.Wrong = moodWarn, "was full", "the disk had no room lately"
		state.Since, state.When = full, whenLast
	}
	state.at(store.Since, whenOpened)
	return state
}

// evictedText says what became of files for want of room, since the start.
func evictedText(store adminapi.StoreStatus) string {
	switch {
	case store.DiskErrors > 0:
		return plural(store.DiskErrors, "error", "errors") + " of the disk since the start."
	case store.NoRoom > 0:
		return plural(store.NoRoom, "file", "files") + " didn't fit since the start."
	case store.Evictions > 0:
		return plural(store.Evictions, "file", "files") + " made room for others since the start."
	}
	return "Nothing had to make room since the start."
}

func indexState(store adminapi.StoreStatus) stateView {
	state := stateView{Name: "Index", Which: visible(store.Directory)}
	switch {
	case !store.Usable:
		state.Mood, state.Word, state.Reason = moodIdle, "not open", "It lies in the cache directory."
		state.at(store.Since, whenSince)
	case store.Loading:
		state.Mood, state.Word, state.Reason = moodBusy, "being read", "What is found counts at once; the start's work goes on."
		state.at(store.Since, whenSince)
	case store.Damaged > 0:
		state.Mood, state.Word = moodWarn, "read"
		state.Reason = plural(store.Damaged, "stored file was", "stored files were") + " found damaged since the start, and removed."
		state.Wrong = plural(store.Damaged, "stored file was", "stored files were") + " found damaged"
	default:
		state.Mood, state.Word = moodGood, "read"
		state.Reason = plural(store.Entries, "name", "names") + " for " + plural(store.Files, "file", "files") + "; " + plural(store.FoundFiles, "was", "were") + " here at the start."
	}
	state.at(store.Read, whenRead)
	return state
}

// switchesState is shown only where the run-time switches aren't as they should be.
func switchesState(status adminapi.Status) (stateView, bool) {
	switch status.Switches {
	case adminapi.SwitchesRecalled:
		return stateView{
			Name: "Switches", Which: "set at run time", Mood: moodBad, Word: "can't be read",
			Reason: "Those known last count.", Wrong: "the run-time switches can't be read",
		}, true
	case adminapi.SwitchesUnknown:
		return stateView{
			Name: "Switches", Which: "set at run time", Mood: moodBad, Word: "can't be read",
			Reason: "None are known, so all requests get 503.", Wrong: "the run-time switches can't be read, and all requests get 503",
		}, true
	}
	return stateView{}, false
}

// ago is how long something is past, in words.
func ago(now, at time.Time) string { return durationText(now.Sub(at)) + " ago" }
