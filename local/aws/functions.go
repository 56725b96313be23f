package aws

import (
	"context"
	"net/http"
	"strings"
)

// Functions is Lambda's synchronous Invoke, without a log in the answer.
type Functions struct {
	*service
	functions map[string]Invoke // by name
}

// Invoke invokes a function. If the function failed, failed is true and payload is its
// error as JSON.
type Invoke func(ctx context.Context, event []byte) (payload []byte, failed bool, err error)

func newFunctions() *Functions {
	f := &Functions{functions: map[string]Invoke{}}
	f.service = newService("lambda", map[string]operation{"Invoke": f.invoke})
	return f
}

// Put adds a function.
func (f *Functions) Put(name string, invoke Invoke) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.functions[name] = invoke
}

func functionOperation(r *http.Request) string {
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/invocations") {
		return "Invoke"
	}
	return r.Method
}

func (f *Functions) invoke(w http.ResponseWriter, r *http.Request, body []byte) *failure {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/2015-03-31/functions/"), "/invocations")
	f.mu.Lock()
	invoke, ok := f.functions[name]
	f.mu.Unlock()
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
	w.Header().Set("X-Amz-Executed-Version", "$LATEST") // which the AWS CLI shows
	answer(w, "application/json", http.StatusOK, payload)
	return nil
}
