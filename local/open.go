package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"membercard/local/discovery"
	"membercard/local/journey"
	"membercard/local/stack"
)

// openTimeout is how long a card may take to become EFFECTIVE. It covers several
// attempts to notify and to confirm.
const openTimeout = time.Minute

// opened is what has happened to a card and, if it is not EFFECTIVE, what is missing.
type opened struct {
	journey.Story
	Missing string `json:"missing,omitempty"`
}

// serveOpen serves [discovery.OpenPath].
func serveOpen(w http.ResponseWriter, r *http.Request, s *stack.Stack) {
	if discovery.RefusePage(w, r) {
		return
	}
	kind := r.URL.Query().Get("card")
	if kind != journey.Brand && kind != journey.Merchant {
		http.Error(w, "card must be brand or merchant", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), openTimeout)
	defer cancel()
	var answer opened
	var err error
	if answer.Story, err = journey.Open(ctx, s, kind); err != nil {
		answer.Missing = err.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// serveSync serves [discovery.SyncPath]: it answers with the report of card-sync.
func serveSync(w http.ResponseWriter, r *http.Request, s *stack.Stack) {
	if discovery.RefusePage(w, r) {
		return
	}
	event := fmt.Appendf(nil, `{"action": "sync", "dry_run": %t}`, r.URL.Query().Get("dry_run") == "true")
	report, err := s.Invoke(r.Context(), "functions/card-sync", event)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(report)
}
