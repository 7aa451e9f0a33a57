package upstream

import "slices"

// SecretHeaders are headers whose values are secrets, besides CarrierHeaders: GitLab takes none of these for a download,
// but other parts of GitLab do, or what stands in front of it does. Sources: GitLab's lib/gitlab/auth/auth_finders.rb,
// lib/api/helpers.rb, lib/gitlab/workhorse.rb and its documentation of webhooks; oauth2-proxy's, Cloudflare's, Amazon's
// and Google's documentation of identity-aware proxies.
var SecretHeaders = []string{
	"Set-Cookie", "Proxy-Authorization", "X-Forwarded-Authorization", "X-Original-Authorization",
	"X-Private-Token", "X-Job-Token", "Runner-Token", "X-Gitlab-Token", "X-Gitlab-Feed-Token", "X-Gitlab-Static-Object-Token",
	"X-Gitlab-Oidc-Token", "X-Nuget-Apikey", "X-Csrf-Token", "X-Xsrf-Token",
	"Gitlab-Workhorse-Api-Request", "Gitlab-Shell-Api-Request", "Gitlab-Kas-Api-Request", "Gitlab-Pages-Api-Request", "Gitlab-Shared-Secret",
	"X-Api-Key", "X-Auth-Token", "X-Access-Token", "X-Vault-Token", "X-Forwarded-Access-Token", "X-Auth-Request-Access-Token",
	"Cf-Access-Token", "Cf-Access-Client-Secret", "Cf-Access-Jwt-Assertion", "X-Amzn-Oidc-Accesstoken", "X-Amzn-Oidc-Data", "X-Goog-Iap-Jwt-Assertion",
}

// SecretParameters are query parameters, and members of JSON, whose values are secrets, besides CarrierParameters. Most
// of them GitLab's own logs hide as well (config/application.rb, filter_parameters).
var SecretParameters = []string{
	"feed_token", "rss_token", "deploy_token", "runner_token", "registration_token", "agent_token", "trigger_token", "static_object_token",
	"incoming_email_token", "personal_access_token", "impersonation_token", "webhook_token", "secret_token", "refresh_token", "id_token", "oauth_token", "api_token", "auth_token", "session_token",
	"authenticity_token", "csrf_token", "confirmation_token", "invitation_token", "unlock_token", "reset_password_token", "remember_user_token",
	"ci_job_token", "ci_registry_password", "ci_deploy_password", "gitlab_token", "gitlab_edge_token", "_gitlab_session",
	"client_secret", "client_assertion", "secret", "secret_key", "secret_access_key", "api_key", "code", "code_verifier", "device_code", "otp_attempt",
	"password", "passwd", "new_password", "current_password", "password_confirmation",
}

// storageSecrets are the query parameters that make a URL of object storage a capability, or are a part of that: those of
// AWS, Google, Alibaba and Azure. Signed URLs differ in more parameters, but nobody can read a file by those.
var storageSecrets = []string{
	"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature", "Policy",
	"X-Goog-Signature", "X-Goog-Credential", "GoogleAccessId",
	"X-Oss-Signature", "X-Oss-Credential", "X-Oss-Security-Token", "OSSAccessKeyId", "Security-Token",
	"sig", "verify",
}

// nameKind says what the value behind a name is. The names of credentials are common words too, and logs are full of
// those, so that it takes more than the word to hide what comes after it.
type nameKind int

const (
	// harmlessName is any other name.
	harmlessName nameKind = iota
	// parameterOnly is a secret as a query's parameter alone. Example: the `policy` of a load balancer is none.
	parameterOnly
	// codeName is commonName, but a number of at most three digits is a status. Examples: `{"code":404}`, `exit code=1`.
	codeName
	// commonName is a secret as a parameter, as a log field and where it is quoted, as in JSON. Elsewhere only a value that
	// looks like one is hidden: `token: Xy12ab90` is, `unexpected token: EOF` isn't.
	commonName
	// secretName is a secret wherever a value comes after it.
	secretName
	// wholeLine is a secret whose value may hold white space.
	wholeLine
)

// secretNames are the names of secrets by their folded spelling.
type secretNames struct {
	kinds   map[string]nameKind
	longest int
}

// exceptions are the names that aren't a plain secretName.
var exceptions = map[string]nameKind{
	"policy": parameterOnly, "code": codeName,
	"token": commonName, "secret": commonName, "sudo": commonName, "signature": commonName, "sig": commonName,
	"authorization": wholeLine, "proxyauthorization": wholeLine, "xforwardedauthorization": wholeLine, "xoriginalauthorization": wholeLine,
	"cookie": wholeLine, "setcookie": wholeLine,
}

func newSecretNames(more []string) secretNames {
	names := secretNames{kinds: map[string]nameKind{}}
	for _, name := range slices.Concat(CarrierHeaders, SecretHeaders, CarrierParameters, SecretParameters, storageSecrets, more) {
		folded := string(appendFolded(nil, name))
		names.kinds[folded] = secretName
		if kind, isException := exceptions[folded]; isException {
			names.kinds[folded] = kind
		}
		names.longest = max(names.longest, len(folded))
	}
	return names
}

// kindOf returns what a name is, in whatever case and with or without hyphens and underscores: `privateToken` is
// `Private-Token` and `private_token`.
func (n secretNames) kindOf(name string) nameKind {
	var room [64]byte // of most names: no allocation for each field of a log
	if len(name) > 4*n.longest {
		return harmlessName
	}
	return n.kinds[string(appendFolded(room[:0], name))]
}

// kindInText is kindOf for a name before which another word may stand: `GITLAB_PRIVATE_TOKEN` and `HTTP_PRIVATE_TOKEN` are
// secrets as well, and so is the header `X-Deploy-Token`. Common words aren't enough for that.
func (n secretNames) kindInText(name string) nameKind {
	if kind := n.kindOf(name); kind != harmlessName {
		return kind
	}
	for i := max(0, len(name)-2*n.longest); i < len(name); i++ {
		if name[i] == '-' || name[i] == '_' {
			if kind := n.kindOf(name[i+1:]); kind >= secretName {
				return kind
			}
		}
	}
	return harmlessName
}

// appendFolded appends a name in lower case, without hyphens and underscores.
func appendFolded(folded []byte, name string) []byte {
	for i := range len(name) {
		switch c := name[i]; {
		case c == '-' || c == '_':
		case 'A' <= c && c <= 'Z':
			folded = append(folded, c+'a'-'A')
		default:
			folded = append(folded, c)
		}
	}
	return folded
}

// isNameByte reports whether a byte can stand in a name. What comes after it isn't the name of a secret then, but the end
// of a longer name.
func isNameByte(c byte) bool {
	return c == '_' || c == '-' || isAlphanumeric(c)
}

func isAlphanumeric(c byte) bool { return isDigit(c) || isLetter(c) }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// isStatus reports whether a value is a number of at most three digits, which no secret is.
func isStatus(value string) bool {
	for i := range len(value) {
		if !isDigit(value[i]) {
			return false
		}
	}
	return len(value) <= 3
}
