// Package sandbox is what the sandboxes of WeChat's services have in common: a
// server on the loopback interface that has two endpoints, the second for when
// the first fails, a log of the requests, and faults that bend the answers. What
// is answered is the business of each sandbox.
package sandbox

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"slices"
	"sync"
	"time"

	"membercard/local/network"
)

const (
	maxBody = 1 << 20 // bytes of a request's body
	maxLog  = 10_000  // requests kept in the log
)

// Server serves a sandbox over TLS and HTTP/1.1. R is what the sandbox logs of
// a request. It is safe for concurrent use.
type Server[R any] struct {
	ca        []byte
	listeners [2]*network.Listener
	servers   [2]*http.Server
	now       func() time.Time
	handle    func(*Exchange[R])

	stop    chan struct{}  // closed by Close
	serving sync.WaitGroup // servers and the requests they handle

	mu       sync.Mutex
	closed   bool
	broken   [2][]breakage
	requests []R
}

// Exchange is a request and its answer, which the sandbox has to make: it
// fills in what differs from an empty 200, asks for the fault that bends it,
// and logs the request.
type Exchange[R any] struct {
	HTTP     *http.Request // its body has been read
	Received Request
	Answer   *Answer

	server *Server[R]
}

// Request is what every sandbox logs of a request.
type Request struct {
	Endpoint int // 0 is the primary
	Time     time.Time
	Method   string
	Header   http.Header
	Body     []byte

	Status int // the HTTP status that was answered, 0 if nothing was
}

// Start starts a server, whose requests are handled by handle and received at
// the time that now tells. Its CA has the given name.
func Start[R any](ca string, now func() time.Time, handle func(*Exchange[R])) (*Server[R], error) {
	certificate, issuer := newCertificate(ca, time.Now()) // the clients of a test have the real clock
	s := &Server[R]{
		ca:     issuer,
		now:    now,
		handle: handle,
		stop:   make(chan struct{}),
	}
	for i := range s.listeners {
		l, err := network.Listen()
		if err != nil {
			for _, open := range s.listeners[:i] {
				open.Close()
			}
			return nil, err
		}
		s.listeners[i] = l
	}
	for i, l := range s.listeners {
		server := &http.Server{
			Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(i, w, r) }),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
			Protocols: new(http.Protocols),
			ErrorLog:  log.New(io.Discard, "", 0), // what misbehaving connections cause is no news
		}
		server.Protocols.SetHTTP1(true)
		s.servers[i] = server
		s.serving.Go(func() { server.ServeTLS(l, "", "") })
	}
	return s, nil
}

// Close stops the server, closes its connections and waits until nothing is
// served any more.
func (s *Server[R]) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return http.ErrServerClosed
	}
	close(s.stop)
	var err error
	for _, server := range s.servers {
		err = cmp.Or(err, server.Close())
	}
	s.serving.Wait()
	// A connection accepted while its server was closing is nobody's.
	for _, l := range s.listeners {
		l.Drop(network.FIN)
	}
	return err
}

// Endpoints are the base URLs, https://127.0.0.1:port, the primary endpoint's
// first, then the other's.
func (s *Server[R]) Endpoints() []string {
	var urls []string
	for i := range s.listeners {
		urls = append(urls, s.endpoint(i))
	}
	return urls
}

func (s *Server[R]) endpoint(i int) string {
	return "https://" + s.listeners[i].Addr().String()
}

// Listener is the listener of an endpoint, 0 or 1.
func (s *Server[R]) Listener(i int) *network.Listener { return s.listeners[i] }

// CA is the certificate, in PEM, of the authority that issued the endpoints'
// TLS certificate.
func (s *Server[R]) CA() []byte { return slices.Clone(s.ca) }

// Break bends the answers to the next requests of an endpoint, 0 or 1, until
// times of them were bent, or, if times is negative, until Heal. Requests are
// checked, obeyed and logged as ever: only the answer is lost. Further calls
// for the same endpoint queue up.
func (s *Server[R]) Break(endpoint int, f Fault, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if times != 0 {
		s.broken[endpoint] = append(s.broken[endpoint], breakage{f, times})
	}
}

// Heal ends what Break began.
func (s *Server[R]) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = [2][]breakage{}
}

// breakage is a fault and how many answers more it bends, all if negative.
type breakage struct {
	fault Fault
	times int
}

// Fault takes the fault for the answer, if there is one.
func (x *Exchange[R]) Fault() (f Fault, ok bool) {
	s := x.server
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.broken[x.Received.Endpoint]
	if len(queue) == 0 {
		return f, false
	}
	f = queue[0].fault
	if queue[0].times--; queue[0].times == 0 {
		s.broken[x.Received.Endpoint] = queue[1:]
	}
	return f, true
}

// Log adds the request to the log.
func (x *Exchange[R]) Log(r R) {
	s := x.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) >= maxLog {
		s.requests = s.requests[1:]
	}
	s.requests = append(s.requests, r)
}

// Requests are the requests received so far, at most the newest 10,000. A
// request is among them before the first byte of its answer is sent.
func (s *Server[R]) Requests() []R {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ClearRequests forgets the requests received so far.
func (s *Server[R]) ClearRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// enter counts a request in for Close to wait for, unless it is too late.
func (s *Server[R]) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.serving.Add(1)
	}
	return !s.closed
}

func (s *Server[R]) serve(endpoint int, w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.serving.Done()

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a := &Answer{
		Status: http.StatusOK,
		Header: make(http.Header),
		other:  s.endpoint(1-endpoint) + r.RequestURI,
	}
	s.handle(&Exchange[R]{
		HTTP: r,
		Received: Request{
			Endpoint: endpoint,
			Time:     s.now(),
			Method:   r.Method,
			Header:   r.Header.Clone(),
			Body:     body,
		},
		Answer: a,
		server: s,
	})
	a.send(w, r, s.stop)
}

// JSON makes the JSON of an answer.
func JSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // of what was JSON before, or of strings and numbers
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// RandomText is n random characters of base32.
func RandomText(n int) string {
	var text string
	for len(text) < n {
		text += rand.Text()
	}
	return text[:n]
}

// Must is for what cannot fail.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
