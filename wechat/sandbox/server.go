// Package sandbox is the server that the sandboxes of WeChat Pay and of the official
// account run on: a primary and a secondary endpoint on the loopback interface, a table of
// operations, a log of requests, and faults.
package sandbox

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"membercard/wechat/network"
)

const (
	maxBody = 1 << 20 // bytes of a request's body
	maxLog  = 10_000  // requests kept in the log
)

// Server serves a sandbox over TLS and HTTP/1.1. It is safe for concurrent use.
type Server struct {
	listeners [2]*network.Listener
	server    http.Server
	now       func() time.Time
	handle    func(*Request, *Answer)
	stop      chan struct{}  // closed by Close
	serving   sync.WaitGroup // listeners and requests

	mu       sync.Mutex // also guards the sandbox, see Do
	closed   bool
	broken   [2][]breakage
	requests []Request
	observe  func(Request)
}

// Request is a request that was received, and its outcome.
type Request struct {
	Endpoint int // 0 is the primary one
	Time     time.Time
	Method   string
	URI      string // path and query as received; empty for the official account
	Path     string
	Query    url.Values // the official account's has words instead of credentials
	Header   http.Header
	Body     []byte

	Authorization Authorization
	Verified      bool   // WeChat Pay's signature is valid
	Refusal       string // the message of WeChat Pay's refusal
	Errcode       int    // of the official account's refusal, before a fault changed it
	Status        int    // of the answer; 0 if there was none
	Answer        []byte // the body of the answer before a fault changed it

	Given    map[string]string // the fields that it has, see API.Check
	segments map[string]string // escaped segments of the path, by their names in the table
}

// Authorization is a parsed header Authorization of WeChat Pay. All parts are empty if it
// is malformed.
type Authorization struct {
	MchID     string
	SerialNo  string // of the merchant's certificate, in hexadecimal
	NonceStr  string
	Timestamp string // seconds since 1970
	Signature string // base64
}

// Start starts a server. now is its clock. handle answers a request, of which Endpoint to
// Body are set; it is called with the server's lock held.
func Start(now func() time.Time, handle func(*Request, *Answer)) (*Server, error) {
	s := &Server{now: now, handle: handle, stop: make(chan struct{})}
	s.server = http.Server{
		Handler:   http.HandlerFunc(s.serve),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{authority().leaf}, MinVersion: tls.VersionTLS12},
		Protocols: new(http.Protocols),
		ErrorLog:  log.New(io.Discard, "", 0), // injected faults would fill it
	}
	s.server.Protocols.SetHTTP1(true)
	for i := range s.listeners {
		l, err := network.Listen()
		if err != nil {
			return nil, errors.Join(err, s.server.Close())
		}
		s.listeners[i] = l
		s.serving.Go(func() { s.server.ServeTLS(l, "", "") })
	}
	return s, nil
}

// Close stops the server, closes its connections and waits for its handlers to return.
func (s *Server) Close() error {
	if Get(s, func() (closed bool) { closed, s.closed = s.closed, true; return closed }) {
		return http.ErrServerClosed
	}
	close(s.stop)
	err := s.server.Close()
	s.serving.Wait()
	// The servers do not close connections that were accepted during Close.
	for _, l := range s.listeners {
		l.Drop(network.FIN)
	}
	return err
}

