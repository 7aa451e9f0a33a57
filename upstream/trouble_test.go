package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

func TestTroubleIsLaidAtWhoHasIt(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		trouble Trouble
		status  int
	}{
		"a broken connection":    {io.ErrUnexpectedEOF, TroubleNetwork, 0},
		"headers that are much":  {errors.New("http2: request header list larger than peer's advertised limit"), TroubleCaller, 0},
		"no more files":          {syscall.EMFILE, TroubleEdge, http.StatusServiceUnavailable},
		"no free connection":     {errNoConnection, TroubleEdge, http.StatusServiceUnavailable},
		"one that is told again": {&UnreachableError{Trouble: TroubleFront, Status: 502, Err: io.EOF}, TroubleFront, 502},
	} {
		wrapped := &url.Error{Op: "Get", URL: "https://s3.example.com/?X-Amz-Signature=s3cr3t", Err: test.err}
		got := unreachable("fetching", wrapped)
		if got.Trouble != test.trouble || got.Status != test.status || strings.Contains(got.Error(), "s3cr3t") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for status, trouble := range map[int]Trouble{499: TroubleUnusable, 500: TroubleFront, 503: TroubleFront, 302: TroubleUnusable} {
		got := statusUnreachable(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"9"}}})
		if got.Trouble != trouble || got.Status != status || got.RetryAfter != "9" {
			t.Errorf("%d: %+v", status, got)
		}
	}
	if isTooMuchForTheLine(nil) || isOwnLimit(nil) {
		t.Error("nothing is trouble")
	}
}
