package wechatpay

import (
	"compress/gzip"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var errOversized = errors.New("oversized")

// signatureOf tells about the signature of an answer what a careful client
// would find out.
func signatureOf(s *Sandbox, resp *http.Response, body []byte) string {
	h := resp.Header
	signature := h.Get("Wechatpay-Signature")
	for _, name := range []string{"Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Serial"} {
		switch {
		case signature == "" && h.Get(name) == "":
			return "unsigned"
		case signature == "" || h.Get(name) == "":
			return "partly signed"
		}
	}
	if strings.HasPrefix(signature, "WECHATPAY/SIGNTEST/") {
		return "probed"
	}
	var key *rsa.PublicKey
	for _, k := range append(s.publicKeys, s.certificates...) {
		if k.id == h.Get("Wechatpay-Serial") {
			key = &k.key.PublicKey
		}
	}
	if key == nil {
		return "signed by a stranger"
	}
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n", h.Get("Wechatpay-Timestamp"), h.Get("Wechatpay-Nonce"), body))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw) != nil {
		return "wrongly signed"
	}
	seconds, err := strconv.ParseInt(h.Get("Wechatpay-Timestamp"), 10, 64)
	if err != nil || s.now().Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return "stale"
	}
	return "signed"
}

// seen describes what a client saw of an answer.
func seen(s *Sandbox, resp *http.Response, body []byte, err error) string {
	switch timeout := (interface{ Timeout() bool })(nil); {
	case err == nil:
		return fmt.Sprintf("%d %s", resp.StatusCode, signatureOf(s, resp, body))
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated"
	case errors.Is(err, gzip.ErrChecksum):
		return "wrong checksum"
	case errors.Is(err, errOversized):
		return "oversized"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "nothing"
	}
	return err.Error()
}

func TestFaults(t *testing.T) {
	s := sandbox(t)
	const busy = `{"code":"SYSTEM_ERROR","message":"系统异常,请稍后重试"}`
	for _, tt := range []struct {
		name    string
		fault   Fault
		want    string
		status  int    // in the log
		header  string // an answer's header,
		value   string // and its value
		library bool   // whether the library accepts the answer
	}{
		{"WrongSignature", WrongSignature(), "200 wrongly signed", 200, "", "", false},
		{"SignatureProbe", SignatureProbe(), "200 probed", 200, "", "", false},
		{"Stale", Stale(), "200 stale", 200, "", "", false},
		{"UnknownKey", UnknownKey(), "200 signed by a stranger", 200, "", "", false},
		{"no timestamp", MissingHeader("Wechatpay-Timestamp"), "200 partly signed", 200, "Wechatpay-Timestamp", "", false},
		{"no nonce", MissingHeader("Wechatpay-Nonce"), "200 partly signed", 200, "Wechatpay-Nonce", "", false},
		{"no signature", MissingHeader("Wechatpay-Signature"), "200 partly signed", 200, "Wechatpay-Signature", "", false},
		{"no serial", MissingHeader("Wechatpay-Serial"), "200 partly signed", 200, "Wechatpay-Serial", "", false},
		{"no Request-ID", MissingHeader("Request-ID"), "200 signed", 200, "Request-ID", "", true},
		{"no Content-Type", MissingHeader("content-type"), "200 signed", 200, "Content-Type", "", true},
		{"Unsigned", Unsigned(), "200 unsigned", 200, "Wechatpay-Signature-Type", "", false},
		{"Truncated", Truncated(), "truncated", 200, "", "", false},
		{"Oversized", Oversized(), "oversized", 200, "", "", true},
		{"GzipOversized", GzipOversized(), "oversized", 200, "", "", true},
		{"Gzip", Gzip(), "200 signed", 200, "", "", true},
		{"BadGzip", BadGzip(), "wrong checksum", 200, "", "", false},
		{"Redirect", Redirect(), "302 signed", 302, "Location", s.Endpoints()[1] + brandPath, false},
		{"Hang", Hang(), "nothing", 0, "", "", false},
		{"Reset", Reset(), "reset", 0, "", "", false},
		{"Status", Status(500, busy), "500 signed", 500, "Content-Type", "application/json; charset=utf-8", false},
		{"Status with Retry-After", Status(429, busy).With("Retry-After", "2"), "429 signed", 429, "Retry-After", "2", false},
		{"UnsignedStatus", UnsignedStatus(502, busy), "502 unsigned", 502, "Content-Type", "application/json; charset=utf-8", false},
		{"UnsignedStatus in HTML", UnsignedStatus(502, "<html>"), "502 unsigned", 502, "Content-Type", "text/html; charset=utf-8", false},
		{"Body", Body(`["no", "object"]`), "200 signed", 200, "", "", false},
		{"empty Body", Body(""), "200 signed", 200, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer s.Heal()
			hc := httpClient(t, s)
			s.ClearRequests()
			s.Break(0, tt.fault, 1)
			r := call{}.request(t, s, 0)
			if tt.want == "nothing" {
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
				defer cancel()
				r = r.WithContext(ctx)
			}
			resp, body, err := do(hc, r)
			if got := seen(s, resp, body, err); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if tt.header != "" && resp.Header.Get(tt.header) != tt.value {
				t.Errorf("%s: %q, want %q", tt.header, resp.Header.Get(tt.header), tt.value)
			}
			log := eventually(t, s, 1)
			if len(log) != 1 || log[0].Status != tt.status || !log[0].Verified || log[0].Refusal != "" {
				t.Errorf("logged %+v", log)
			}

			// The fault has passed.
			resp, body, err = do(hc, call{}.request(t, s, 0))
			if got := seen(s, resp, body, err); got != "200 signed" {
				t.Errorf("the next: %s", got)
			}

			if tt.want == "nothing" {
				return
			}
			s.Break(0, tt.fault, 1)
			if _, err := post(libraryClient(t, s, PublicKey), s.Endpoints()[0]+brandPath, brandBody); (err == nil) != tt.library {
				t.Errorf("the library: %v", err)
			}
		})
	}
}

