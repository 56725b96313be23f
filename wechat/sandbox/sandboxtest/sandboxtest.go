// Package sandboxtest has clients for the tests of sandboxes.
package sandboxtest

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	"membercard/wechat/network"
)

// Sandbox is any sandbox.
type Sandbox interface {
	Endpoints() []string
	Listener(endpoint int) *network.Listener
	CA() []byte
	Close() error
}

// Close closes a sandbox at the end of a test and checks that no connection
// remains open.
func Close(t *testing.T, s Sandbox) {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for i := range s.Endpoints() {
			if n := s.Listener(i).Open(); n != 0 {
				t.Errorf("endpoint %d: %d connections open after Close", i, n)
			}
		}
	})
}

// Client returns a client that trusts a sandbox and does not follow redirects.
func Client(t *testing.T, s Sandbox) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.CA()) {
		t.Fatal("no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}
}

var errOversized = errors.New("oversized")

// SetHeader sets headers of a request. The value "-" removes one.
func SetHeader(r *http.Request, header map[string]string) {
	for name, value := range header {
		if r.Header.Set(name, value); value == "-" {
			r.Header.Del(name)
		}
	}
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "") // otherwise Go sends its own
	}
}

// Do sends a request and reads its answer, up to 1 MiB of it.
func Do(c *http.Client, r *http.Request) (*http.Response, []byte, error) {
	resp, err := c.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	n, err := io.CopyN(&b, resp.Body, 1<<20+1)
	switch {
	case n > 1<<20:
		return resp, nil, errOversized
	case err == io.EOF:
		err = nil
	}
	return resp, b.Bytes(), err
}

// Failure describes an error of [Do] in a word or two.
func Failure(err error) string {
	switch timeout := (interface{ Timeout() bool })(nil); {
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

// Eventually waits until n requests are in the log.
func Eventually[R any](t *testing.T, log func() []R, n int) []R {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); runtime.Gosched() {
		if requests := log(); len(requests) >= n {
			return requests
		}
	}
	t.Fatalf("not %d requests", n)
	return nil
}
