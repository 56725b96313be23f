package lambda

// This file writes a function's log: the output of its instances, a line at a time so
// that lines do not mix, and Lambda's platform events.

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

// platform logs one of Lambda's platform events.
func (f *Function) platform(event string, record map[string]any) {
	line, _ := json.Marshal(map[string]any{ // strings and numbers always marshal
		"time":   time.Now().UTC().Format(timeFormat),
		"type":   event,
		"record": record,
	})
	f.log.Print(string(line))
}

func (f *Function) logInitStart() {
	f.platform("platform.initStart", map[string]any{"functionName": f.cfg.Name, "functionVersion": "$LATEST"})
}

func (f *Function) logStart(inv *invocation) {
	f.platform("platform.start", map[string]any{"requestId": inv.id, "version": "$LATEST"})
}

func (f *Function) logReport(inv *invocation, res *Result) {
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	metrics := map[string]any{
		"durationMs":   milliseconds(res.Duration),
		"memorySizeMB": f.cfg.MemorySize,
	}
	if res.ColdStart {
		metrics["initDurationMs"] = milliseconds(res.InitDuration)
	}
	record := map[string]any{"requestId": inv.id, "status": "success", "metrics": metrics}
	if err := res.FunctionError; err != nil {
		record["status"], record["errorType"] = "error", err.Type
		if err.Type == "Sandbox.Timedout" {
			record["status"] = "timeout"
		}
	}
	f.platform("platform.report", record)
}
