package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/telemetry"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) {
	tlsdialtest.Parallel(8)
	os.Exit(m.Run())
}

// server is an endpoint on loopback that counts what comes to it.
type server struct {
	*httptest.Server
	connections, requests atomic.Int32
}

// serve starts an endpoint; behave gets the number of the request, from 1.
func serve(t *testing.T, behave func(w http.ResponseWriter, r *http.Request, n int)) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		behave(w, r, int(s.requests.Add(1)))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) asked(t *testing.T, requests int) {
	t.Helper()
	if got := int(s.requests.Load()); got != requests {
		t.Errorf("%d requests came to %s, want %d", got, s.URL, requests)
	}
}

// What an endpoint may do with a request.

func succeed(w http.ResponseWriter, _ *http.Request, _ int) { _, _ = io.WriteString(w, "whole") }

func status(code int) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, "status %d", code)
	}
}

func hang(_ http.ResponseWriter, r *http.Request, _ int) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler) // or an empty answer would still be written
}

func reset(w http.ResponseWriter, _ *http.Request, _ int) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_ = conn.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
	_ = conn.(*tls.Conn).NetConn().Close()
}

func truncate(w http.ResponseWriter, _ *http.Request, _ int) {
	w.Header().Set("Content-Length", "100")
	_, _ = io.WriteString(w, "part")
}

// secretText is in an answer, and must not be in a record.
const secretText = "90_kxZ3vQ0b7uJpR5tYw2sLm8NfHdCgAeVi"

func noHTTP(w http.ResponseWriter, _ *http.Request, _ int) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_, _ = io.WriteString(conn, `{"access_token":"`+secretText+`"}`+"\r\n\r\n")
		_ = conn.Close()
	}
}

func breakOffChunks(w http.ResponseWriter, r *http.Request, n int) {
	_, _ = io.WriteString(w, "part")
	_ = http.NewResponseController(w).Flush()
	reset(w, r, n)
}

// mute returns an endpoint that accepts connections and never answers.
func mute(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "https://" + l.Addr().String() // the kernel accepts
}

// client trusts the endpoints of httptest.
func client(t *testing.T, endpoints ...string) *Client {
	t.Helper()
	c := New(endpoints)
	trusted := httptest.NewTLSServer(nil)
	trusted.Close()
	c.transport.dialer.Config.RootCAs = x509.NewCertPool()
	c.transport.dialer.Config.RootCAs.AddCert(trusted.Certificate())
	t.Cleanup(c.transport.kept.CloseIdleConnections)
	return c
}

// private stands in the query of each request, where a token may be.
const private = "ACCESS-TOKEN"

// post is a call as a caller makes it. It also checks what no error or record
// may have in it, and returns the record.
func post(t *testing.T, ctx context.Context, c *Client) (*Answer, map[string]any, error) {
	t.Helper()
	var out bytes.Buffer
	ctx, record := telemetry.New(&out, "MemberCard", "test").Begin(ctx, "")
	answer, err := c.Do(ctx, false, func(ctx context.Context, endpoint string) (*Answer, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/card/get?access_token="+private, strings.NewReader(`{"card_id":"p"}`))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Accept", "*/*")
		return c.Send(request)
	})
	record.End(ctx, slog.LevelInfo, "ended", "OK")
	if err != nil {
		if _, ok := errors.AsType[*apierror.Error](err); !ok {
			t.Errorf("%#v is not an apierror.Error", err)
		}
		if text := err.Error(); strings.Contains(text, private) || strings.Contains(text, "/card/get") {
			t.Errorf("the error has the URL: %v", err)
		}
	}
	if text := out.String(); strings.Contains(text, private) || strings.Contains(text, "/card/get") {
		t.Errorf("the record has the URL: %s", text)
	}
	var told map[string]any
	if err := json.Unmarshal(out.Bytes(), &told); err != nil {
		t.Error(err)
	}
	return answer, told, err
}

