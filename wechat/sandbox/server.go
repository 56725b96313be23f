// Package sandbox is the server that the sandboxes of WeChat Pay and of the official
// account run on: a primary and a secondary endpoint on the loopback interface, a table of
// operations, a log of requests, and faults.
package sandbox

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
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

	// What WeChat Pay reads from the header Authorization, and whether the signature is
	// valid.
	Authorization Authorization
	Verified      bool

	Refusal string // the message of WeChat Pay's refusal
	Errcode int    // of the official account's refusal, before a fault changed it
	Status  int    // of the answer; 0 if there was none
	Answer  []byte // the body of the answer before a fault changed it

	Given    map[string]string // what the operation's fields are, see Parse
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
	if times != 0 {
		s.Do(func() { s.broken[endpoint] = append(s.broken[endpoint], breakage{f, times}) })
	}
}

// Heal removes all faults.
func (s *Server) Heal() { s.Do(func() { s.broken = [2][]breakage{} }) }

type breakage struct {
	fault Fault
	times int // answers left; negative means no limit
}

// bend applies the next fault for an endpoint to an answer, if there is one, and counts it.
func (s *Server) bend(endpoint int, a *Answer) {
	queue := s.broken[endpoint]
	if len(queue) == 0 {
		return
	}
	fault := queue[0].fault
	if queue[0].times--; queue[0].times == 0 {
		s.broken[endpoint] = queue[1:]
	}
	fault(a)
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
