package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// functionsPath begins the path of a request about a function.
const functionsPath = "/2015-03-31/functions/"

// Functions is Lambda: synchronous Invoke without a log in the answer, and GetFunction,
// which returns only the name and the ARN.
type Functions struct {
	service
	region    string
	functions map[string]Invoke // by name
}

// Invoke invokes a function. If the function failed, failed is true and payload is its
// error as JSON.
type Invoke func(ctx context.Context, event []byte) (payload []byte, failed bool, err error)

func newFunctions(region string) *Functions {
	f := &Functions{region: region, functions: map[string]Invoke{}}
	f.service = service{name: "lambda", maxSkew: 5 * time.Minute, calls: make(map[string]int), protocol: &invokeProtocol{jsonProtocol{contentType: "application/json"}, f}}
	return f
}

// Put adds a function.
func (f *Functions) Put(name string, invoke Invoke) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.functions[name] = invoke
}

// invokeProtocol is the part of AWS REST JSON that Invoke and GetFunction need.
// Authentication and errors are those of AWS JSON.
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
	name, action, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, functionsPath), "/")
	if r.Method == http.MethodGet && action == "" && strings.HasPrefix(r.URL.Path, functionsPath) {
		return p.functions.getFunction(w, name)
	}
	if r.Method != http.MethodPost || action != "invocations" {
		return missingHere("this operation of Lambda", "Functions run as template.yaml configures them.")
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
		return p.functions.notFound(name)
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

func (f *Functions) arn(name string) string {
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", f.region, account, name)
}

func (f *Functions) notFound(name string) *failure {
	return &failure{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + f.arn(name)}
}

func (f *Functions) getFunction(w http.ResponseWriter, name string) *failure {
	f.mu.Lock()
	_, ok := f.functions[name]
	f.mu.Unlock()
	if !ok {
		return f.notFound(name)
	}
	w.Header().Set("Content-Type", "application/json")
	configuration := map[string]string{"FunctionName": name, "FunctionArn": f.arn(name)}
	_ = json.NewEncoder(w).Encode(map[string]any{"Configuration": configuration}) // fails only if the client closed the connection
	return nil
}