// within is a context with this much time.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func code(err error) string {
	if e, ok := errors.AsType[*apierror.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

// transient are failures after which the next endpoint is tried. alone is the result if
// every endpoint fails in this way.
var transient = []struct {
	what     string
	endpoint func(t *testing.T) string
	alone    string // the code, or the answer's body
}{
	{"refused", func(*testing.T) string { return tlsdialtest.Nowhere }, "UPSTREAM_UNREACHABLE"},
	{"reset", func(t *testing.T) string { return serve(t, reset).URL }, "UPSTREAM_UNREACHABLE"},
	{"truncated", func(t *testing.T) string { return serve(t, truncate).URL }, "UPSTREAM_UNREACHABLE"},
	{"broken off between chunks", func(t *testing.T) string { return serve(t, breakOffChunks).URL }, "UPSTREAM_UNREACHABLE"},
	{"no HTTP", func(t *testing.T) string { return serve(t, noHTTP).URL }, "UPSTREAM_UNREACHABLE"},
	{"no TLS", func(t *testing.T) string {
		s := httptest.NewServer(nil)
		t.Cleanup(s.Close)
		return "https" + strings.TrimPrefix(s.URL, "http")
	}, "UPSTREAM_UNREACHABLE"},
	{"no answer", func(t *testing.T) string { return serve(t, hang).URL }, "UPSTREAM_TIMEOUT"},
	{"no handshake", mute, "UPSTREAM_TIMEOUT"},
	{"500", func(t *testing.T) string { return serve(t, status(500)).URL }, "status 500"},
	{"503", func(t *testing.T) string { return serve(t, status(503)).URL }, "status 503"},
}

func TestFailover(t *testing.T) {
	t.Parallel()
	for _, row := range transient {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			second := serve(t, succeed)
			answer, record, err := post(t, t.Context(), client(t, row.endpoint(t), second.URL))
			if err != nil || answer.Status != 200 || string(answer.Body) != "whole" {
				t.Fatalf("%+v, %v", answer, err)
			}
			second.asked(t, 1)
			if failed, _ := record["failed_attempts"].([]any); record["attempts"] != 2.0 || len(failed) != 1 {
				t.Errorf("recorded are %v attempts, failed %v", record["attempts"], record["failed_attempts"])
			}
			if strings.Contains(fmt.Sprint(record), secretText) {
				t.Errorf("an answer is quoted in the record: %v", record)
			}
		})
	}
}

func TestTheResultWhereEveryEndpointFails(t *testing.T) {
	t.Parallel()
	for _, row := range transient {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			answer, _, err := post(t, within(t, 800*time.Millisecond), client(t, row.endpoint(t), row.endpoint(t)))
			got := code(err)
			if err == nil {
				got = string(answer.Body)
			}
			if got != row.alone {
				t.Errorf("%s, want %s", got, row.alone)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		elsewhere := serve(t, succeed)
		s := serve(t, func(w http.ResponseWriter, r *http.Request, _ int) { http.Redirect(w, r, elsewhere.URL, code) })
		answer, _, err := post(t, t.Context(), client(t, s.URL, s.URL))
		if err != nil || answer.Status != code {
			t.Errorf("%+v, %v, want the %d itself", answer, err, code)
		}
		elsewhere.asked(t, 0)
		s.asked(t, 1)
	}
}

func TestAnAnswerHasAtMostOneMiB(t *testing.T) {
	packed := func(n int) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(make([]byte, n))
		_ = w.Close()
		return b.Bytes()
	}
	for _, row := range []struct {
		what string
		size int
		gzip bool
		ok   bool
	}{
		{"1 MiB", 1 << 20, false, true},
		{"1 MiB and one byte", 1<<20 + 1, false, false},
		{"1 MiB, packed", 1 << 20, true, true},
		{"1 MiB and one byte, packed", 1<<20 + 1, true, false},
		{"8 MiB, packed", 8 << 20, true, false},
	} {
		t.Run(row.what, func(t *testing.T) {
			body := make([]byte, row.size)
			if row.gzip {
				body = packed(row.size)
			}
			s := serve(t, func(w http.ResponseWriter, r *http.Request, _ int) {
				if row.gzip {
					if r.Header.Get("Accept-Encoding") != "gzip" {
						t.Errorf("Accept-Encoding is %q", r.Header.Get("Accept-Encoding"))
					}
					w.Header().Set("Content-Encoding", "gzip")
				}
				_, _ = w.Write(body)
			})
			answer, _, err := post(t, t.Context(), client(t, s.URL, s.URL))
			switch {
			case row.ok && (err != nil || len(answer.Body) != row.size):
				t.Errorf("%v, want %d bytes", err, row.size)
			case !row.ok && code(err) != "INVALID_RESPONSE":
				t.Errorf("%v, want INVALID_RESPONSE", err)
			}
			s.asked(t, 1)
		})
	}
	for _, row := range []struct{ status, want, second int }{
		{500, 200, 1}, {429, 429, 0}, {401, 401, 0}, {302, 302, 0},
	} {
		t.Run(fmt.Sprintf("%d with a larger body, which is dropped", row.status), func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.WriteHeader(row.status)
				_, _ = w.Write(make([]byte, 1<<20+1))
			})
			second := serve(t, succeed)
			if answer, _, err := post(t, t.Context(), client(t, s.URL, second.URL)); err != nil || answer.Status != row.want {
				t.Errorf("%+v, %v", answer, err)
			}
			s.asked(t, 1)
			second.asked(t, row.second)
		})
	}
	t.Run("without end", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			for chunk := make([]byte, 1<<16); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		})
		if _, _, err := post(t, t.Context(), client(t, s.URL)); code(err) != "INVALID_RESPONSE" {
			t.Errorf("%v, want INVALID_RESPONSE", err)
		}
	})
}

func TestACancelledCallEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		cancel()
		hang(w, r, n)
	})
	if answer, _, err := post(t, ctx, client(t, s.URL)); err == nil {
		t.Errorf("%+v, want an error", answer)
	}
	s.asked(t, 1)
}

func TestAConnectionIsKept(t *testing.T) {
	s := serve(t, succeed)
	c := client(t, s.URL)
	for range 3 {
		if _, _, err := post(t, t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.connections.Load(); n != 1 {
		t.Errorf("%d connections for 3 requests", n)
	}
}

func TestRequestHeadersAndProtocol(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
		if got := r.Header.Values("Accept"); len(got) != 1 || got[0] != "application/json" {
			t.Errorf("Accept is %q", got)
		}
		if r.ProtoMajor != 1 {
			t.Errorf("%s", r.Proto)
		}
	})
	if _, _, err := post(t, t.Context(), client(t, s.URL)); err != nil {
		t.Error(err)
	}
}

func TestTLSIsNotOptional(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what   string
		client func(*Client)
		server func(*tls.Config)
	}{
		{"an authority that nobody trusts", func(c *Client) { c.transport.dialer.Config.RootCAs = x509.NewCertPool() }, nil},
		{"a certificate for another name", func(c *Client) {
			c.breakers.preferred[0] = strings.Replace(c.breakers.preferred[0], "127.0.0.1", "localhost", 1)
		}, nil},
		{"TLS 1.1", nil, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.requests.Add(1) }))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.TLS = &tls.Config{}
			if row.server != nil {
				row.server(s.TLS)
			}
			s.StartTLS()
			defer s.Close()
			c := client(t, s.URL)
			if row.client != nil {
				row.client(c)
			}
			if _, _, err := post(t, t.Context(), c); code(err) != "UPSTREAM_UNREACHABLE" {
				t.Errorf("%v, want UPSTREAM_UNREACHABLE", err)
			}
			s.asked(t, 0)
		})
	}
}

func TestRequestID(t *testing.T) {
	for _, row := range []struct{ header, want string }{
		{"08F78BB5AF0610D302189F80BB5520", "08F78BB5AF0610D302189F80BB5520"},
		{"08F78BB5-268435462", "08F78BB5-268435462"},
		{"", ""},
		{"a b", ""},
		{"a\tb", ""},
		{"a\nb", ""},
		{"会员", ""},
		{"a\x7f", ""},
		{strings.Repeat("a", 128), strings.Repeat("a", 128)},
		{strings.Repeat("a", 129), ""},
	} {
		a := &Answer{Header: http.Header{"Request-Id": {row.header}}}
		if got := a.RequestID(); got != row.want {
			t.Errorf("%q: %q, want %q", row.header, got, row.want)
		}
		e, _ := errors.AsType[*apierror.Error](a.Invalid(io.EOF))
		if e.Code != "INVALID_RESPONSE" || e.RequestID != row.want || !errors.Is(e, io.EOF) {
			t.Errorf("Invalid: %+v", e)
		}
	}
}
