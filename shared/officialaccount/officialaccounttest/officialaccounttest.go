// Package officialaccounttest is for the tests of functions that call the official-account
// API. It has an account, and a fake WeChat behind TLS.
package officialaccounttest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

const (
	// AppSecret is the account's secret. No answer and no log may contain it.
	AppSecret = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	// AccessToken is the only token of [WeChat]. No answer and no log may contain it.
	AccessToken = "90_kxZ3vQ0b7uJpR5tYw2sLm8NfHdCgAeVi"
	// RequestID is the Request-ID of every answer of [WeChat].
	RequestID = "08F78BB5AF0610D302"
)

// Source returns a source of an account.
func Source() *gatewaytest.Source[officialaccount.Account] {
	return &gatewaytest.Source[officialaccount.Account]{Secret: &officialaccount.Account{AppID: "wx5f0c2b8e7d4a9361", Secret: AppSecret}}
}

// Client returns a client that calls WeChat at endpoint.
func Client(from officialaccount.Source, endpoint string) *officialaccount.Client {
	return officialaccount.NewClient(from, upstream.New([]string{endpoint}))
}

// Call is a call of the card API.
type Call struct{ Path, Body string }

// WeChat is a server that issues access tokens and answers calls of the card API as the
// test says.
type WeChat struct {
	*httptest.Server

	mu    sync.Mutex
	calls []Call
}

// Start starts a WeChat.
func Start(t testing.TB, answer func(Call) string) *WeChat {
	w := &WeChat{}
	w.Server = tlsdialtest.Start(t, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		out.Header().Set("Request-ID", RequestID)
		if r.URL.Path == "/cgi-bin/stable_token" {
			_, _ = io.WriteString(out, `{"access_token":"`+AccessToken+`","expires_in":7200}`)
			return
		}
		if r.Method != http.MethodPost || r.URL.RawQuery != "access_token="+AccessToken || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s as %q", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		c := Call{r.URL.Path, string(body)}
		w.mu.Lock()
		w.calls = append(w.calls, c)
		w.mu.Unlock()
		_, _ = io.WriteString(out, answer(c))
	}))
	return w
}

// Calls returns the calls so far.
func (w *WeChat) Calls() []Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// Received returns the bodies of the calls of a path so far.
func (w *WeChat) Received(path string) (bodies []string) {
	for _, c := range w.Calls() {
		if c.Path == path {
			bodies = append(bodies, c.Body)
		}
	}
	return bodies
}
