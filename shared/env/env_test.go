package env

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The process goes on after a panic, and the operator gets a record without what may be
// secret.
func TestPanicDuringInit(t *testing.T) {
	written, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func(before *os.File) { os.Stdout = before }(os.Stdout)
	os.Stdout = written
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
