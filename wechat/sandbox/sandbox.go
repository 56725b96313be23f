// Package sandbox has what the sandboxes of WeChat's services share: a server with a
// primary and a secondary endpoint on the loopback interface, a log of requests, and fault
// injection.
package sandbox

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"membercard/wechat/network"
)

const (
	maxBody = 1 << 20 // bytes of a request's body
	maxLog  = 10_000  // requests kept in the log
)

// Server serves a sandbox over TLS and HTTP/1.1. R is the type of the log's entries. A
// Server is safe for concurrent use.
type Server[R any] struct {
	ca        []byte
	listeners [2]*network.Listener
	servers   [2]*http.Server
	now       func() time.Time
	handle    func(*Exchange[R])

	stop    chan struct{}  // closed by Close
	serving sync.WaitGroup // servers and their requests

	mu       sync.Mutex
	closed   bool
	broken   [2][]breakage
	requests []R
	observe  func(R)
}

// Exchange is a request and its answer. The answer is initially an empty 200. The sandbox
// sets it, applies the fault for it, and logs the request.
type Exchange[R any] struct {
	HTTP     *http.Request // its body has been read
	Received Request
	Answer   *Answer

	server *Server[R]
}

// Request is the part of a log entry that all sandboxes share.
type Request struct {
	Endpoint int // 0 is the primary one
	Time     time.Time
	Method   string
	Header   http.Header
	Body     []byte

	Status int // of the answer; 0 if there was none

	// Answer is the body of the answer before a fault changed it.
	Answer []byte
}

// Start starts a server. handle handles its requests, and now is its clock. ca is the name
// of the CA that issues its certificate.
func Start[R any](ca string, now func() time.Time, handle func(*Exchange[R])) (*Server[R], error) {
	certificate, issuer := newCertificate(ca, time.Now()) // clients use the real clock
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
			ErrorLog:  log.New(io.Discard, "", 0), // injected faults would fill it
		}
		server.Protocols.SetHTTP1(true)
		s.servers[i] = server
		s.serving.Go(func() { server.ServeTLS(l, "", "") })
	}
	return s, nil
}

// Close stops the server, closes its connections and waits for its handlers to return.
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
	// The servers do not close connections that were accepted during Close.
	for _, l := range s.listeners {
		l.Drop(network.FIN)
	}
	return err
}

// Endpoints returns the base URLs, https://127.0.0.1:port, of the primary and the
// secondary endpoint.
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

// Listener returns the listener of an endpoint, 0 or 1.
func (s *Server[R]) Listener(i int) *network.Listener { return s.listeners[i] }

// CA returns the certificate, in PEM, of the CA that issued the endpoints' TLS certificate.
func (s *Server[R]) CA() []byte { return slices.Clone(s.ca) }

// Break applies a fault to the next answers of an endpoint, 0 or 1: to as many as times,
// or, if times is negative, to all until Heal. The requests are checked, take effect and
// are logged as usual. Faults for the same endpoint are queued.
func (s *Server[R]) Break(endpoint int, f Fault, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if times != 0 {
		s.broken[endpoint] = append(s.broken[endpoint], breakage{f, times})
	}
}

// Heal removes all faults.
func (s *Server[R]) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = [2][]breakage{}
}

type breakage struct {
	fault Fault
	times int // answers left; negative means no limit
}

// Fault returns the next fault for the answer, if there is one, and counts it.
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

// Log adds a request to the log.
func (x *Exchange[R]) Log(r R) {
	s := x.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) >= maxLog {
		s.requests = s.requests[1:]
	}
	s.requests = append(s.requests, r)
	if s.observe != nil {
		s.observe(r)
	}
}

// Observe calls f for each request when it is logged, before the first byte of its answer
// is sent. f must not call the server.
func (s *Server[R]) Observe(f func(R)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe = f
}

// Requests returns the newest requests received, at most 10,000, oldest first. A request
// is logged before the first byte of its answer is sent.
func (s *Server[R]) Requests() []R {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ClearRequests empties the log.
func (s *Server[R]) ClearRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// enter makes Close wait for a request. It returns false if the server is closed.
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

// JSON encodes v without escapes for HTML. It panics if v can't be encoded.
func JSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// RandomText returns n random characters of base32.
func RandomText(n int) string {
	var text string
	for len(text) < n {
		text += rand.Text()
	}
	return text[:n]
}

// RandomDigits returns n random digits.
func RandomDigits(n int) string {
	most := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	return fmt.Sprintf("%0*d", n, Must(rand.Int(rand.Reader, most)))
}

// RandomBase64 returns n random bytes in base64 that contains both + and /. n must be at
// least 8.
func RandomBase64(n int) string {
	b := make([]byte, n)
	for {
		rand.Read(b)
		if text := base64.StdEncoding.EncodeToString(b); strings.Contains(text, "+") && strings.Contains(text, "/") {
			return text
		}
	}
}

// MustUnmarshal decodes JSON that is known to be valid.
func MustUnmarshal(text []byte, into any) {
	if err := json.Unmarshal(text, into); err != nil {
		panic(err)
	}
}

// Must returns the result of a call that cannot fail.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
