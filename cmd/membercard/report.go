package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"membercard/shared/plansync"
	"membercard/shared/strictjson"
)

// step is one thing that a command found in order or not.
type step struct {
	Name    string   `json:"name"`
	OK      bool     `json:"ok"`
	Detail  string   `json:"detail,omitempty"`  // what was found
	Notes   []string `json:"notes,omitempty"`   // what was mended
	Warning string   `json:"warning,omitempty"` // what is in order, but may not be for long
	Skipped string   `json:"skipped,omitempty"` // why it was not checked, which is no failure
	Cause   string   `json:"cause,omitempty"`   // of a failure, or of a warning: what was found and what was expected
	Cure    string   `json:"cure,omitempty"`    // what mends it

	RequestID string `json:"request_id,omitempty"` // WeChat's, of a failure
}

// report is the result of a command. With --json it is what is printed.
type report struct {
	OK    bool   `json:"ok"`
	Steps []step `json:"steps"`

	MchID               string  `json:"mchid,omitempty"`
	CertificateSerialNo string  `json:"certificate_serial_no,omitempty"`
	CertificateNotAfter string  `json:"certificate_not_after,omitempty"` // RFC 3339
	AppID               string  `json:"appid,omitempty"`
	NotifyURL           string  `json:"notify_url,omitempty"`
	Stored              *stored `json:"stored,omitempty"`

	Changes  []planChange    `json:"changes,omitempty"`
	Versions []planVersion   `json:"versions,omitempty"` // of the plan, newest first
	Cards    []plansync.Card `json:"cards,omitempty"`    // what the syncs would do

	Outputs map[string]string `json:"outputs,omitempty"` // of the stack

	Reconciled *tally    `json:"reconciled,omitempty"` // also by the runs that this one went on with
	Findings   []finding `json:"findings,omitempty"`   // of this run

	after []string // lines for a reader at the end
}

// stored is what became of a secret in Secrets Manager.
type stored struct {
	ARN       string `json:"arn"`
	VersionID string `json:"version_id"`
	Created   bool   `json:"created"`   // the secret did not exist
	Unchanged bool   `json:"unchanged"` // it had this value already
}

// add adds steps. One that is skipped is in order, as in key-check's result.
func (r *report) add(steps ...step) {
	for _, s := range steps {
		s.OK = s.OK || s.Skipped != ""
		r.Steps = append(r.Steps, s)
	}
}

// fail adds a failed step.
func (r *report) fail(name string, f *fault) {
	r.add(step{Name: name, Cause: f.cause, Cure: f.cure})
}

// check adds a step, which failed if there is a fault, and reports whether there is none.
func (r *report) check(s step, bad *fault) bool {
	if bad != nil {
		r.fail(s.Name, bad)
		return false
	}
	s.OK = true
	r.add(s)
	return true
}

// passed reports whether a step is there, in order and not skipped.
func (r *report) passed(name string) bool {
	return slices.ContainsFunc(r.Steps, func(s step) bool { return s.Name == name && s.OK && s.Skipped == "" })
}

// failedAt reports whether one of these steps failed.
func (r *report) failedAt(names ...string) bool {
	return slices.ContainsFunc(r.Steps, func(s step) bool { return !s.OK && slices.Contains(names, s.Name) })
}

func (r *report) failed() (n int) {
	for _, s := range r.Steps {
		if !s.OK {
			n++
		}
	}
	return n
}

// asFault returns err as a fault.
func asFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	return &fault{cause: err.Error()}
}

// fault is a mistake: what was found, what was expected, and what mends it.
type fault struct {
	cause, cure string
	requestID   string // WeChat's
	missing     bool   // there is no such thing yet
	denied      bool   // IAM does not allow it
	busy        bool   // it may work in a minute
}

func (f *fault) Error() string {
	if f.cure == "" {
		return f.cause
	}
	return f.cause + "\n" + f.cure
}

func faultf(cure, cause string, args ...any) *fault {
	return &fault{cause: fmt.Sprintf(cause, args...), cure: cure}
}

// interrupted is the fault of a request that Ctrl-C ended.
func interrupted() *fault { return faultf("run this again", "it was interrupted") }

// errFailed ends a command whose report says what failed.
var errFailed = errors.New("a check failed")

// usageError is a wrong command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// print prints a report to w, and returns errFailed if a step failed.
func (c *console) print(w io.Writer, r *report) error {
	failed := r.failed()
	r.OK = failed == 0
	if c.json {
		for i := range r.Steps {
			for _, text := range []*string{&r.Steps[i].Skipped, &r.Steps[i].Warning, &r.Steps[i].Cause, &r.Steps[i].Cure} {
				*text = c.typed(*text)
			}
		}
		fmt.Fprintf(w, "%s\n", strictjson.Encode(r))
	} else {
		colour := c.colour && w == c.out
		for i, s := range r.Steps {
			if i+1 < len(r.Steps) && s.Cure == r.Steps[i+1].Cure {
				s.Cure = "" // it stands below the last step that it mends
			}
			s.print(w, colour, c.say)
		}
		for _, line := range r.after {
			fmt.Fprintln(w, c.say(line))
		}
		if failed > 0 {
			fmt.Fprintln(w, c.say(fmt.Sprintf("%d of %d failed", failed, len(r.Steps))))
		}
	}
	if failed > 0 {
		return errFailed
	}
	return nil
}

func (s *step) print(w io.Writer, colour bool, say func(string) string) {
	mark, ansi := "✗", "31"
	switch {
	case s.Skipped != "":
		mark, ansi = "-", "2"
	case s.Warning != "":
		mark, ansi = "!", "33"
	case s.OK:
		mark, ansi = "✓", "32"
	}
	if colour {
		mark = "\x1b[" + ansi + "m" + mark + "\x1b[0m"
	}
	name, cause := s.Name, s.Cause
	if strings.HasPrefix(cause, name+" ") { // a sentence about the place that the step is named after
		name, cause = cause, ""
	}
	fmt.Fprintf(w, "%s %s", mark, say(name))
	if text := s.Detail + s.Skipped; text != "" {
		fmt.Fprint(w, say(": "), say(text))
	}
	fmt.Fprintln(w)
	for _, line := range []struct{ name, text string }{
		{"note", strings.Join(s.Notes, "; ")}, {"warning", s.Warning}, {"cause", cause}, {"cure", s.Cure}, {"request_id", s.RequestID},
	} {
		if line.text != "" {
			fmt.Fprintf(w, "    %s%s\n", say(line.name+": "), strings.ReplaceAll(say(line.text), "\n", "\n      "))
		}
	}
}

// printError prints an error that no report has.
func (c *console) printError(err error) {
	f := asFault(err)
	if c.json {
		members := map[string]string{"cause": f.cause, "cure": c.typed(f.cure)}
		if f.requestID != "" {
			members["request_id"] = f.requestID
		}
		fmt.Fprintf(c.out, "%s\n", strictjson.Encode(map[string]any{"ok": false, "error": members}))
		return
	}
	fmt.Fprintln(c.err, "membercard:", c.say(f.cause))
	if f.cure != "" {
		fmt.Fprintln(c.err, c.say("cure: ")+c.say(f.cure))
	}
	if f.requestID != "" {
		fmt.Fprintln(c.err, "request_id:", f.requestID)
	}
}
