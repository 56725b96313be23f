// Package aws serves the parts of AWS that the functions and their operator call, on
// one port of the loopback interface: Secrets Manager, S3, EventBridge, SQS, Lambda and
// CloudFormation. It is as strict as AWS: a request must have a current signature, made
// with the server's key for the right service and region. Requests from web pages are
// refused, and so are operations that are not implemented, with a message that says so.
//
// A service that speaks one of the JSON protocols is one file like secrets.go,
// and a line in [Start].
package aws

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"membercard/local/guard"
	"membercard/local/sigv4"
)

const (
	account     = "123456789012"
	maxBodySize = 1 << 20 // bytes of a request's body
)

// A Server is the AWS of one account in one region.
type Server struct {
	Secrets   *Secrets
	S3        *S3
	Events    *Events
	Queues    *Queues
	Functions *Functions
	Stacks    *Stacks

	key      sigv4.Key
	url      string
	server   *http.Server
	services map[string]*service // of the JSON protocols, by the prefix of X-Amz-Target
}

// Start listens on a free loopback port. Requests must be signed for region with the
// given key. A session token is signed like any other header, but its value is not
// checked.
func Start(region, accessKeyID, secretAccessKey string) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("aws: %w", err)
	}
	s := &Server{
		Secrets:   newSecrets(region),
		S3:        newS3(),
		Events:    newEvents(region),
		Queues:    newQueues(region),
		Functions: newFunctions(region),
		Stacks:    newStacks(region),
		key:       sigv4.Key{Region: region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey},
		url:       "http://" + listener.Addr().String(),
	}
	s.services = map[string]*service{
		"secretsmanager": &s.Secrets.service,
		"AWSEvents":      &s.Events.service,
		"AmazonSQS":      &s.Queues.service,
	}
	s.server = &http.Server{Handler: new(guard.Guard).Handler(s)}
	go s.server.Serve(listener) // until Close
	return s, nil
}

// URL returns the endpoint of all services, http://127.0.0.1:port.
func (s *Server) URL() string { return s.url }

// Close stops the server and closes all connections, including those with a request
// in progress.
func (s *Server) Close() error { return s.server.Close() }

// ServeHTTP hands a request to its service.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	service := s.service(r)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodySize))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		service.protocol.refuse(w, &failure{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The local stack takes at most 1 MiB."})
		return
	}
	if err != nil {
		return // the client closed the connection
	}
	service.handle(w, r, body, s.key)
}

// service returns the service that a request is for. Nothing marks a request for
// S3, so it is the default.
func (s *Server) service(r *http.Request) *service {
	target, _, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	signedFor := sigv4.Service(r)
	switch _, isMissing := missingServices[signedFor]; {
	case s.services[target] != nil:
		return s.services[target]
	case signedFor == s.Functions.name, strings.HasPrefix(r.URL.Path, functionsPath):
		return &s.Functions.service
	case signedFor == s.Stacks.name:
		return &s.Stacks.service
	case isMissing:
		return newMissing(signedFor, r)
	}
	return &s.S3.service
}

// A service counts the requests for one AWS service and can be made to fail. Its
// methods may be called concurrently.
type service struct {
	name     string        // the service in a signature's scope
	maxSkew  time.Duration // between a signature's time and now
	protocol protocol

	mu    sync.Mutex
	calls map[string]int // by operation
	fault *Fault
	delay time.Duration
}

// A protocol is the encoding of a service's requests, answers and errors.
type protocol interface {
	operation(r *http.Request) string
	// verify returns why r is not authentic, or nil. It calls signature to verify the
	// signature.
	verify(r *http.Request, body []byte, signature func() *sigv4.Refusal) *failure
	// answer writes the answer to an authentic request, unless it returns a failure.
	answer(w http.ResponseWriter, r *http.Request, body []byte) *failure
	refuse(w http.ResponseWriter, f *failure)
}

// A failure is an error that AWS answers with.
type failure struct {
	status        int
	code, message string
}

// A Fault is how a service fails.
type Fault struct {
	Status int    // HTTP status of the answers
	Code   string // their error code, such as InternalServiceError, SlowDown or ThrottlingException
	Hang   bool   // never answer; Status and Code are ignored
}

// Fail makes every request to the service fail until it is called with nil. Requests
// that hang at that time are still not answered.
func (s *service) Fail(fault *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Delay holds back each of the service's answers for d.
func (s *service) Delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Calls returns how many requests for an operation, such as GetObject, were
// received, including those that failed.
func (s *service) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

func (s *service) handle(w http.ResponseWriter, r *http.Request, body []byte, key sigv4.Key) {
	s.mu.Lock()
	s.calls[s.protocol.operation(r)]++
	fault, delay := s.fault, s.delay
	s.mu.Unlock()
	if fault != nil && fault.Hang {
		<-r.Context().Done()
		return
	}
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return
	}
	signature := func() *sigv4.Refusal { return key.Verify(r, body, s.name, s.maxSkew, time.Now()) }
	var failed *failure
	if fault != nil {
		failed = &failure{fault.Status, fault.Code, "This failure was injected."}
	} else if failed = s.protocol.verify(r, body, signature); failed == nil {
		failed = s.protocol.answer(w, r, body)
	}
	if failed != nil {
		s.protocol.refuse(w, failed)
	}
}
