package playground

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"

	"membercard/local/stack"
)

// moduleSync is the folder of the function that brings service modules in line with the
// card plan.
const moduleSync = "functions/service-module-sync"

// servePlan answers with the card plan in S3.
func servePlan(w http.ResponseWriter, s *stack.Stack) {
	at := s.Configs[moduleSync].Environment
	plan := s.Plans.Get(at["CARD_PLAN_BUCKET"], at["CARD_PLAN_KEY"])
	if !json.Valid(plan) {
		answer(w, http.StatusNotFound, map[string]string{"message": "there is no plan that can be read"})
		return
	}
	answer(w, http.StatusOK, json.RawMessage(plan))
}

// serveSync invokes service-module-sync by hand. The body is the event, and the answer is
// the function's report.
func serveSync(w http.ResponseWriter, r *http.Request, s *stack.Stack) {
	event, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" || err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": `wants {"action": "sync", "plan": {…}} as application/json`})
		return
	}
	report, err := s.Invoke(r.Context(), moduleSync, event)
	if err != nil {
		answer(w, http.StatusBadGateway, map[string]string{"message": err.Error()})
		return
	}
	answer(w, http.StatusOK, json.RawMessage(report))
}
