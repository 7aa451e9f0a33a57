package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
		addresses := 0
		enter := func(standing Standing) (func(), error) {
			addresses++
			return share.enter(context.Background(), Caller{ClientIP: fmt.Sprintf("192.0.2.%d", addresses)}, standing, time.Second)
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
			t.Errorf("the seventh: %v", err)
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
		_, err = share.enter(gone, Caller{}, Stranger, time.Hour)
		if full, ok := errors.AsType[*UnreachableError](err); !ok || full.Trouble != TroubleCaller || !errors.Is(err, left) {
			t.Errorf("one who left: %v", err)
		}
		leaves[0]()
		leaves[0]() // a body may be closed twice
		if _, err := enter(Stranger); err != nil {
			t.Errorf("after one was given back: %v", err)
		}
		if _, err := enter(Stranger); !errors.Is(err, errStrangersShare) {
			t.Errorf("after one was given back twice: %v", err)
		}
	})
	if newStrangersShare(0) != nil || cap(newStrangersShare(1).places) != 1 {
		t.Error("the share of few connections is wrong")
	}
}

// TestOneNeighbourhoodHoldsThreeQuartersOfWhatStrangersMay has one of an IPv6 network, which are one neighbourhood, ask for more.
func TestOneNeighbourhoodHoldsThreeQuartersOfWhatStrangersMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := newStrangersShare(16)
		enter := func(address string, standing Standing) (func(), error) {
			return share.enter(context.Background(), Caller{ClientIP: address}, standing, time.Second)
		}
		own := []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5", "2001:db8::6", "2001:db8::7"}
		leaves := make([]func(), 0, 8)
		for _, address := range own[:6] {
			leave, err := enter(address, Stranger)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		begun := time.Now()
		_, err := enter(own[6], Stranger)
		if full, ok := errors.AsType[*UnreachableError](err); !ok || full.Trouble != TroubleEdge || full.Status != http.StatusServiceUnavailable || !errors.Is(err, errNeighbourhoodsShare) {
			t.Errorf("the seventh: %v", err)
		}
		if waited := time.Since(begun); waited != time.Second {
			t.Errorf("it waited for %v", waited)
		}
		if _, err := enter(own[6], Trusted); err != nil {
			t.Errorf("somebody there whom GitLab allows: %v", err)
		}
		waits := make(chan error, 8)
		for range cap(waits) {
			go func() { // ends with its time-out, or with a place that is given back
				_, err := enter(own[6], Stranger)
				waits <- err
			}()
		}
		synctest.Wait() // and stand in nobody's way
		begun = time.Now()
		for i := range 2 {
			leave, err := enter(fmt.Sprintf("192.0.2.%d", i), Stranger)
			if err != nil {
				t.Fatalf("another address: %v", err)
			}
			leaves = append(leaves, leave)
		}
		if !time.Now().Equal(begun) {
			t.Error("another address waited")
		}
		leaves[0]()
		if err := <-waits; err != nil {
			t.Errorf("after one was given back: %v", err)
		}
		for range cap(waits) - 1 {
			if err := <-waits; !errors.Is(err, errNeighbourhoodsShare) {
				t.Errorf("one who waited in vain: %v", err)
			}
		}
		for _, leave := range leaves[1:] {
			leave()
		}
		if len(share.neighbourhoods) != 1 || len(share.places) != 1 { // that of who has waited
			t.Errorf("%d neighbourhoods and %d places are left", len(share.neighbourhoods), len(share.places))
		}
	})
}

// TestWhoWaitsForAPlaceInVainLeavesNothing waits for those of all strangers.
func TestWhoWaitsForAPlaceInVainLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := newStrangersShare(2)
		leave, err := share.enter(context.Background(), Caller{ClientIP: "192.0.2.1"}, Stranger, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := share.enter(context.Background(), Caller{ClientIP: "192.0.2.2"}, Stranger, time.Second); !errors.Is(err, errStrangersShare) {
				t.Errorf("%v", err)
			}
		}
		leave()
		if len(share.neighbourhoods) != 0 || len(share.places) != 0 {
			t.Errorf("%d neighbourhoods and %d places are left", len(share.neighbourhoods), len(share.places))
		}
	})
}

// TestWhoWaitedInVainMayTryAgain waits for the neighbourhood's own places, and for those of all strangers.
func TestWhoWaitedInVainMayTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := newStrangersShare(24) // twelve for strangers, nine for each neighbourhood
		held := make(map[string][]func())
		enter := func(address string) error {
			leave, err := share.enter(context.Background(), Caller{ClientIP: address}, Stranger, time.Second)
			if err == nil {
				held[address] = append(held[address], leave)
			}
			return err
		}
		leave := func(address string) {
			for _, leave := range held[address] {
				leave()
			}
			held[address] = nil
		}
		for i := range 11 {
			if err := enter(fmt.Sprintf("192.0.2.%d", 1+i/9)); err != nil {
				t.Fatal(err)
			}
		}
		if err := enter("198.51.100.1"); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := enter("198.51.100.1"); !errors.Is(err, errStrangersShare) {
				t.Errorf("one too many for all: %v", err)
			}
		}
		leave("192.0.2.1")
		for range 8 {
			if err := enter("198.51.100.1"); err != nil {
				t.Errorf("when others have left: %v", err)
			}
		}
		for range 5 {
			if err := enter("198.51.100.1"); !errors.Is(err, errNeighbourhoodsShare) {
				t.Errorf("one too many for an address: %v", err)
			}
		}
		for address := range held {
			leave(address)
		}
		if len(share.neighbourhoods) != 0 || len(share.places) != 0 {
			t.Errorf("%d neighbourhoods and %d places are left", len(share.neighbourhoods), len(share.places))
		}
	})
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
