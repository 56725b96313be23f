package upstream

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"membercard/shared/tlsdial/tlsdialtest"
)

// rawServer is an endpoint that does with its connections as a test says.
type rawServer struct {
	URL         string
	connections atomic.Int32
	requests    atomic.Int32 // of which at least one byte was read
}

// serveRaw starts an endpoint. handle gets each connection, and a TLS configuration
// that clients trust.
func serveRaw(t *testing.T, handle func(s *rawServer, c *net.TCPConn, config *tls.Config)) *rawServer {
	t.Helper()
	trusted := httptest.NewTLSServer(nil)
	trusted.Close()
	config := &tls.Config{Certificates: trusted.TLS.Certificates}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &rawServer{URL: "https://" + l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.connections.Add(1)
			go func() {
				defer c.Close()
				handle(s, c.(*net.TCPConn), config)
			}()
		}
	}()
	return s
}

// resetTCP closes a connection with an RST.
func resetTCP(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// afterHandshake is what an endpoint does after the TLS handshake. It reads so many
// bytes of the request, all if n is negative, before it goes on.
func afterHandshake(n int64, then func(c *net.TCPConn, secure *tls.Conn)) func(*rawServer, *net.TCPConn, *tls.Config) {
	return func(s *rawServer, c *net.TCPConn, config *tls.Config) {
		secure := tls.Server(c, config)
		if secure.Handshake() != nil {
			return
		}
		if n < 0 {
			n = int64(len(bigBody))
		}
		if read, _ := io.CopyN(io.Discard, secure, n); read > 0 {
			s.requests.Add(1)
		}
		then(c, secure)
	}
}

// bigBody does not fit into the buffers of a connection, so that a connection can
// break while it is being written.
var bigBody = strings.Repeat("x", 8<<20)

// TestOnce has a row for each way in which a connection can break. The endpoint
// breaks all its connections in this way; another one would answer. The call is
// tried again if, and only if, the request was surely not read.
func TestOnce(t *testing.T) {
	t.Parallel()
	write := func(answer string) func(*net.TCPConn, *tls.Conn) {
		return func(_ *net.TCPConn, secure *tls.Conn) { _, _ = io.WriteString(secure, answer) }
	}
	reset := func(c *net.TCPConn, _ *tls.Conn) { resetTCP(c) }
	fin := func(c *net.TCPConn, _ *tls.Conn) { _ = c.CloseWrite(); _, _ = io.Copy(io.Discard, c) }
	wait := func(c *net.TCPConn, _ *tls.Conn) { _, _ = io.Copy(io.Discard, c) }
	for _, row := range []struct {
		how    string
		handle func(*rawServer, *net.TCPConn, *tls.Config) // nil: nobody listens
		again  bool
	}{
		{"refused", nil, true},
		{"reset after it was accepted", func(_ *rawServer, c *net.TCPConn, _ *tls.Config) { resetTCP(c) }, true},
		{"closed after it was accepted", func(_ *rawServer, c *net.TCPConn, _ *tls.Config) {}, true},
		{"reset in the handshake", func(_ *rawServer, c *net.TCPConn, _ *tls.Config) {
			_, _ = c.Read(make([]byte, 1))
			resetTCP(c)
		}, true},
		{"no TLS", func(_ *rawServer, c *net.TCPConn, _ *tls.Config) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, true},
		{"a TLS version that is too old", func(_ *rawServer, c *net.TCPConn, config *tls.Config) {
			config = config.Clone()
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			_ = tls.Server(c, config).Handshake()
		}, true},
		{"silent in the handshake", func(_ *rawServer, c *net.TCPConn, _ *tls.Config) { wait(c, nil) }, true},

		{"reset right after the handshake", afterHandshake(0, reset), false},
		{"closed right after the handshake", afterHandshake(0, fin), false},
		{"reset after the first bytes", afterHandshake(10, reset), false},
		{"reset in the middle of the body", afterHandshake(1<<20, reset), false},
		{"closed in the middle of the body", afterHandshake(1<<20, fin), false},
		{"reset after the request", afterHandshake(-1, reset), false},
		{"closed after the request", afterHandshake(-1, fin), false},
		{"silent after the request", afterHandshake(-1, wait), false},
		{"no HTTP", afterHandshake(-1, write("???\r\n\r\n")), false},
		{"cut in the header", afterHandshake(-1, write("HTTP/1.1 200 OK\r\nContent-Le")), false},
		{"cut in the body", afterHandshake(-1, write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")), false},
		{"cut between two chunks", afterHandshake(-1, write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")), false},
		{"500", afterHandshake(-1, write("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")), false},
		{"429", afterHandshake(-1, write("HTTP/1.1 429 No\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n")), false},
		{"408, with which a server closes an idle connection", afterHandshake(0, write("HTTP/1.1 408 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")), false},
	} {
		t.Run(row.how, func(t *testing.T) {
			t.Parallel()
			first, second := &rawServer{URL: tlsdialtest.Nowhere}, serve(t, succeed)
			if row.handle != nil {
				first = serveRaw(t, row.handle)
			}
			c := client(t, first.URL, second.URL)
			answer, err := create(within(t, 5*time.Second), c)
			if succeeded := err == nil && answer.Status == 200; succeeded != row.again {
				t.Errorf("%+v, %v, want an answer of the other endpoint: %v", answer, err, row.again)
			}
			want := int32(0)
			if row.again {
				want = 1
			}
			if n := second.requests.Load(); n != want {
				t.Errorf("the other endpoint had %d requests, want %d", n, want)
			}
			if n := first.connections.Load(); n > 1 {
				t.Errorf("there were %d connections, want 1", n)
			}
			if n := first.requests.Load(); n > 1 || row.again && n != 0 {
				t.Errorf("%d requests were read", n)
			}
		})
	}
}

// create makes a call that must not be made twice, with a body that takes a while
// to write. It is replayable as far as net/http is concerned.
func create(ctx context.Context, c *Client) (*Answer, error) {
	return c.Do(ctx, true, func(ctx context.Context, endpoint string) (*Answer, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/card/create", strings.NewReader(bigBody))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Idempotency-Key", "net/http repeats a request with this")
		return c.Send(request)
	})
}

// TestOnceHasItsOwnConnection: none from before, which may be dead, and none that
// another call uses later.
func TestOnceHasItsOwnConnection(t *testing.T) {
	for _, row := range []struct {
		what   string
		before func(t *testing.T, c *Client)
	}{
		{"there is none", func(*testing.T, *Client) {}},
		{"one was opened during init", func(t *testing.T, c *Client) { c.Open(t.Context()) }},
		{"one is kept", func(t *testing.T, c *Client) {
			if _, _, err := post(t, t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, dead := range []bool{false, true} {
			s := serve(t, succeed)
			c := client(t, s.URL, tlsdialtest.Nowhere)
			row.before(t, c)
			if dead {
				s.CloseClientConnections()
			}
			for range 2 {
				connections, requests := s.connections.Load(), s.requests.Load()
				if answer, err := create(t.Context(), c); err != nil || answer.Status != 200 {
					t.Errorf("%s, dead: %v: %+v, %v", row.what, dead, answer, err)
				}
				if made, sent := s.connections.Load()-connections, s.requests.Load()-requests; made != 1 || sent != 1 {
					t.Errorf("%s, dead: %v: %d connections, %d requests, want one of each", row.what, dead, made, sent)
				}
			}
		}
	}
}
