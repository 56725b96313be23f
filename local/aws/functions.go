package aws

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// pathOfFunctions is where Lambda's API has functions.
const pathOfFunctions = "/2015-03-31/functions/"

// Functions is Lambda's Invoke, synchronous and without a log in the answer.
type Functions struct {
	service
	functions map[string]Invoke // by name
}

// An Invoke invokes a function. If the function failed, failed is true and the payload
// is the error as JSON.
type Invoke func(ctx context.Context, event []byte) (payload []byte, failed bool, err error)

func newFunctions() *Functions {
	f := &Functions{functions: map[string]Invoke{}}
	f.service = service{name: "lambda", maxSkew: 5 * time.Minute, calls: make(map[string]int), protocol: &invokeProtocol{jsonProtocol{contentType: "application/json"}, f}}
	return f
}

// Put adds a function.
func (f *Functions) Put(name string, invoke Invoke) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.functions[name] = invoke
}

// invokeProtocol is AWS's REST JSON, as far as Invoke has it. Requests are verified and
// refused as in AWS JSON.
type invokeProtocol struct {
	jsonProtocol
	functions *Functions
}

func (p *invokeProtocol) operation(r *http.Request) string {
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/invocations") {
		return "Invoke"
	}
	return r.Method
}

func (p *invokeProtocol) answer(w http.ResponseWriter, r *http.Request, body []byte) *failure {
	name, action, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, pathOfFunctions), "/")
	if r.Method != http.MethodPost || action != "invocations" {
		return missingHere("this operation of Lambda, only Invoke", "Functions run as template.yaml configures them.")
	}
	if kind := r.Header.Get("X-Amz-Invocation-Type"); kind != "" && kind != "RequestResponse" || r.Header.Get("X-Amz-Log-Type") == "Tail" {
		return exception("InvalidParameterValueException", "Only the invocation type RequestResponse without a log is supported here.")
	}
	if len(body) > 0 && !json.Valid(body) {
		return exception("InvalidRequestContentException", "Could not parse request body into json")
	}
	p.functions.mu.Lock()
	invoke, ok := p.functions.functions[name]
	p.functions.mu.Unlock()
	if !ok {
		return &failure{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + name}
	}
	payload, failed, err := invoke(r.Context(), body)
	if err != nil {
		return &failure{http.StatusTooManyRequests, "TooManyRequestsException", "Rate Exceeded."}
	}
	if failed {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	_, _ = w.Write(payload) // fails only if the client closed the connection
	return nil
}
