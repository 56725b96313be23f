// Package telemetrytest has a log that tests can read.
package telemetrytest

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"membercard/shared/telemetry"
)

// Records are the records of a log. They can be read while the log is being written.
type Records struct {
	mu   sync.Mutex
	text strings.Builder
}

// New returns a log, and the records that will be written to it.
func New() (*telemetry.Log, *Records) {
	r := &Records{}
	return telemetry.New(r, "MemberCard", "test"), r
}

// Write implements [io.Writer].
func (r *Records) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(line)
}

// String returns the records, a line each.
func (r *Records) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// Reset drops the records.
func (r *Records) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.Reset()
}

// All returns the records, decoded.
func (r *Records) All(t testing.TB) (records []map[string]any) {
	t.Helper()
	for line := range strings.Lines(r.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("the record %q: %v", line, err)
		}
		records = append(records, record)
	}
	return records
}
