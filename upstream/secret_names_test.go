package upstream

import (
	"slices"
	"strings"
	"testing"
)

// The names of secrets, written out here: a name that is lost in the code is missed, and one that is added there is to be added here.
var (
	headersOfTheList = []string{
		"Authorization", "Private-Token", "Job-Token", "Deploy-Token", "Cookie", "Sudo", "Dpop",
		"Set-Cookie", "Proxy-Authorization", "X-Forwarded-Authorization", "X-Original-Authorization",
		"X-Private-Token", "X-Job-Token", "Runner-Token", "X-Gitlab-Token", "X-Gitlab-Feed-Token", "X-Gitlab-Static-Object-Token",
		"X-Gitlab-Oidc-Token", "X-Nuget-Apikey", "X-Csrf-Token", "X-Xsrf-Token",
		"Gitlab-Workhorse-Api-Request", "Gitlab-Shell-Api-Request", "Gitlab-Kas-Api-Request", "Gitlab-Pages-Api-Request", "Gitlab-Shared-Secret",
		"X-Api-Key", "X-Auth-Token", "X-Access-Token", "X-Vault-Token", "X-Forwarded-Access-Token", "X-Auth-Request-Access-Token",
		"Cf-Access-Token", "Cf-Access-Client-Secret", "Cf-Access-Jwt-Assertion", "X-Amzn-Oidc-Accesstoken", "X-Amzn-Oidc-Data", "X-Goog-Iap-Jwt-Assertion",
	}
	parametersOfTheList = []string{
		"private_token", "access_token", "bearer_token", "job_token", "token", "sudo",
		"feed_token", "rss_token", "deploy_token", "runner_token", "registration_token", "agent_token", "trigger_token", "static_object_token",
		"incoming_email_token", "personal_access_token", "impersonation_token", "webhook_token", "secret_token", "refresh_token", "id_token", "oauth_token", "api_token", "auth_token", "session_token",
		"authenticity_token", "csrf_token", "confirmation_token", "invitation_token", "unlock_token", "reset_password_token", "remember_user_token",
		"ci_job_token", "ci_registry_password", "ci_deploy_password", "gitlab_token", "gitlab_edge_token", "_gitlab_session",
		"client_secret", "client_assertion", "secret", "secret_key", "secret_access_key", "api_key", "code", "code_verifier", "device_code", "otp_attempt",
		"password", "passwd", "new_password", "current_password", "password_confirmation",
	}
	signaturesOfTheList = []string{
		"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature", "Policy",
		"X-Goog-Signature", "X-Goog-Credential", "GoogleAccessId",
		"X-Oss-Signature", "X-Oss-Credential", "X-Oss-Security-Token", "OSSAccessKeyId", "Security-Token",
		"sig", "verify",
	}
)

// TestEachNameOfTheListIsASecretInEachForm has no name from the code itself.
func TestEachNameOfTheListIsASecretInEachForm(t *testing.T) {
	const secret = "Zm9v1bar"
	common := []string{"token", "secret", "sudo", "signature", "sig", "code"} // words of other texts too
	for _, name := range slices.Concat(headersOfTheList, parametersOfTheList, signaturesOfTheList) {
		forms := []string{"?a=b&" + name + "=" + secret + "&c=d", "GET /f?" + name + "=" + secret}
		if name != "Policy" {
			forms = append(forms, `{"`+name+`":"`+secret+`"}`, `{\"`+name+`\":\"`+secret+`\"}`)
			if !testRedactor.Hides(name) || !testRedactor.Hides(strings.ToUpper(name)) {
				t.Errorf("a field named %s is shown", name)
			}
			if name != "code" && !testRedactor.HidesNumber(name) {
				t.Errorf("a number named %s is shown", name)
			}
			if !slices.Contains(common, strings.ToLower(name)) {
				forms = append(forms, name+": "+secret, "map["+name+":["+secret+"]]", name+"="+secret)
			}
		}
		for _, form := range forms {
			if got := testRedactor.Redact(form); strings.Contains(got, secret) {
				t.Errorf("%q became %q", form, got)
			}
		}
	}
}

func TestTheListOfSecretsIsComplete(t *testing.T) {
	for name, lists := range map[string][2][]string{
		"headers":    {slices.Concat(CarrierHeaders, SecretHeaders), headersOfTheList},
		"parameters": {slices.Concat(CarrierParameters, SecretParameters), parametersOfTheList},
		"signatures": {storageSecrets, signaturesOfTheList},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("%s: the code has %q, the test %q", name, lists[0], lists[1])
		}
	}
}
