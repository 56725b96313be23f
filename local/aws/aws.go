// Package aws serves what the functions and the operator's tool call of AWS, on one port
// of the loopback interface: Secrets Manager, S3, EventBridge, SQS and Lambda. A request
// must have a current signature, made with the server's key for the right service and
// region. Requests from web pages are refused, and all else is refused in one sentence.
package aws

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
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
	maxBodySize = 5 << 20 // bytes of a request's body; a card plan may have 4 MiB
)

// A Server is the AWS of one account in one region.
type Server struct {
	Secrets   *Secrets
	S3        *S3
	Events    *Events
	Queues    *Queues
	Functions *Functions

	key      sigv4.Key
	url      string
	server   *http.Server
	services map[string]*service // by the name in a signature's scope
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
		Functions: newFunctions(),
		key:       sigv4.Key{Region: region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey},
		url:       "http://" + listener.Addr().String(),
	}
	s.services = map[string]*service{
		"secretsmanager": s.Secrets.service,
		"s3":             s.S3.service,
		"events":         s.Events.service,
		"sqs":            s.Queues.service,
		"lambda":         s.Functions.service,
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
	name := sigv4.Service(r)
	service := s.services[name]
	if service == nil {
		service = newService(name, nil)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodySize))
	if err != nil {
		refuse(w, r, &failure{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error()})
		return
	}
	service.handle(w, r, body, s.key)
}

// A service counts the requests for one AWS service and can be made to fail. Its
// methods may be called concurrently.
type service struct {
	name       string // in a signature's scope
	operations map[string]operation

	mu    sync.Mutex
	calls map[string]int // by operation
	fault *Fault
}

// An operation writes the answer to an authentic request, or returns a failure.
type operation func(w http.ResponseWriter, r *http.Request, body []byte) *failure

func newService(name string, operations map[string]operation) *service {
	return &service{name: name, operations: operations, calls: make(map[string]int)}
}

// A failure is an error that AWS answers with.
type failure struct {
	status        int
	code, message string
}

// exception returns a failure that is the caller's fault.
func exception(code, message string) *failure { return &failure{http.StatusBadRequest, code, message} }

// A Fault is how a service fails.
type Fault struct {
	Operation string        // the only operation that fails; empty: all do
	Status    int           // HTTP status of the answers
	Code      string        // their error code, such as InternalServiceError, SlowDown or ThrottlingException
	Message   string        // of the error; may be empty
	Delay     time.Duration // the answers are right, but late; Status and Code are ignored
	Hang      bool          // never answer; Status and Code are ignored
	Entry     bool          // PutEvents succeeds; its one entry fails, with Code
}

// Fail makes every request to the service fail until it is called with nil. Requests
// that hang at that time are still not answered.
func (s *service) Fail(fault *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Calls returns how many requests for an operation, such as GetObject, were
// received, including those that failed.
func (s *service) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

func (s *service) handle(w http.ResponseWriter, r *http.Request, body []byte, key sigv4.Key) {
	name := operationOf(s.name, r)
	s.mu.Lock()
	s.calls[name]++
	fault := s.fault
	s.mu.Unlock()
	if fault == nil || fault.Operation != "" && fault.Operation != name {
		fault = new(Fault)
	}
	if fault.Hang {
		<-r.Context().Done()
		return
	}
	select {
	case <-time.After(fault.Delay):
	case <-r.Context().Done():
		return
	}
	var failed *failure
	if err := key.Verify(r, body, s.name, time.Now()); fault.Status != 0 {
		failed = &failure{fault.Status, fault.Code, cmp.Or(fault.Message, "This failure was injected.")}
	} else if err != nil {
		failed = &failure{http.StatusForbidden, "InvalidSignatureException", "The local stack does not accept the signature: " + err.Error() + "."}
	} else if operation := s.operations[name]; operation == nil {
		failed = exception("UnknownOperationException", "The local stack does not have "+strings.TrimSpace(s.name+" "+name)+", only what the functions and membercard call.")
	} else if fault.Entry && name == "PutEvents" {
		answer(w, r.Header.Get("Content-Type"), http.StatusOK, encode(eventResults{1, []eventResult{{ErrorCode: fault.Code, ErrorMessage: "This failure was injected."}}}))
	} else {
		failed = operation(w, r, body)
	}
	if failed != nil {
		refuse(w, r, failed)
	}
}

// operationOf returns the name of the operation that a request is for, as far as it is in
// the method, the path and the headers.
func operationOf(service string, r *http.Request) string {
	if _, name, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return name
	}
	switch service {
	case "s3":
		return objectOperation(r)
	case "lambda":
		return functionOperation(r)
	}
	return ""
}

// decoding returns the operation of a JSON protocol that decodes its input and encodes the
// output of f.
func decoding[In any](f func(In) (any, *failure)) operation {
	return func(w http.ResponseWriter, r *http.Request, body []byte) *failure {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return exception("SerializationException", "The body is not JSON of the expected form.")
		}
		output, failed := f(in)
		if failed == nil {
			answer(w, r.Header.Get("Content-Type"), http.StatusOK, encode(output))
		}
		return failed
	}
}

// refuse answers with an error, in XML to S3 and in JSON to all others.
func refuse(w http.ResponseWriter, r *http.Request, f *failure) {
	w.Header().Set("X-Amzn-Errortype", f.code)
	if sigv4.Service(r) == "s3" {
		answer(w, "application/xml", f.status, encodeXML(struct {
			XMLName       xml.Name `xml:"Error"`
			Code, Message string
		}{Code: f.code, Message: f.message}))
		return
	}
	answer(w, cmp.Or(r.Header.Get("Content-Type"), "application/json"), f.status, encode(map[string]string{"__type": f.code, "message": f.message}))
}

func answer(w http.ResponseWriter, contentType string, status int, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Requestid", strings.ToLower(rand.Text()))
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the client closed the connection
}

// encode returns v as JSON, without escapes for HTML. It panics if that is not possible.
func encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// encodeXML returns v as XML. It panics if that is not possible.
func encodeXML(v any) []byte {
	text, err := xml.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append([]byte(xml.Header), text...)
}

// seconds returns a time as JSON protocols have it: in seconds since 1970.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
