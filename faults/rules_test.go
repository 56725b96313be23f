//go:build unix

package faults

// This file has the rules for every scenario.

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
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
	// initCalls is how many requests for access tokens a function may make during init.
	// These are not in the log.
	initCalls = 10
	// maxSlower is the maximum ratio of the time of a call to its usual time.
	maxSlower = 1.5
	// noise is a difference of medians that other processes on the machine may cause.
	noise = 10 * time.Millisecond
)

// row is a scenario with its results. Unless noted otherwise, they are those of the
// requests that began during the fault.
type row struct {
	scenario

	until        time.Time // when the fault was about to begin
	begun, ended time.Time // of the fault
	healed       time.Time // when everything that ends the fault was done

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
}

// evaluate computes the row's results from what was observed.
func (r *row) evaluate(exchanges []exchange, w *watch) {
	r.errors, r.early, r.late, r.undue = map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	slices.SortFunc(exchanges, func(a, b exchange) int { return a.begun.Compare(b.begun) })
	w.mu.Lock() // WeChat may be answering a request of a function that has ended
	defer w.mu.Unlock()
	seen := map[int]bool{} // instances, since the fault began
	for _, s := range exchanges {
		if s.wrong != "" {
			r.wrong = append(r.wrong, s.wrong)
		}
		end := s.begun.Add(s.took)
		if s.code != "" && !end.Before(r.until) && !slices.Contains(r.codes, s.code) {
			r.undue[s.code]++
		}
		switch since := s.begun.Sub(r.healed); {
		case end.Before(r.until) && s.code != "":
			r.early[s.code]++
		case end.Before(r.until) && !s.cold:
			r.normal = append(r.normal, s.took)
		case s.begun.Before(r.begun), !s.begun.Before(r.ended) && since < 0:
			// The fault was just beginning or ending.
		case since < 0:
			r.count(s, !seen[s.pid])
			r.attempts += w.attempts[s.id]
			if s.code == "" && end.Before(r.ended) {
				r.untimely++
			}
			seen[s.pid] = true
		case s.code != "":
			r.recovered = max(r.recovered, since)
			if since >= r.limit() {
				r.late[s.code]++
			}
		case since >= r.limit():
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
func (r *row) count(s exchange, first bool) {
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

// broken returns the rules that the results break.
func (r *row) broken() (rules []string) {
	broken := func(isBroken bool, format string, args ...any) {
		if isBroken {
			rules = append(rules, fmt.Sprintf(format, args...))
		}
	}
	requests := len(r.took)
	broken(len(r.wrong) > 0, "wrong answers: %d, such as: %s", len(r.wrong), strings.Join(r.wrong[:min(1, len(r.wrong))], ""))
	broken(len(r.leaks) > 0, "the log: %s", strings.Join(r.leaks, "; "))
	broken(len(r.early) > 0, "errors before the fault: %v", r.early)
	broken(len(r.undue) > 0, "errors that callers must not get: %v", r.undue)
	broken(requests == 0, "no requests")
	broken(r.fails && r.untimely > 0, "%d requests succeeded although everything fails", r.untimely)
	broken(!r.fails && r.right == 0, "no request succeeded")
	broken(r.share > 0 && float64(requests-r.right) > r.share*float64(requests), "%d of %d requests had no right answer", requests-r.right, requests)
	broken(r.allReceived > 0 && r.allAttempts == 0, "the log has no calls to WeChat")
	broken(r.allReceived > r.allAttempts+initCalls*r.instances, "WeChat received %d requests, but the log has %d attempts", r.allReceived, r.allAttempts)
	calls, needed := r.received, requests*max(r.calls, 1)
	if r.fails { // WeChat may receive nothing, and a request fails with its first call
		calls, needed = r.attempts, requests
	} else if race { // WeChat receives calls late
		calls = r.attempts
	}
	broken(float64(calls) > maxCalls*float64(needed)+float64(firstCalls*r.instances), "%d calls to WeChat for %d requests of %d instances", calls, requests, r.instances)
	broken(r.noRetries && r.attempts > requests+r.instances, "%d attempts for %d requests", r.attempts, requests)
	broken(len(r.late) > 0 || r.recovered > r.limit(), "errors %v after the fault: %v", r.limit(), r.late)
	if !*long {
		return rules
	}
	usual, later := percentile(r.normal, 50), percentile(r.later, 50)
	broken(r.burst == 0 && len(r.later) == 0, "no requests %v after the fault", r.limit())
	broken(r.burst == 0 && ratio(later, usual) > maxSlower && later-usual > noise, "%v after the fault the median is %v, before it %v", r.limit(), later, usual)
	further, all := percentile(r.further, 99), percentile(slices.Concat(r.normal, r.later), 99)
	broken(r.settles && ratio(further, all) > maxSlower, "the p99 of further calls is %v, normally it is %v", further, all)
	return rules
}

// String describes the results in a line.
func (r *row) String() string {
	requests := max(len(r.took), 1)
	return fmt.Sprintf("%d requests, %d right, errors %v, p50/p99/max %v/%v/%v, calls per request attempted/received %.2f/%.2f, %d instances, normal again after %v; p99 of further calls %v, before and after %v",
		len(r.took), r.right, r.errors, percentile(r.took, 50), percentile(r.took, 99), percentile(r.took, 100),
		float64(r.attempts)/float64(requests), float64(r.received)/float64(requests), r.instances, r.recovered.Round(100*time.Millisecond),
		percentile(r.further, 99), percentile(slices.Concat(r.normal, r.later), 99))
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }

// percentile returns the p-th percentile of values, or 0 if there are none.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*p+99)/100-1].Round(100 * time.Microsecond)
}

// Every rule can be broken.
func TestRules(t *testing.T) {
	defer func(was bool) { *long = was }(*long)
	*long = true
	// A request a second, before, during and after a fault of 10 s.
	code := func(seconds ...int) func(*row, []exchange, *watch) {
		return func(_ *row, s []exchange, _ *watch) {
			for _, second := range seconds {
				s[second+10].code = "SYSTEM_ERROR"
			}
		}
	}
	slow := func(took time.Duration, from, until int) func(*row, []exchange, *watch) {
		return func(_ *row, s []exchange, _ *watch) {
			for second := from; second < until; second++ {
				s[second+10].took = took
			}
		}
	}
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	during := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for _, test := range []struct {
		name   string
		change func(*row, []exchange, *watch)
		want   string // the rule that is broken, "" if all hold
	}{
		{"nothing", code(), ""},
		{"an allowed error", code(5), ""},
		{"an allowed error soon after", code(20), ""},
		{"a wrong answer", func(_ *row, s []exchange, _ *watch) { s[15].wrong = "x" }, "wrong answers: 1, such as: x"},
		{"a wrong answer before", func(_ *row, s []exchange, _ *watch) { s[5].wrong = "x" }, "wrong answers"},
		{"a leak", func(_ *row, _ []exchange, w *watch) { w.leak("a token") }, "the log: a token"},
		{"an error before", code(-5), "errors before the fault"},
		{"another error", func(_ *row, s []exchange, _ *watch) { s[15].code = "CONFIG_ERROR" }, "must not get: map[CONFIG_ERROR:1]"},
		{"an error too late", code(45), "errors 30s after the fault: map[SYSTEM_ERROR:1]"},
		{"the row's own recovery", func(r *row, s []exchange, w *watch) { r.recovers = 38 * time.Second; code(45)(r, s, w) }, ""},
		{"too many errors", func(r *row, s []exchange, w *watch) { r.share = 0.1; code(4, 5)(r, s, w) }, "2 of 10 requests had no right answer"},
		{"no requests", func(r *row, _ []exchange, _ *watch) {
			r.begun, r.ended = r.begun.Add(time.Hour), r.ended.Add(time.Hour)
		}, "no requests"},
		{"a success in an outage", func(r *row, _ []exchange, _ *watch) { r.fails = true }, "10 requests succeeded"},
		{"no success", code(during...), "no request succeeded"},
		{"calls that are not in the log", func(_ *row, _ []exchange, w *watch) { w.received = append(w.received, make([]time.Time, 100)...) }, "WeChat received 160 requests"},
		{"a log without calls", func(_ *row, _ []exchange, w *watch) { clear(w.attempts) }, "the log has no calls"},
		{"too many calls", func(_ *row, s []exchange, w *watch) { // 12 and 5 are allowed
			w.attempts["15"] = 9
			for range 8 {
				w.received = append(w.received, s[15].begun)
			}
		}, "18 calls to WeChat for 10 requests"},
		{"too many calls in an outage", func(r *row, s []exchange, w *watch) {
			r.fails, w.attempts["15"] = true, 9
			code(during...)(r, s, w)
		}, "18 calls to WeChat for 10 requests"},
		{"a retry", func(r *row, _ []exchange, w *watch) { r.noRetries, w.attempts["15"] = true, 3 }, "12 attempts for 10 requests"},
		{"slow afterwards", slow(21*time.Millisecond, 40, 50), "the median is 21ms, before it 10ms"},
		{"slower afterwards by what other processes take", slow(20*time.Millisecond, 40, 50), ""},
		{"a slow first call", slow(time.Second, 0, 1), ""},
		{"a slow further call", slow(time.Second, 1, 2), "the p99 of further calls is 1s, normally it is 10ms"},
	} {
		r := &row{scenario: scenario{codes: []string{"SYSTEM_ERROR"}, settles: true}, until: begun, begun: begun, ended: begun.Add(10 * time.Second), healed: begun.Add(10 * time.Second)}
		w, exchanges := newWatch(), []exchange(nil)
		for i := range 60 {
			s := exchange{id: fmt.Sprint(i), begun: begun.Add(time.Duration(i-10) * time.Second), took: 10 * time.Millisecond, pid: 1}
			exchanges, w.received, w.attempts[s.id] = append(exchanges, s), append(w.received, s.begun), 1
		}
		test.change(r, exchanges, w)
		r.evaluate(exchanges, w)
		if broken := strings.Join(r.broken(), "; "); !strings.Contains(broken, cmp.Or(test.want, broken)) || test.want == "" && broken != "" {
			t.Errorf("%s: broken %q, want %q", test.name, broken, test.want)
		}
	}
}

// Whatever is private is found in a log, and so is what is no record.
func TestLeaks(t *testing.T) {
	for line, want := range map[string]string{
		`{"message":"answered","requestId":"1","attempts":2,"wechat_request_id":"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"}`: "",
		`{"type":"platform.report","record":{}}`:                                        "",
		`2026/01/01 00:00:00 {"errorMessage":"CONFIG_ERROR","errorType":"errorString"}`: "not JSON",
		`WARNING: DATA RACE`:                                      "not JSON",
		`{"message":"the token is ABCDEFGHIJKLMNOP"}`:             "the token ABCDEF…",
		`{"message":"` + openidPrefix + `00000001"}`:              "oFault…",
		`{"cause":"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"}`:            "MIIEvQ…",
		`{"cause":"FORGED"}`:                                      "FORGED…",
		`{"cause":"{\"errorMessage\":\"` + openidPrefix + `\"}"}`: "oFault…",
	} {
		w := newWatch()
		w.made["ABCDEFGHIJKLMNOP"] = "/v3/x"
		w.keepPrivate(`{"private_key":"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"}`)
		fmt.Fprintln(w, line)
		if leaks := strings.Join(w.leaks, "; "); want == "" && leaks != "" || !strings.Contains(leaks, want) {
			t.Errorf("%s: %q, want %q", line, leaks, want)
		}
	}
}