// Do calls f with the server's lock held.
func (s *Server) Do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Get returns the result of f, called with the server's lock held.
func Get[T any](s *Server, f func() T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

// Endpoints returns the base URLs, https://127.0.0.1:port, of the primary and the
// secondary endpoint.
func (s *Server) Endpoints() []string { return []string{s.endpoint(0), s.endpoint(1)} }

func (s *Server) endpoint(i int) string { return "https://" + s.listeners[i].Addr().String() }

// Listener returns the listener of an endpoint, 0 or 1.
func (s *Server) Listener(i int) *network.Listener { return s.listeners[i] }

// CA returns the certificate, in PEM, of the CA that issued the endpoints' TLS certificate.
// All servers of a process have the same.
func (s *Server) CA() []byte { return slices.Clone(authority().pem) }

// Break applies a fault to the next answers of an endpoint, 0 or 1: to as many as times,
// or, if times is negative, to all until Heal. The requests are checked, take effect and
// are logged as usual. Faults for the same endpoint are queued.
func (s *Server) Break(endpoint int, f Fault, times int) {
	s.Do(func() { s.broken[endpoint] = append(s.broken[endpoint], breakage{f, times}) })
}

// Heal removes all faults.
func (s *Server) Heal() { s.Do(func() { s.broken = [2][]breakage{} }) }

type breakage struct {
	fault Fault
	times int // answers left; negative means no limit
}

// bend applies the next fault for an endpoint to an answer, if there is one, and counts it.
func (s *Server) bend(endpoint int, a *Answer) {
	for i, b := range s.broken[endpoint] {
		if b.times != 0 {
			s.broken[endpoint][i].times--
			b.fault(a)
			return
		}
	}
}

// Observe calls f for each request when it is logged, before the first byte of its answer
// is sent. f must not call the server.
func (s *Server) Observe(f func(Request)) { s.Do(func() { s.observe = f }) }

// Requests returns the newest requests received, at most 10,000, oldest first. A request
// is logged before the first byte of its answer is sent.
func (s *Server) Requests() []Request {
	return Get(s, func() []Request { return slices.Clone(s.requests) })
}

// ClearRequests empties the log.
func (s *Server) ClearRequests() { s.Do(func() { s.requests = nil }) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	s.Do(func() {
		if err != nil || s.closed {
			panic(http.ErrAbortHandler)
		}
		s.serving.Add(1) // Close waits
	})
	defer s.serving.Done()
	endpoint := 0
	if r.Context().Value(http.LocalAddrContextKey).(net.Addr).String() == s.listeners[1].Addr().String() {
		endpoint = 1
	}
	a := &Answer{Status: http.StatusOK, Header: make(http.Header), other: s.endpoint(1-endpoint) + r.RequestURI}
	s.Do(func() {
		received := &Request{
			Endpoint: endpoint, Time: s.now(),
			Method: r.Method, URI: r.RequestURI, Path: r.URL.EscapedPath(), Query: r.URL.Query(),
			Header: r.Header.Clone(), Body: body,
		}
		s.handle(received, a)
		received.Answer = a.Body
		s.bend(endpoint, a)
		received.Status = a.sent()
		s.log(*received)
	})
	if a.Finish != nil {
		a.Finish(a)
	}
	a.send(w, r, s.stop)
}

func (s *Server) log(r Request) {
	if len(s.requests) >= maxLog {
		s.requests = s.requests[1:]
	}
	s.requests = append(s.requests, r)
	if s.observe != nil {
		s.observe(r)
	}
}

// Answer is an answer before it is sent.
type Answer struct {
	Status int
	Header http.Header // a nil value suppresses the server's own header
	Body   []byte

	Signing any           // how the sandbox signs the answer, for its own faults
	Finish  func(*Answer) // if not nil: changes the answer after the faults, as a signature does

	other  string        // the URL of the same request at the other endpoint
	delay  time.Duration // before the first byte; forever means that nothing is sent
	cut    bool          // send half of the body
	resets bool          // send an RST
}

const forever time.Duration = math.MaxInt64

func (a *Answer) hangs() bool { return a.delay == forever }

// sent returns the status that will be sent, or 0 if nothing will.
func (a *Answer) sent() int {
	if a.resets || a.hangs() {
		return 0
	}
	return a.Status
}

func (a *Answer) send(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	if a.resets {
		reset(w)
		return
	}
	if a.delay > 0 {
		select {
		case <-time.After(a.delay):
		case <-r.Context().Done():
		case <-stop:
		}
	}
	if a.hangs() {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	if a.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	maps.Copy(h, a.Header)
	wire := a.Body
	if a.cut {
		wire = wire[:len(wire)/2] // the server then closes the connection
	}
	w.WriteHeader(a.Status)
	w.Write(wire)
}

func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	below := c.(*tls.Conn).NetConn()
	below.(interface{ SetLinger(int) error }).SetLinger(0)
	below.Close()
}

// Fault changes an answer.
type Fault func(*Answer)

// Hang sends nothing until the client or the server closes the connection.
func Hang() Fault { return Slow(forever) }

// Slow delays the answer by d.
func Slow(d time.Duration) Fault { return func(a *Answer) { a.delay = d } }

// Reset sends an RST instead of an answer.
func Reset() Fault { return func(a *Answer) { a.resets = true } }

// Truncated sends the Content-Length of the whole body but only half of the body, and
// closes the connection.
func Truncated() Fault { return func(a *Answer) { a.cut = true } }

// Oversized appends 1 MiB of white space to the body.
func Oversized() Fault {
	return func(a *Answer) { a.Body = append(a.Body, bytes.Repeat([]byte(" "), 1<<20)...) }
}

// Redirect answers 302 with the same URL at the other endpoint. If the client follows it,
// the log has that request.
func Redirect() Fault {
	return func(a *Answer) {
		a.Status = http.StatusFound
		a.Header.Set("Location", a.other)
	}
}

// Status answers with a status code and a body. A body that begins with < is sent as HTML.
func Status(code int, body string) Fault {
	return func(a *Answer) {
		a.Status, a.Body = code, []byte(body)
		if strings.HasPrefix(body, "<") {
			a.Header.Set("Content-Type", "text/html; charset=utf-8")
		}
	}
}

// Body answers 200 with another body.
func Body(body string) Fault { return Status(http.StatusOK, body) }

// With returns the fault with a header added to the answer, such as Retry-After.
func (f Fault) With(name, value string) Fault {
	return func(a *Answer) {
		f(a)
		a.Header.Set(name, value)
	}
}
