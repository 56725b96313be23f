package wechatpay

import (
	"compress/gzip"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"membercard/wechat/sandbox"
)

// signatureOf returns a word for how an answer is signed.
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
		return "signed with an unknown key"
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

// seen returns the status and signature of an answer, or a word for the error.
func seen(s *Sandbox, resp *http.Response, body []byte, err error) string {
	if err != nil {
		return failure(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, signatureOf(s, resp, body))
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const busy = `{"code":"SYSTEM_ERROR","message":"系统异常,请稍后重试"}`
	for _, tt := range []struct {
		name    string
		fault   sandbox.Fault
		want    string
		status  int    // in the log
		header  string // an answer's header,
		value   string // and its value
		library bool   // whether the library accepts the answer
	}{
		{"WrongSignature", WrongSignature(), "200 wrongly signed", 200, "", "", false},
		{"SignatureProbe", SignatureProbe(), "200 probed", 200, "", "", false},
		{"Stamped", Stamped(-6 * time.Minute), "200 stale", 200, "", "", false},
		{"UnknownKey", UnknownKey(), "200 signed with an unknown key", 200, "", "", false},
		{"no timestamp", MissingHeader("Wechatpay-Timestamp"), "200 partly signed", 200, "Wechatpay-Timestamp", "", false},
		{"no nonce", MissingHeader("Wechatpay-Nonce"), "200 partly signed", 200, "Wechatpay-Nonce", "", false},
		{"no signature", MissingHeader("Wechatpay-Signature"), "200 partly signed", 200, "Wechatpay-Signature", "", false},
		{"no serial", MissingHeader("Wechatpay-Serial"), "200 partly signed", 200, "Wechatpay-Serial", "", false},
		{"no Request-ID", MissingHeader("Request-ID"), "200 signed", 200, "Request-ID", "", true},
		{"no Content-Type", MissingHeader("content-type"), "200 signed", 200, "Content-Type", "", true},
		{"Unsigned", Unsigned(), "200 unsigned", 200, "Wechatpay-Signature-Type", "", false},
		{"Truncated", sandbox.Truncated(), "truncated", 200, "", "", false},
		{"Oversized", sandbox.Oversized(), "oversized", 200, "", "", true},
		{"GzipOversized", GzipOversized(), "oversized", 200, "", "", true},
		{"Gzip", Gzip(), "200 signed", 200, "", "", true},
		{"BadGzip", BadGzip(), "wrong checksum", 200, "", "", false},
		{"Redirect", sandbox.Redirect(), "302 signed", 302, "Location", s.Endpoints()[1] + brandPath, false},
		{"Hang", sandbox.Hang(), "nothing", 0, "", "", false},
		{"Reset", sandbox.Reset(), "reset", 0, "", "", false},
		{"Status", sandbox.Status(500, busy), "500 signed", 500, "Content-Type", "application/json; charset=utf-8", false},
		{"Status with Retry-After", sandbox.Status(429, busy).With("Retry-After", "2"), "429 signed", 429, "Retry-After", "2", false},
		{"UnsignedStatus", UnsignedStatus(502, busy), "502 unsigned", 502, "Content-Type", "application/json; charset=utf-8", false},
		{"UnsignedStatus in HTML", UnsignedStatus(502, "<html>"), "502 unsigned", 502, "Content-Type", "text/html; charset=utf-8", false},
		{"Body", sandbox.Body(`["no", "object"]`), "200 signed", 200, "", "", false},
		{"empty Body", sandbox.Body(""), "200 signed", 200, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer s.Heal()
			hc := clientOf(s)
			s.ClearRequests()
			s.Break(0, tt.fault, 1)
			r := call{}.request(t, s, 0)
			if tt.want == "nothing" {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
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
			log := eventually(t, s.Requests, 1)
			if len(log) != 1 || log[0].Status != tt.status || !log[0].Verified || log[0].Refusal != "" {
				t.Errorf("logged %+v", log)
			}

			// The fault is over.
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

var errOversized = errors.New("oversized")

// do sends a request and reads its answer, up to 1 MiB of it.
func do(c *http.Client, r *http.Request) (*http.Response, []byte, error) {
	resp, err := c.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20+1))
	if len(body) > 1<<20 {
		err = errOversized
	}
	return resp, body, err
}

// failure describes an error of [do] in a word or two.
func failure(err error) string {
	switch timeout := (interface{ Timeout() bool })(nil); {
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated"
	case errors.Is(err, gzip.ErrChecksum):
		return "wrong checksum"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "nothing"
	}
	return err.Error()
}

// eventually waits until list has n elements.
func eventually[T any](t *testing.T, list func() []T, n int) []T {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); runtime.Gosched() {
		if got := list(); len(got) >= n {
			return got
		}
	}
	t.Fatalf("not %d", n)
	return nil
}

// clientOf returns a client that trusts a sandbox, and does not follow redirects.
func clientOf(s *Sandbox) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA())
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}
}
