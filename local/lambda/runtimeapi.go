package lambda

// This file serves the Lambda Runtime API, 2018-06-01, to one instance.

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"membercard/local/uuid"
)

// An invocation is an event and its answer.
type invocation struct {
	id, arn, trace string
	payload        []byte
	deadline       time.Time
	done           chan struct{} // closed when the runtime has answered and requests the next event

	answer *answer // guarded by the instance's mutex
}

type answer struct {
	payload []byte
	err     *FunctionError
}

func newInvocation(cfg Config, payload []byte) *invocation {
	var trace [20]byte
	_, _ = rand.Read(trace[:]) // never fails
	return &invocation{
		id:      uuid.New(),
		arn:     fmt.Sprintf("arn:aws:lambda:%s:123456789012:function:%s", cfg.Region, cfg.Name),
		trace:   fmt.Sprintf("Root=1-%08x-%x;Parent=%x;Sampled=0", time.Now().Unix(), trace[:12], trace[12:]),
		payload: payload,
		done:    make(chan struct{}),
	}
}

func (inst *instance) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", inst.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", inst.serveResponse)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", inst.serveError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", inst.serveInitError)
	return mux
}

func (inst *instance) serveNext(w http.ResponseWriter, r *http.Request) {
	inst.mu.Lock()
	if inst.current != nil {
		if inst.current.answer == nil {
			inst.mu.Unlock()
			refuse(w, http.StatusForbidden, "InvalidStateTransition", "the previous event has no answer")
			return
		}
		close(inst.current.done)
		inst.current = nil
	}
	if !inst.started {
		inst.started = true
		close(inst.ready)
	}
	inst.mu.Unlock()

	select {
	case <-r.Context().Done():
	case inv := <-inst.work:
		inst.mu.Lock()
		inst.current = inv
		inst.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", inv.arn)
		w.Header().Set("Lambda-Runtime-Trace-Id", inv.trace)
		_, _ = w.Write(inv.payload) // fails only if the runtime has exited
	}
}

func (inst *instance) serveResponse(w http.ResponseWriter, r *http.Request) {
	if payload, err := io.ReadAll(r.Body); err == nil { // or the runtime closed the connection
		inst.accept(w, r, &answer{payload: payload})
	}
}

func (inst *instance) serveError(w http.ResponseWriter, r *http.Request) {
	if payload, err, ok := readError(r); ok {
		inst.accept(w, r, &answer{payload, err})
	}
}

func (inst *instance) serveInitError(w http.ResponseWriter, r *http.Request) {
	_, err, ok := readError(r)
	if !ok {
		return
	}
	inst.mu.Lock()
	initializing := !inst.started
	if initializing {
		inst.failure = err
	}
	inst.mu.Unlock()
	if !initializing {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the runtime is initialized")
		return
	}
	reply(w, http.StatusAccepted, map[string]string{"status": "OK"})
}

// accept records a as the answer to the event in r's path, and confirms it. It refuses the
// request if the event is not in progress or already has an answer.
func (inst *instance) accept(w http.ResponseWriter, r *http.Request, a *answer) {
	inst.mu.Lock()
	defer inst.mu.Unlock()
	if inv := inst.current; inv == nil || inv.id != r.PathValue("id") || inv.answer != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	inst.current.answer = a
	reply(w, http.StatusAccepted, map[string]string{"status": "OK"})
}

// readError reads an error reported by the runtime. The error's type is in the body or in
// a header.
func readError(r *http.Request) (payload []byte, failure *FunctionError, ok bool) {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, false
	}
	failure = &FunctionError{}
	_ = json.Unmarshal(payload, failure) // the body need not be JSON
	failure.Type = cmp.Or(failure.Type, r.Header.Get("Lambda-Runtime-Function-Error-Type"), "Runtime.Unknown")
	return payload, failure, true
}

func refuse(w http.ResponseWriter, status int, errorType, message string) {
	reply(w, status, &FunctionError{errorType, message})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the runtime has exited
}
