package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount"
	"membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

// endpoint is a WeChat that gives out access tokens, and does with a call of
// /card/create, which it has read, what the test says.
type endpoint struct {
	*httptest.Server

	mu    sync.Mutex
	cards int // calls of /card/create
}

func start(t *testing.T, create func(n int, w http.ResponseWriter)) *endpoint {
	e := &endpoint{}
	e.Server = tlsdialtest.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/cgi-bin/stable_token" {
			_, _ = io.WriteString(w, `{"access_token":"`+officialaccounttest.AccessToken+`","expires_in":7200}`)
			return
		}
		e.mu.Lock()
		e.cards++
		n := e.cards
		e.mu.Unlock()
		create(n, w)
	}))
	return e
}

func (e *endpoint) calls() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cards
}

// breaks takes the connection of a call and ends it.
func breaks(end func(net.Conn)) func(int, http.ResponseWriter) {
	return func(_ int, w http.ResponseWriter) {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		end(connection)
	}
}

func answers(status int, body string) func(int, http.ResponseWriter) {
	return func(_ int, w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// client returns a client that may live on between requests, as a function's does.
func client(endpoints ...string) *officialaccount.Client {
	return officialaccount.NewClient(officialaccounttest.Source(), upstream.New(endpoints))
}

// send sends the example to the function, which has so much time.
func send(t *testing.T, wechat *officialaccount.Client, timeout time.Duration) gatewaytest.Outcome {
	t.Helper()
	log, records := telemetrytest.New()
	h := newHandler(log, wechat)
	h.Timeout = timeout
	return gatewaytest.Invoke(t, h, records, post(example))
}

// TestACallThatWeChatMayHaveReadIsNotRepeated: two calls would make two cards.
func TestACallThatWeChatMayHaveReadIsNotRepeated(t *testing.T) {
	reset := func(c net.Conn) {
		if tls, ok := c.(interface{ NetConn() net.Conn }); ok {
			_ = tls.NetConn().(*net.TCPConn).SetLinger(0)
			_ = tls.NetConn().Close()
		}
	}
	write := func(text string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, text); _ = c.Close() }
	}
	for _, row := range []struct {
		what    string
		create  func(int, http.ResponseWriter)
		timeout time.Duration
		status  int
		code    string
	}{
		{"it closes the connection", breaks(func(c net.Conn) { _ = c.Close() }), 10 * time.Second, 502, "UPSTREAM_UNREACHABLE"},
		{"it resets the connection", breaks(reset), 10 * time.Second, 502, "UPSTREAM_UNREACHABLE"},
		{"it closes the connection without a TLS alert", breaks(func(c net.Conn) { _ = c.(interface{ NetConn() net.Conn }).NetConn().Close() }), 10 * time.Second, 502, "UPSTREAM_UNREACHABLE"},
		{"its status line breaks off", breaks(write("HTTP/1.1 20")), 10 * time.Second, 502, "UPSTREAM_UNREACHABLE"},
		{"its headers break off", breaks(write("HTTP/1.1 200 OK\r\nContent-Length: 64\r\n")), 10 * time.Second, 502, "UPSTREAM_UNREACHABLE"},
		{"its answer breaks off", breaks(write("HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + made[:20])), 10 * time.Second, 502, "UPSTREAM_UNREACHABLE"},
		{"its answer is no HTTP", breaks(write("card made\r\n\r\n")), 10 * time.Second, 502, "UPSTREAM_UNREACHABLE"},
		{"it does not answer in time", func(int, http.ResponseWriter) { time.Sleep(time.Second) }, 500 * time.Millisecond, 504, "UPSTREAM_TIMEOUT"},
		{"it is slow", func(_ int, w http.ResponseWriter) { time.Sleep(time.Second); answers(200, made)(0, w) }, 10 * time.Second, 200, ""},
		{"500", answers(500, ""), 10 * time.Second, 502, "SYSTEM_ERROR"},
		{"502", answers(502, "<html>"), 10 * time.Second, 502, "SYSTEM_ERROR"},
		{"503", answers(503, ""), 10 * time.Second, 502, "SYSTEM_ERROR"},
		{"it is busy", answers(200, `{"errcode":-1,"errmsg":"system error"}`), 10 * time.Second, 502, "WECHAT_-1"},
		{"too often", answers(200, `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`), 10 * time.Second, 429, "WECHAT_45009"},
		{"its answer is no JSON", answers(200, "made"), 10 * time.Second, 502, "INVALID_RESPONSE"},
		{"it redirects", answers(302, ""), 10 * time.Second, 502, "INVALID_RESPONSE"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			first, second := start(t, row.create), start(t, answers(200, made))
			o := send(t, client(first.URL, second.URL), row.timeout)
			if o.Status != row.status || o.Error.Code != row.code {
				t.Errorf("%d %s, want %d %s", o.Status, o.Body, row.status, row.code)
			}
			if first.calls() != 1 || second.calls() != 0 {
				t.Errorf("%d calls of the first endpoint and %d of the second, want one", first.calls(), second.calls())
			}
		})
		t.Run(row.what+", on a connection that was kept", func(t *testing.T) {
			t.Parallel()
			first := start(t, func(n int, w http.ResponseWriter) {
				if n == 1 {
					answers(200, made)(n, w)
					return
				}
				row.create(n, w)
			})
			second := start(t, answers(200, made))
			wechat := client(first.URL, second.URL)
			if o := send(t, wechat, 10*time.Second); o.Status != 200 {
				t.Fatalf("%d %s", o.Status, o.Body)
			}
			if o := send(t, wechat, row.timeout); o.Status != row.status || o.Error.Code != row.code {
				t.Errorf("%d %s, want %d %s", o.Status, o.Body, row.status, row.code)
			}
			if first.calls() != 2 || second.calls() != 0 {
				t.Errorf("%d calls of the first endpoint and %d of the second, want one for each request", first.calls(), second.calls())
			}
		})
	}
}

// TestACallThatWeChatNeverReadIsMadeElsewhere: there the card can't exist.
func TestACallThatWeChatNeverReadIsMadeElsewhere(t *testing.T) {
	listener := func(serve func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serve(c)
			}
		}()
		return "https://" + l.Addr().String()
	}
	for _, row := range []struct{ what, first string }{
		{"no connection", gatewaytest.Nowhere},
		{"the handshake fails", listener(func(c net.Conn) { _ = c.Close() })},
		{"the endpoint does not speak TLS", listener(func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); _ = c.Close() })},
	} {
		t.Run(row.what, func(t *testing.T) {
			second := start(t, answers(200, made))
			o := send(t, client(row.first, second.URL), 10*time.Second)
			if o.Status != 200 || o.Body != made || second.calls() != 1 {
				t.Errorf("%d %s after %d calls", o.Status, o.Body, second.calls())
			}
		})
	}
}

// TestADeadTokenIsReplaced: WeChat has refused the first call, so there is no card yet.
func TestADeadTokenIsReplaced(t *testing.T) {
	wechat := start(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			answers(200, `{"errcode":40001,"errmsg":"invalid credential"}`)(n, w)
			return
		}
		answers(200, made)(n, w)
	})
	if o := send(t, client(wechat.URL), 10*time.Second); o.Status != 200 || wechat.calls() != 2 {
		t.Errorf("%d %s after %d calls", o.Status, o.Body, wechat.calls())
	}
}
