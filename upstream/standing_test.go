package upstream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStrangersShareHalfOfTheConnections: whoever finds none is told so after their patience, and a connection that is given back
// serves the next.
func TestStrangersShareHalfOfTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := newStrangersShare(4)
		enter := func(standing Standing) (func(), error) {
			return share.enter(context.Background(), standing, time.Second)
		}
		leaves := make([]func(), 0, 2)
		for range 2 {
			leave, err := enter(Stranger)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		begun := time.Now()
		_, err := enter(Stranger)
		if full, ok := errors.AsType[*UnreachableError](err); !ok || full.Trouble != TroubleEdge || !errors.Is(err, errStrangersShare) {
			t.Errorf("the third: %v", err)
		}
		if waited := time.Since(begun); waited != time.Second {
			t.Errorf("it waited for %v", waited)
		}
		if _, err := enter(Trusted); err != nil {
			t.Errorf("somebody whom GitLab allows: %v", err)
		}
		gone, leave := context.WithCancelCause(context.Background())
		left := errors.New("the caller has left")
		leave(left)
		_, err = share.enter(gone, Stranger, time.Hour)
		if full, ok := errors.AsType[*UnreachableError](err); !ok || full.Trouble != TroubleCaller || !errors.Is(err, left) {
			t.Errorf("one who left: %v", err)
		}
		leaves[0]()
		if _, err := enter(Stranger); err != nil {
			t.Errorf("after one was given back: %v", err)
		}
	})
	if newStrangersShare(0) != nil || cap(newStrangersShare(1)) != 1 {
		t.Error("the share of few connections is wrong")
	}
}

func TestAKeysTextsAreAllCounted(t *testing.T) {
	key := GrantKey{Upstream: strings.Repeat("u", 1000), ClientIP: strings.Repeat("i", 200), Project: strings.Repeat("p", 30), File: "f"}
	if got := key.textBytes(); got != 1231 {
		t.Errorf("%d bytes", got)
	}
}

func TestAGrantByPathIsForOneFileAndByNumberForAll(t *testing.T) {
	for project, want := range map[string]string{"24": "", "19": "", "90": "", "group/app": "pkg/1.0.0/app.bin", "2a": "pkg/1.0.0/app.bin", "9/9": "pkg/1.0.0/app.bin"} {
		ref := aRef
		ref.Project = project
		if got := FileOf(ref); got != want {
			t.Errorf("%s: %q", project, got)
		}
	}
}

// TestALongerLifeIsKeptForEachUse: handlers with different settings give grants to one caller.
func TestALongerLifeIsKeptForEachUse(t *testing.T) {
	earlier := Life{Fresh: 10 * time.Minute, RateLimited: 20 * time.Minute, Offline: 30 * time.Minute}
	for _, test := range []struct{ life, want Life }{
		{Life{}, Life{Fresh: 8 * time.Minute, RateLimited: 18 * time.Minute, Offline: 28 * time.Minute}},
		{Life{Fresh: 9 * time.Minute, RateLimited: 19 * time.Minute, Offline: 29 * time.Minute}, Life{Fresh: 9 * time.Minute, RateLimited: 19 * time.Minute, Offline: 29 * time.Minute}},
	} {
		if got := test.life.with(earlier, 2*time.Minute); got != test.want {
			t.Errorf("%+v: %+v", test.life, got)
		}
	}
}

// TestTheFingerprintOfARequestIsThatOfItsCredential, whatever was asked for before: what computes it is used again.
func TestTheFingerprintOfARequestIsThatOfItsCredential(t *testing.T) {
	fingerprinter := NewFingerprinter()
	for _, header := range []map[string][]string{
		{"Private-Token": {"a-long-one-before"}, "Cookie": {"x=y"}}, {"Private-Token": {"a"}}, {"X-Own": {"me"}}, {},
	} {
		for _, query := range []string{"", "job_token=a", "per_page=1"} {
			of := fingerprinter.Of(CredentialOf(header, query, []string{"X-Own"}))
			if of != fingerprinter.OfRequest(header, query, []string{"X-Own"}) {
				t.Errorf("%v?%s has two fingerprints", header, query)
			}
		}
	}
}

func TestNoCredentialStaysInWhatIsUsedAgain(t *testing.T) {
	keyed := NewFingerprinter().macs.Get().(*keyedHash)
	sent := new(carriers)
	sent.collect(map[string][]string{"Private-Token": {"s3cr3t"}}, "job_token=s3cr3t", nil)
	keyed.sum(sent)
	if left := string(keyed.message[:cap(keyed.message)]); strings.Contains(left, "s3cr3t") {
		t.Error("the token is still there")
	}
}
