package upstream

import (
	"net/textproto"
	"slices"
	"strings"
)

// CarrierKinds are the kinds of carriers that a credential holds, as a set of bits. They decide what GitLab's 401 says
// about the credential (Refusal). What GitLab makes of a wrong one of each kind: contract, section 5.
type CarrierKinds uint8

// The kinds of carriers.
const (
	// CarrierToken is a token in a place where GitLab answers 401 to a wrong one, whatever was asked for: PRIVATE-TOKEN,
	// JOB-TOKEN, Authorization: Bearer, and the query.
	CarrierToken CarrierKinds = 1 << iota
	// CarrierBasic is HTTP Basic. A wrong password makes an anonymous caller.
	CarrierBasic
	// CarrierDeployToken is the header DEPLOY-TOKEN. A wrong one makes an anonymous caller, and a good one is answered 401
	// about projects that it isn't for.
	CarrierDeployToken
	// CarrierCookie is the header Cookie. GitLab makes an anonymous caller of an ended session, and other cookies say
	// nothing to it.
	CarrierCookie
	// CarrierActor is what changes who acts and is no credential by itself: Sudo, DPoP, and the admin's own identity
	// headers.
	CarrierActor
)

// credentials are the kinds that can name somebody.
const credentials = CarrierToken | CarrierBasic | CarrierDeployToken | CarrierCookie

// Carriers returns the kinds of carriers that the credential holds. A carrier without a value is none, as for GitLab: all
// jobs whose variable is unset send the same empty header.
func (c Credential) Carriers() (kinds CarrierKinds) {
	if c.sent == nil {
		return 0
	}
	sent := c.sent()
	for _, carrier := range sent.headers {
		for _, value := range carrier.values {
			if value = textproto.TrimString(value); value != "" {
				kinds |= kindOfHeader(carrier.name, value)
			}
		}
	}
	for parameter := range strings.SplitSeq(sent.query, "&") {
		kinds |= carrierKindOfParameter(parameter)
	}
	return kinds
}

func kindOfHeader(name, value string) CarrierKinds {
	switch name {
	case "Private-Token", "Job-Token":
		return CarrierToken
	case "Authorization":
		scheme, rest, _ := strings.Cut(value, " ")
		switch {
		case strings.EqualFold(scheme, "Basic"):
			return CarrierBasic
		case textproto.TrimString(rest) == "":
			return 0
		}
		return CarrierToken
	case "Deploy-Token":
		return CarrierDeployToken
	case "Cookie":
		return CarrierCookie
	}
	return CarrierActor
}

// carrierKindOfParameter takes what can't be read plainly for a token: it might be one.
func carrierKindOfParameter(parameter string) CarrierKinds {
	name, value, _ := strings.Cut(parameter, "=")
	plain := slices.Contains(CarrierParameters, name) && !strings.Contains(value, ";")
	switch {
	case parameter == "" || (plain && value == ""):
		return 0
	case plain && name == "sudo":
		return CarrierActor
	}
	return CarrierToken
}
