package chaos

// This file has the rules for every scenario.

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// recovery is the longest time from the end of a fault until there are no errors
	// and calls take their usual time.
	recovery = 30 * time.Second
	// maxCalls is the maximum of calls to WeChat per request in the long run.
	maxCalls = 1.2
	// firstCalls is the maximum of additional calls by an instance, before its retry
	// budget is used up or because its secret was outdated.
	firstCalls = 5
	// maxSlower is the maximum ratio of the time of a call to its usual time.
	maxSlower = 1.5
	// noise is a difference of medians that other processes on the machine may cause.
	noise = 10 * time.Millisecond
)

// row is a scenario with its results. Unless noted otherwise, they are those of the
// requests that began during the fault.
type row struct {
	scenario
	short bool

	until        time.Time // when the fault was about to begin
	begun, ended time.Time // of the fault
	healed       time.Time // when everything that ends the fault was done

	requests  int
	right     int
	untimely  int // right answers that arrived during the fault
	errors    map[string]int
	instances int
	attempts  int // calls to WeChat that functions attempted
	received  int // calls that WeChat received during the fault
	took      []time.Duration
	further   []time.Duration // except each instance's first request
	normal    []time.Duration // before the fault
	later     []time.Duration // after the time for recovery
	recovered time.Duration   // from the end of the fault to the last error

	early                    map[string]int // errors before the fault
	late                     map[string]int // errors after the time for recovery
	undue                    map[string]int // errors that the scenario does not allow, at any time
	wrong                    []string
	leaks                    []string
	allAttempts, allReceived int // at any time

	broken violations
}

// evaluate computes the row's results from what was observed.
func (r *row) evaluate(samples []sample, w *watch) {
	r.errors, r.early, r.late, r.undue = map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	slices.SortFunc(samples, func(a, b sample) int { return a.begun.Compare(b.begun) })
	seen := map[int]bool{} // instances, since the fault began
	for _, s := range samples {
		if s.wrong != "" {
			r.wrong = append(r.wrong, s.wrong)
		}
		end := s.begun.Add(s.took)
		if end.Before(r.until) {
			if s.code != "" {
				r.early[s.code]++
			} else if !s.cold {
				r.normal = append(r.normal, s.took)
			}
			continue
		}
		if s.code != "" && !slices.Contains(r.codes, s.code) {
			r.undue[s.code]++
		}
		if s.begun.Before(r.begun) || !s.begun.Before(r.ended) && s.begun.Before(r.healed) {
			continue // the fault was just beginning or ending
		}
		if s.begun.Before(r.ended) {
			r.count(s, !seen[s.pid])
			r.attempts += w.attempts[s.id]
			if s.code == "" && end.Before(r.ended) {
				r.untimely++
			}
			seen[s.pid] = true
			continue
		}
		since := s.begun.Sub(r.healed)
		if s.code != "" {
			r.recovered = max(r.recovered, since)
		}
		if since >= r.limit() && s.code != "" {
			r.late[s.code]++
		} else if since >= r.limit() {
			r.later = append(r.later, s.took)
		}
	}
	r.instances = len(seen)
	r.leaks, r.allReceived = w.leaks, len(w.received)
	for _, at := range w.received {
		if !at.Before(r.begun) && at.Before(r.ended) {
			r.received++
		}
	}
	for _, n := range w.attempts {
		r.allAttempts += n
	}
}

// count counts a request that began during the fault. first means that it is the
// instance's first.
func (r *row) count(s sample, first bool) {
	r.requests++
	r.took = append(r.took, s.took)
	if s.code != "" {
		r.errors[s.code]++
	} else if s.wrong == "" {
		r.right++
	}
	if !first && !s.cold {
		r.further = append(r.further, s.took)
	}
}

// violations are descriptions of broken rules.
type violations []string

// addIf adds a violation if broken is set.
func (v *violations) addIf(broken bool, format string, args ...any) {
	if broken {
		*v = append(*v, fmt.Sprintf(format, args...))
	}
}

// check checks the row's results against the rules.
func (r *row) check() {
	broken := r.broken.addIf
	broken(len(r.wrong) > 0, "wrong answers: %d, the first: %s", len(r.wrong), first(r.wrong))
	broken(len(r.leaks) > 0, "the log: %s", strings.Join(r.leaks, "; "))
	broken(len(r.early) > 0, "errors before the fault: %s", list(r.early, plain))
	broken(len(r.undue) > 0, "errors that callers must not get: %s", list(r.undue, plain))
	broken(r.requests == 0, "no requests")
	broken(r.fails && r.untimely > 0, "%d requests succeeded although everything fails", r.untimely)
	broken(!r.fails && r.right == 0, "no request succeeded")
	broken(r.allReceived > 0 && r.allAttempts == 0, "the log has no calls to WeChat")
	broken(r.allReceived > r.allAttempts+r.tokens(), "WeChat received %d requests, but the log has %d attempts", r.allReceived, r.allAttempts)
	calls, needed := r.received, r.requests*max(r.calls, 1)
	if r.fails { // WeChat may receive nothing, and a request fails with its first call
		calls, needed = r.attempts, r.requests
	}
	broken(float64(calls) > maxCalls*float64(needed)+float64(firstCalls*r.instances), "%d calls to WeChat for %d requests of %d instances", calls, r.requests, r.instances)
	broken(len(r.late) > 0, "errors %v after the fault: %s", r.limit(), list(r.late, plain))
	broken(r.recovered > r.limit(), "not normal again after %v", r.limit())
	if r.short {
		return
	}
	if r.burst == 0 {
		usual, later := percentile(r.normal, 50), percentile(r.later, 50)
		broken(len(r.later) == 0, "no requests %v after the fault", r.limit())
		broken(ratio(later, usual) > maxSlower && later-usual > noise, "%v after the fault the median is %s ms, before it %s ms", r.limit(), ms(later), ms(usual))
	}
	if r.settles {
		normal := slices.Concat(r.normal, r.later)
		slower := ratio(percentile(r.further, 99), percentile(normal, 99))
		broken(slower > maxSlower, "the p99 of further calls is %s × normal: %s ms and %s ms", figure(slower), ms(percentile(r.further, 99)), ms(percentile(normal, 99)))
	}
}

// tokens returns how many requests for access tokens the functions may make during init.
// These are not in the log.
func (r *row) tokens() int { return r.instances * 10 }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }

func first(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	return texts[0]
}
