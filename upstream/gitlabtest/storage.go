package gitlabtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// signatureNames are how a provider spells the parameters of a signed URL.
type signatureNames struct {
	signature, begin, expires string
	fixed                     map[string]string
	disposition, contentType  string
}

func (p Provider) names() signatureNames {
	switch p {
	case Google:
		return signatureNames{
			signature: "X-Goog-Signature", begin: "X-Goog-Date", expires: "X-Goog-Expires",
			fixed: map[string]string{
				"X-Goog-Algorithm": "GOOG4-RSA-SHA256", "X-Goog-SignedHeaders": "host",
				"X-Goog-Credential": "gitlab@example.iam.gserviceaccount.com/20250101/auto/storage/goog4_request",
			},
			disposition: "response-content-disposition", contentType: "response-content-type",
		}
	case Azure:
		return signatureNames{
			signature: "sig", begin: "st", expires: "se", fixed: map[string]string{"sv": "2018-11-09", "sr": "b", "sp": "r"},
			disposition: "rscd", contentType: "rsct",
		}
	case AWS:
	}
	return signatureNames{
		signature: "X-Amz-Signature", begin: "X-Amz-Date", expires: "X-Amz-Expires",
		fixed: map[string]string{ //nolint:gosec // nobody's: the example of their documentation
			"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-SignedHeaders": "host",
			"X-Amz-Credential": "AKIAIOSFODNN7EXAMPLE/20250101/us-east-1/s3/aws4_request",
		},
		disposition: "response-content-disposition", contentType: "response-content-type",
	}
}

// Formats of time in signed URLs.
const (
	compactTime = "20060102T150405Z"
	azureTime   = "2006-01-02T15:04:05Z"
)

// signedURL is a URL of the object storage that works for one method and some minutes, whoever has it. Only to AWS does
// GitLab send a HEAD by a URL that is signed for it (app/uploaders/object_storage/s3.rb).
func (s *Server) signedURL(u *upload, method string) string {
	names := s.settings.provider.names()
	now := s.now().UTC()
	query := url.Values{
		names.disposition: {s.settings.disposition(u)}, names.contentType: {"application/octet-stream"},
	}
	for name, value := range names.fixed {
		query.Set(name, value)
	}
	if s.settings.provider == Azure {
		query.Set(names.begin, now.Format(azureTime))
		query.Set(names.expires, now.Add(s.settings.signatureLife).Format(azureTime))
	} else {
		query.Set(names.begin, now.Format(compactTime))
		query.Set(names.expires, strconv.Itoa(int(s.settings.signatureLife/time.Second)))
	}
	if s.settings.provider != AWS {
		method = http.MethodGet
	}
	s.mu.Lock()
	key := u.key
	s.mu.Unlock()
	query.Set(names.signature, s.sign(method, key, query))
	return s.StorageURL + key + "?" + query.Encode()
}

// sign covers the method, the key and every parameter. Encode sorts them.
func (s *Server) sign(method, key string, query url.Values) string {
	mac := hmac.New(sha256.New, s.signingKey[:])
	_, _ = fmt.Fprintf(mac, "%s\n%s\n%s", method, key, query.Encode())
	return hex.EncodeToString(mac.Sum(nil))
}

// serveStorage is the object storage: it knows signatures and nothing of tokens.
func (s *Server) serveStorage(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Date", s.now().UTC().Format(http.TimeFormat))
	header.Set("Server", "gitlabtest-storage")
	header.Set("X-Amz-Request-Id", newID())
	if s.failHead(w, r, true) {
		return
	}
	query := r.URL.Query()
	if refused := s.judgeSignature(r, query); refused != nil {
		refused.write(w)
		return
	}
	s.mu.Lock()
	u := s.objects[r.URL.Path]
	s.mu.Unlock()
	if u == nil {
		storageError(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.").write(w)
		return
	}
	names := s.settings.provider.names()
	header.Set("Etag", u.entityTag())
	header.Set("Content-Type", query.Get(names.contentType))
	header.Set("Content-Disposition", query.Get(names.disposition))
	s.nameSums(r, header, u)
	s.sendFile(w, r, u)
}

// judgeSignature refuses what isn't signed, or no longer, or twice: a second way of authentication beside the query
// makes S3 refuse the request.
func (s *Server) judgeSignature(r *http.Request, query url.Values) *refusal {
	names := s.settings.provider.names()
	signature := query.Get(names.signature)
	query.Del(names.signature)
	defer query.Set(names.signature, signature)
	method := r.Method
	if s.settings.provider == Azure && method == http.MethodHead {
		method = http.MethodGet // leave to read is leave to ask for the head
	}
	switch {
	case r.Header.Get("Authorization") != "":
		return storageError(http.StatusBadRequest, "InvalidArgument",
			"Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case signature == "":
		return storageError(http.StatusForbidden, "AccessDenied", "Access Denied")
	case !hmac.Equal([]byte(signature), []byte(s.sign(method, r.URL.Path, query))):
		return storageError(http.StatusForbidden, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your key and signing method.")
	case s.now().After(expiry(names, query)):
		return storageError(http.StatusForbidden, "AccessDenied", "Request has expired")
	}
	return nil
}

// expiry is the end of a signed URL's life. Its parameters are what was signed, so they can be read.
func expiry(names signatureNames, query url.Values) time.Time {
	if end, err := time.Parse(azureTime, query.Get(names.expires)); err == nil {
		return end
	}
	begin, err := time.Parse(compactTime, query.Get(names.begin))
	seconds, errSeconds := strconv.Atoi(query.Get(names.expires))
	if err != nil || errSeconds != nil {
		return time.Time{}
	}
	return begin.Add(time.Duration(seconds) * time.Second)
}

func storageError(status int, code, text string) *refusal {
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: text})
	if err != nil {
		body = []byte("<Error/>")
	}
	return &refusal{status: status, body: xml.Header + string(body), contentType: "application/xml"}
}
