package lambda

// This file serves the Lambda Runtime API, 2018-06-01, to one instance.

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// An invocation is an event and its answer.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	done     chan struct{} // closed when the runtime has answered and requests the next event

	answer *answer // guarded by the instance's mutex
}

type answer struct {
	payload []byte
	err     *FunctionError
}

func (inst *instance) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", inst.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { inst.accept(w, r, nil) })
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { inst.accept(w, r, &FunctionError{}) })
	return mux
}

func (inst *instance) serveNext(w http.ResponseWriter, r *http.Request) {
	inst.mu.Lock()
	if inst.current != nil {
		close(inst.current.done)
		inst.current = nil
	}
	inst.mu.Unlock()
	inst.initialized.Do(func() { close(inst.ready) })

	select {
	case <-r.Context().Done():
	case inv := <-inst.work:
		inst.mu.Lock()
		inst.current = inv
		inst.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		_, _ = w.Write(inv.payload) // fails only if the runtime has exited
	}
}

// accept records the body of r as the answer to the event in progress, or as its error if
// that is not nil, and confirms it.
func (inst *instance) accept(w http.ResponseWriter, r *http.Request, failed *FunctionError) {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return // the runtime closed the connection
	}
	if failed != nil {
		_ = json.Unmarshal(payload, failed) // the runtime's own JSON
	}
	inst.mu.Lock()
	defer inst.mu.Unlock()
	if inv := inst.current; inv == nil || inv.id != r.PathValue("id") {
		http.Error(w, "Invalid request ID", http.StatusBadRequest)
		return
	}
	inst.current.answer = &answer{payload, failed}
	w.WriteHeader(http.StatusAccepted)
}
