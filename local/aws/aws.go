// Package aws serves the parts of AWS that functions and their operator call, on one
// port of the loopback interface: Secrets Manager, S3, EventBridge, SQS, Lambda and
// CloudFormation. It is as strict as the original: a request must be signed for its
// service and the server's region, with the server's key, now. Web pages are refused.
// What is not here is refused with a message that says so.
//
// A service that speaks one of the JSON protocols is one file like secrets.go,
// and a line in [Start].
package aws

import (
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

// Start listens on a free loopback port. Requests have to be signed for region
// with the given key; a session token is signed with the rest, but any will do.
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

// Close ends the server and breaks off the requests under way.
func (s *Server) Close() error { return s.server.Close() }

// ServeHTTP hands a request to its service.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodySize))
	if err != nil {
		return // too large, or the client closed the connection
	}
	service := &s.S3.service
	target, _, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	signedFor := sigv4.Service(r)
	switch _, isElsewhere := elsewhere[signedFor]; {
	case s.services[target] != nil:
		service = s.services[target]
	case signedFor == s.Functions.name, strings.HasPrefix(r.URL.Path, pathOfFunctions):
		service = &s.Functions.service
	case signedFor == s.Stacks.name:
		service = &s.Stacks.service
	case isElsewhere:
		service = newMissing(signedFor, r)
	}
	service.handle(w, r, body, s.key)
}

// A service counts the requests for one AWS service and can be made to fail. Its
// methods may be called concurrently.
type service struct {
	name     string        // that requests are signed for
	maxSkew  time.Duration // between a signature's time and now
	protocol protocol

	mu    sync.Mutex
	calls map[string]int // by operation
	fault *Fault
	delay time.Duration
}

// A protocol is how a service's requests, answers and errors are written.
type protocol interface {
	operation(r *http.Request) string
	// verify returns why r is not authentic; signature verifies its signature.
	verify(r *http.Request, body []byte, signature func() *sigv4.Refusal) *failure
	// answer writes the answer to an authentic request, unless it returns a failure.
	answer(w http.ResponseWriter, r *http.Request, body []byte) *failure
	refuse(w http.ResponseWriter, f *failure)
}

// A failure is AWS's refusal of a request.
type failure struct {
	status        int
	code, message string
}

// A Fault is an outage of a service.
type Fault struct {
	Status int    // HTTP status of the answers
	Code   string // their error, such as InternalServiceError, SlowDown or ThrottlingException
	Hang   bool   // no answer at all, until the client gives up or the server is closed
}

// Fail makes every request to the service fail; nil ends that. Requests that
// hang by then stay unanswered.
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
