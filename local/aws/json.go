package aws

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"membercard/local/sigv4"
)

// jsonProtocol is AWS JSON: a POST whose header X-Amz-Target names the
// operation.
type jsonProtocol struct {
	contentType string // application/x-amz-json-1.0 or -1.1
	operations  map[string]operation
	instead     string // advice in the refusal of other operations
}

// An operation returns its output or a failure.
type operation func(input []byte) (output any, failed *failure)

// newJSON returns a service that speaks AWS JSON.
func newJSON(name, contentType string, operations map[string]operation) service {
	return service{
		name:     name,
		maxSkew:  5 * time.Minute,
		protocol: &jsonProtocol{contentType: contentType, operations: operations},
		calls:    make(map[string]int),
	}
}

// decoding returns the operation that decodes its input and calls f.
func decoding[In any](f func(In) (any, *failure)) operation {
	return func(input []byte) (any, *failure) {
		var in In
		if err := json.Unmarshal(input, &in); err != nil {
			return nil, exception("SerializationException", "The body is not JSON of the expected form.")
		}
		return f(in)
	}
}

// exception returns a failure that is the caller's fault.
func exception(code, message string) *failure { return &failure{http.StatusBadRequest, code, message} }

// invalid returns the failure for an input member that breaks a constraint.
func invalid(member, constraint string) *failure {
	return exception("ValidationException", "1 validation error detected: Value at '"+member+"' failed to satisfy constraint: Member must "+constraint)
}

func (p *jsonProtocol) operation(r *http.Request) string {
	_, name, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return name
}

func (p *jsonProtocol) verify(_ *http.Request, _ []byte, signature func() *sigv4.Refusal) *failure {
	refusal := signature()
	if refusal == nil {
		return nil
	}
	code := "InvalidSignatureException"
	switch refusal.Reason {
	case sigv4.Missing:
		code = "MissingAuthenticationTokenException"
	case sigv4.Incomplete:
		code = "IncompleteSignatureException"
	case sigv4.UnknownKey:
		code = "UnrecognizedClientException"
	}
	return exception(code, refusal.Message)
}

func (p *jsonProtocol) answer(w http.ResponseWriter, r *http.Request, body []byte) *failure {
	operation, ok := p.operations[p.operation(r)]
	if r.Method != http.MethodPost || r.URL.Path != "/" || !ok {
		return missingHere("the operation "+p.operation(r)+" of this service", p.instead)
	}
	if r.Header.Get("Content-Type") != p.contentType {
		return exception("SerializationException", "The content type is not "+p.contentType+".")
	}
	output, failed := operation(body)
	if failed == nil {
		p.reply(w, http.StatusOK, output)
	}
	return failed
}

func (p *jsonProtocol) refuse(w http.ResponseWriter, f *failure) {
	w.Header().Set("X-Amzn-Errortype", f.code)
	p.reply(w, f.status, map[string]string{"__type": f.code, "message": f.message})
}

func (p *jsonProtocol) reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", p.contentType)
	w.Header().Set("X-Amzn-Requestid", strings.ToLower(rand.Text()))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the client closed the connection
}
