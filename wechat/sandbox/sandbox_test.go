package sandbox_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"membercard/wechat/sandbox"
	"membercard/wechat/sandbox/sandboxtest"
)

type (
	server   = sandbox.Server[sandbox.Request]
	exchange = sandbox.Exchange[sandbox.Request]
)

// start starts a server that answers every request with the same JSON.
func start(t *testing.T) *server {
	t.Helper()
	s, err := sandbox.Start("test CA", time.Now, func(x *exchange) {
		x.Answer.Header.Set("Content-Type", "application/json")
		x.Answer.Body = []byte(`{"a":"<&>"}`)
		if bend, ok := x.Fault(); ok {
			bend(x.Answer)
		}
		received := x.Received
		received.Status = x.Answer.Sent()
		x.Log(received)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// post returns a request to an endpoint.
func post(t *testing.T, s *server, endpoint int, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoints()[endpoint]+"/a%2Fb?c=d", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// statuses returns the statuses of four requests to an endpoint.
func statuses(t *testing.T, c *http.Client, s *server, endpoint int) string {
	t.Helper()
	var got []string
	for range 4 {
		resp, _, err := sandboxtest.Do(c, post(t, s, endpoint, ""))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(resp.StatusCode))
	}
	return strings.Join(got, " ")
}

func TestFaults(t *testing.T) {
	s := start(t)
	sandboxtest.Close(t, s)
	hidden := func(a *sandbox.Answer) { a.Header["Date"] = nil }
	for _, tt := range []struct {
		name   string
		fault  sandbox.Fault
		want   string // the failure, or the body
		status int    // in the log
		header string // of the answer
		value  string
	}{
		{"Hang", sandbox.Hang(), "nothing", 0, "", ""},
		{"Reset", sandbox.Reset(), "reset", 0, "", ""},
		{"Slow", sandbox.Slow(time.Millisecond), `{"a":"<&>"}`, 200, "", ""},
		{"Slow, for too long", sandbox.Slow(time.Hour), "nothing", 200, "", ""},
		{"Truncated", sandbox.Truncated(), "truncated", 200, "", ""},
		{"Oversized", sandbox.Oversized(), "oversized", 200, "", ""},
		{"Redirect", sandbox.Redirect(), `{"a":"<&>"}`, 302, "Location", s.Endpoints()[1] + "/a%2Fb?c=d"},
		{"Status", sandbox.Status(502, "[]"), "[]", 502, "Content-Type", "application/json"},
		{"Status in HTML", sandbox.Status(502, "<html>"), "<html>", 502, "Content-Type", "text/html; charset=utf-8"},
		{"Status, empty", sandbox.Status(200, ""), "", 200, "Content-Length", "0"},
		{"header not sent", hidden, `{"a":"<&>"}`, 200, "Date", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := sandboxtest.Client(t, s)
			s.ClearRequests()
			s.Break(0, tt.fault, 1)
			r := post(t, s, 0, "")
			if tt.want == "nothing" {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				r = r.WithContext(ctx)
			}
			resp, body, err := sandboxtest.Do(c, r)
			got := string(body)
			if err != nil {
				got = sandboxtest.Failure(err)
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if tt.header != "" && (resp.StatusCode != tt.status || resp.Header.Get(tt.header) != tt.value) {
				t.Errorf("%d, %s: %q, want %d, %q", resp.StatusCode, tt.header, resp.Header.Get(tt.header), tt.status, tt.value)
			}
			log := sandboxtest.Eventually(t, s.Requests, 1)
			if len(log) != 1 || log[0].Status != tt.status {
				t.Errorf("logged %+v", log)
			}
			if got := statuses(t, c, s, 0); got != "200 200 200 200" {
				t.Errorf("the next: %s", got)
			}
		})
	}
}

func TestBreak(t *testing.T) {
	type broken struct {
		endpoint, status, times int
	}
	s := start(t)
	sandboxtest.Close(t, s)
	c := sandboxtest.Client(t, s)
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
			for _, b := range tt.broken {
				s.Break(b.endpoint, sandbox.Status(b.status, "{}"), b.times)
			}
			for i, want := range tt.want {
				if got := statuses(t, c, s, i); got != want {
					t.Errorf("endpoint %d: %s, want %s", i, got, want)
				}
			}
			s.Heal()
			for i := range s.Endpoints() {
				if got := statuses(t, c, s, i); got != "200 200 200 200" {
					t.Errorf("endpoint %d, healed: %s", i, got)
				}
			}
		})
	}
}

// TestLog checks that the log has the newest 10,000 requests. Requests of more than
// 1 MiB are not answered.
func TestLog(t *testing.T) {
	s := start(t)
	sandboxtest.Close(t, s)
	c := sandboxtest.Client(t, s)
	send := func(endpoint int, body string) error {
		_, _, err := sandboxtest.Do(c, post(t, s, endpoint, body))
		return err
	}
	before := time.Now()
	if err := send(1, "first"); err != nil {
		t.Fatal(err)
	}
	log := s.Requests()
	if len(log) != 1 {
		t.Fatalf("logged %+v", log)
	}
	if l := log[0]; l.Endpoint != 1 || l.Time.Before(before) || l.Time.After(time.Now()) || l.Method != "POST" ||
		l.Header.Get("User-Agent") == "" || string(l.Body) != "first" || l.Status != 200 {
		t.Errorf("logged %+v", l)
	}
	if err := send(0, strings.Repeat(" ", 1<<20+1)); err == nil || len(s.Requests()) != 1 {
		t.Errorf("a body of over 1 MiB: %v", err)
	}
	s.ClearRequests()
	for i := range 10_001 {
		if err := send(i%2, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if log = s.Requests(); len(log) != 10_000 || string(log[0].Body) != "1" || string(log[9_999].Body) != "10000" {
		t.Errorf("%d logged, from %s", len(log), log[0].Body)
	}
}

// TestCloseHanging closes the server while a request hangs.
func TestCloseHanging(t *testing.T) {
	s := start(t)
	c := sandboxtest.Client(t, s)
	s.Break(1, sandbox.Hang(), -1)
	r := post(t, s, 1, "")
	answered := make(chan error)
	go func() {
		_, _, err := sandboxtest.Do(c, r)
		answered <- err
	}()
	sandboxtest.Eventually(t, s.Requests, 1)
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

// TestConnections checks for TLS 1.2 or later, HTTP/1.1 and keep-alive.
func TestConnections(t *testing.T) {
	s := start(t)
	sandboxtest.Close(t, s)
	c := sandboxtest.Client(t, s)
	for range 3 {
		resp, _, err := sandboxtest.Do(c, post(t, s, 0, ""))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Proto != "HTTP/1.1" {
			t.Errorf("protocol %s", resp.Proto)
		}
	}
	if n := s.Listener(0).Accepted(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}

	u, _ := url.Parse(s.Endpoints()[0])
	r := post(t, s, 0, "")
	r.URL.Host = "localhost:" + u.Port()
	if resp, _, err := sandboxtest.Do(c, r); err != nil || resp.StatusCode != 200 {
		t.Errorf("as localhost: %v", err)
	}

	old := sandboxtest.Client(t, s)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS11
	if _, _, err := sandboxtest.Do(old, post(t, s, 0, "")); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}