// eventually waits until n requests are in the log.
func eventually(t *testing.T, s *Sandbox, n int) []Request {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); runtime.Gosched() {
		if log := s.Requests(); len(log) >= n {
			return log
		}
	}
	t.Fatalf("not %d requests", n)
	return nil
}

// TestGzipOnTheWire looks at what a client that unpacks nothing receives.
func TestGzipOnTheWire(t *testing.T) {
	s := sandbox(t)
	hc := httpClient(t, s)
	for _, tt := range []struct {
		fault       Fault
		least, most int64 // bytes unpacked
	}{{Gzip(), 20, 1000}, {GzipOversized(), 1<<20 + 1, 1<<20 + 1000}} {
		s.Break(0, tt.fault, 1)
		r := call{header: map[string]string{"Accept-Encoding": "gzip"}}.request(t, s, 0)
		resp, body, err := do(hc, r)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("Content-Encoding") != "gzip" || len(body) > 4096 {
			t.Errorf("%d bytes, %v", len(body), resp.Header)
		}
		z, err := gzip.NewReader(strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, z); err != nil || n < tt.least || n > tt.most {
			t.Errorf("%d bytes unpacked: %v", n, err)
		}
	}
}

// TestRedirectFollowed wants a client that follows in the log of the other
// endpoint.
func TestRedirectFollowed(t *testing.T) {
	s := sandbox(t)
	hc := httpClient(t, s)
	hc.CheckRedirect = nil
	s.Break(0, Redirect(), 1)
	if _, _, err := do(hc, call{}.request(t, s, 0)); err != nil {
		t.Fatal(err)
	}
	log := s.Requests()
	if len(log) != 2 || log[0].Endpoint != 0 || log[0].Status != 302 || log[1].Endpoint != 1 || log[1].Status != 405 {
		t.Errorf("logged %+v", log)
	}
}

func TestBreak(t *testing.T) {
	type broken struct {
		endpoint, status, times int
	}
	s := sandbox(t)
	hc := httpClient(t, s)
	for _, tt := range []struct {
		name   string
		broken []broken
		want   [2]string // statuses of four requests to each endpoint
	}{
		{"nothing", nil, [2]string{"200 200 200 200", "200 200 200 200"}},
		{"none", []broken{{0, 500, 0}}, [2]string{"200 200 200 200", "200 200 200 200"}},
		{"once", []broken{{0, 500, 1}}, [2]string{"500 200 200 200", "200 200 200 200"}},
		{"twice, at the other", []broken{{1, 500, 2}}, [2]string{"200 200 200 200", "500 500 200 200"}},
		{"all", []broken{{0, 500, -1}}, [2]string{"500 500 500 500", "200 200 200 200"}},
		{"queued", []broken{{0, 500, 1}, {0, 503, 2}, {1, 502, -1}}, [2]string{"500 503 503 200", "502 502 502 502"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			statuses := func(endpoint int) string {
				var got []string
				for range 4 {
					resp, _, err := do(hc, call{}.request(t, s, endpoint))
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, strconv.Itoa(resp.StatusCode))
				}
				return strings.Join(got, " ")
			}
			for _, b := range tt.broken {
				s.Break(b.endpoint, Status(b.status, "{}"), b.times)
			}
			for i := range s.Endpoints() {
				if got := statuses(i); got != tt.want[i] {
					t.Errorf("endpoint %d: %s, want %s", i, got, tt.want[i])
				}
			}
			s.Heal()
			for i := range s.Endpoints() {
				if got := statuses(i); got != "200 200 200 200" {
					t.Errorf("endpoint %d, healed: %s", i, got)
				}
			}
		})
	}
}

// TestCloseHanging closes the sandbox under a request that hangs.
func TestCloseHanging(t *testing.T) {
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	s.Break(1, Hang(), -1)
	hc := httpClient(t, s)
	r := call{}.request(t, s, 1)
	answered := make(chan error)
	go func() {
		_, _, err := do(hc, r)
		answered <- err
	}()
	eventually(t, s, 1)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answered; err == nil {
		t.Error("the request was answered")
	}
	if err := s.Close(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("the second Close: %v", err)
	}
}

// TestConnections wants TLS 1.2 or later, HTTP/1.1 and connections that are
// kept.
func TestConnections(t *testing.T) {
	s := sandbox(t)
	hc := httpClient(t, s)
	for range 3 {
		resp, _, err := do(hc, call{}.request(t, s, 0))
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 1 || resp.ProtoMinor != 1 {
			t.Errorf("protocol %s", resp.Proto)
		}
	}
	if n := s.Listener(0).Accepted(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}

	u, _ := url.Parse(s.Endpoints()[0])
	r := call{}.request(t, s, 0)
	r.URL.Host = "localhost:" + u.Port()
	if resp, body, err := do(hc, r); seen(s, resp, body, err) != "200 signed" {
		t.Errorf("as localhost: %s", seen(s, resp, body, err))
	}

	old := httpClient(t, s)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = 0x0302 // TLS 1.1
	if _, _, err := do(old, call{}.request(t, s, 0)); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}
