package lambda

// This file writes a function's log: the output of its instances, a line at a time so
// that lines do not mix, and Lambda's reports of invocations that failed.

import (
	"bytes"
	"encoding/json"
	"log"
	"time"
)

// timeFormat is the format of times in Lambda's logs and errors. They are in UTC.
const timeFormat = "2006-01-02T15:04:05.000Z"

// A lineWriter buffers its input and writes whole lines. flush writes the rest.
type lineWriter struct {
	w    *log.Logger
	line []byte // incomplete
}

// Write always succeeds, because a failing log must not end the function.
func (l *lineWriter) Write(p []byte) (int, error) {
	l.line = append(l.line, p...)
	if end := bytes.LastIndexByte(l.line, '\n') + 1; end > 0 {
		l.w.Print(string(l.line[:end]))
		l.line = append(l.line[:0], l.line[end:]...)
	}
	return len(p), nil
}

func (l *lineWriter) flush() {
	if len(l.line) > 0 {
		_, _ = l.Write([]byte{'\n'})
	}
}

// logFailure logs how an invocation failed, in Lambda's JSON log format.
func (f *Function) logFailure(requestID string, failed *FunctionError) {
	status := "error"
	if failed.Type == "Sandbox.Timedout" {
		status = "timeout"
	}
	line, _ := json.Marshal(map[string]any{ // strings always marshal
		"time":   time.Now().UTC().Format(timeFormat),
		"type":   "platform.report",
		"record": map[string]any{"requestId": requestID, "status": status, "errorType": failed.Type},
	})
	f.log.Print(string(line))
}
