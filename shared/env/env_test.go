package env

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// standardOutput has standard output written to a file during a test.
func standardOutput(t *testing.T) *os.File {
	written, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdout
	t.Cleanup(func() { os.Stdout = before })
	os.Stdout = written
	return written
}

// The process goes on after a panic, and the operator gets a record without what may be
// secret.
func TestPanicDuringInit(t *testing.T) {
	written := standardOutput(t)
	others := false
	DuringInit(func(context.Context) { panic("a key") }, func(context.Context) { others = true })
	text, err := os.ReadFile(written.Name())
	var record struct{ Level, Msg, Code, Cause, Cure, Stack string }
	if err != nil || json.Unmarshal(text, &record) != nil {
		t.Fatalf("%s, %v", text, err)
	}
	if !others || record.Level != "ERROR" || record.Code != "SYSTEM_ERROR" || record.Cause == "" || record.Cure == "" || !strings.Contains(record.Stack, "TestPanicDuringInit") || strings.Contains(string(text), "a key") {
		t.Errorf("the others ran: %t; the record is %s", others, text)
	}
}

// aws-lambda-go logs the error of an invocation, and net/http what it reads between two
// answers, which may have a token.
func TestLibrariesLogRecords(t *testing.T) {
	written := standardOutput(t)
	Log()
	for line, cause := range map[string]string{
		`{"errorMessage":"the event has no action","errorType":"errorString"}`:                         `{"errorMessage":"the event has no action","errorType":"errorString"}`,
		"Unsolicited response received on idle HTTP channel starting with \"token\"; err=<nil>":        "",
		"runtime API client failed to close http://127.0.0.1 response body: use of closed\nconnection": "runtime API client failed to close http://127.0.0.1 response body: use of closed\nconnection",
	} {
		log.Print(line)
		text, err := os.ReadFile(written.Name())
		if err := errors.Join(err, written.Truncate(0)); err != nil {
			t.Fatal(err)
		}
		if _, err := written.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var record struct{ Level, Cause, Cure string }
		if cause != "" && (json.Unmarshal(text, &record) != nil || record.Level != "ERROR" || record.Cause != cause || record.Cure == "") || cause == "" && len(text) > 0 {
			t.Errorf("%q is logged as %s", line, text)
		}
	}
}
