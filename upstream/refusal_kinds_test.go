package upstream

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestAParameterThatCanBeReadInTwoWaysCountsAsAToken(t *testing.T) {
	for query, want := range map[string]CarrierKinds{
		"sudo=root":                       CarrierActor,
		"sudo=root;private_token=a":       CarrierToken,
		"sudo=":                           0,
		"private_token=":                  0,
		"private%5Ftoken=":                CarrierToken,
		"s%75do=root":                     CarrierToken,
		"private_token=a":                 CarrierToken,
		"private_token=;x":                CarrierToken,
		"sudo=root&private_token=a":       CarrierActor | CarrierToken,
		"per_page=1":                      0,
		"private_token[]=":                CarrierToken,
		"sudo[]=root":                     CarrierToken,
		"job_token=&sudo=&private_token=": 0,
	} {
		if got := CredentialOf(nil, query, nil).Carriers(); got != want {
			t.Errorf("%s: %b, want %b", query, got, want)
		}
	}
}

func TestPlainValuesTrustNothingDoubtful(t *testing.T) {
	for query, want := range map[string]struct {
		values []string
		ok     bool
	}{
		"":                          {nil, true},
		"status=hidden":             {[]string{"hidden"}, true},
		"status=a%20b&status=c":     {[]string{"a b", "c"}, true},
		"select=x&per_page=1":       {nil, true},
		"select%5B=x&b;c=d":         {nil, true},
		"status":                    {[]string{""}, true},
		"status[]=a":                {nil, false},
		"st%61tus=a":                {nil, false},
		"status=%zz":                {nil, false},
		"%zz=a":                     {nil, false},
		"status=a;select=b":         {nil, false},
		"select=b;status=a":         {nil, false},
		"status=a&select=x;status=": {nil, false},
	} {
		values, ok := PlainValues(query, "status")
		if ok != want.ok || !slices.Equal(values, want.values) {
			t.Errorf("%q: %q, %v", query, values, ok)
		}
	}
}

func TestNoTokenIsNobody(t *testing.T) {
	if !TokenCredential("").Anonymous() || TokenCredential("glpat").Anonymous() {
		t.Error("who is anonymous is told wrongly")
	}
}

// TestARefusalCountsByWhatWasAsked: who may write something tells nothing of who may read it.
func TestARefusalCountsByWhatWasAsked(t *testing.T) {
	caller := Caller{Credential: TokenCredential("glpat")}
	for method, counts := range map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodPut: false, http.MethodDelete: false, http.MethodPost: false} {
		refusal := NewRefusal(method, caller, time.Now(), http.StatusUnauthorized)
		if refusal.counts != counts || refusal.endsAll(true) != counts {
			t.Errorf("%s: %+v", method, refusal)
		}
	}
}

// TestOnlyAnAllowedAnswerIsAYes: one that is still to be proven isn't either.
func TestOnlyAnAllowedAnswerIsAYes(t *testing.T) {
	for _, answer := range []Answer{{Verdict: Refused}, {Verdict: RateLimited}, {Verdict: Unreachable}, {Verdict: Allowed, Unproven: true}} {
		if answer.Yes(Caller{}, Life{}).counts {
			t.Errorf("%+v counts", answer)
		}
	}
	if !(Answer{Verdict: Allowed}).Yes(Caller{}, Life{}).counts {
		t.Error("a yes doesn't count")
	}
}
