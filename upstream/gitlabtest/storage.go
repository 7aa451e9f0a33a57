package gitlabtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// signatureLife is how long a signed URL works.
const signatureLife = 10 * time.Minute

// signedURL is a URL of the object storage that works for one method and some minutes.
func (s *Server) signedURL(u *upload, method string) string {
	if s.signsForGETOnly {
		method = http.MethodGet
	}
	expires := strconv.FormatInt(time.Now().Add(signatureLife).Unix(), 10)
	query := url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Expires": {expires},
		"X-Amz-Signature":              {s.sign(method, u.key, expires)},
		"response-content-disposition": {u.disposition()}, "response-content-type": {"application/octet-stream"},
		"nonce": {newID()},
	}
	return s.StorageURL + u.key + "?" + query.Encode()
}

func (s *Server) sign(method, key, expires string) string {
	mac := hmac.New(sha256.New, s.signingKey[:])
	_, _ = fmt.Fprintf(mac, "%s\n%s\n%s", method, key, expires)
	return hex.EncodeToString(mac.Sum(nil))
}

// serveStorage is the object storage: it knows signatures and nothing of tokens.
func (s *Server) serveStorage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	w.Header().Set("X-Amz-Request-Id", newID())
	if s.failHead(w, r, true) {
		return
	}
	query := r.URL.Query()
	expires := query.Get("X-Amz-Expires")
	until, err := strconv.ParseInt(expires, 10, 64)
	expected := s.sign(r.Method, r.URL.Path, expires)
	switch {
	case r.Header.Get("Authorization") != "":
		http.Error(w, "Only one auth mechanism allowed", http.StatusBadRequest)
		return
	case err != nil || time.Now().Unix() > until || !hmac.Equal([]byte(query.Get("X-Amz-Signature")), []byte(expected)):
		http.Error(w, "SignatureDoesNotMatch", http.StatusForbidden)
		return
	}
	u := s.findKey(r.URL.Path)
	if u == nil {
		http.Error(w, "NoSuchKey", http.StatusNotFound)
		return
	}
	w.Header().Set("Etag", u.entityTag())
	w.Header().Set("Content-Type", query.Get("response-content-type"))
	w.Header().Set("Content-Disposition", query.Get("response-content-disposition"))
	s.sendFile(w, r, u)
}

func (s *Server) findKey(key string) *upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.packages {
		for _, u := range p.files {
			if u.key == key {
				return u
			}
		}
	}
	return nil
}
