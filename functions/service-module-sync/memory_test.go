package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"membercard/shared/cardplan"
	"membercard/shared/plansync"
	"membercard/shared/plansync/plansynctest"
	"membercard/shared/telemetry/telemetrytest"
)

// Without a memory, or with a spoilt one, everything is sent again. That it was spoilt is a
// failure that the operator sees once, for it is replaced.
func TestASpoiltMemory(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		memory string // "" is none
		spoilt bool
	}{
		{``, false},
		{`{"cards":{}}`, false},
		{`{"cards":{"p0":{}}}`, false},
		{`{"cards":{"p1":{"666":` + applied("null", 0) + `}}}`, false},
		{` `, true},
		{`null`, true},
		{`[]`, true},
		{`{}`, true},
		{`{"cards":`, true},
		{`{"cards":null}`, true},
		{`{"cards":[]}`, true},
		{`{"cards":{"p0":null}}`, true},
		{`{"cards":{"p0":{"666":null}}}`, true},
		{`{"cards":{"p0":{"666":{"module":null}}}}`, true},
		{`{"cards":{"p0":{"666":{"module":null,"at":"yesterday"}}}}`, true},
		{`{"cards":{"p0":{"666":{"module":"pages/offers","at":"2027-01-01T00:00:00Z"}}}}`, true},
		{kept(`"666":`+applied("null", 0)) + `}`, true},
	} {
		for _, plan := range []string{planOf(`"666":null`), `{"cards":[]}`} {
			t.Run(row.memory+" "+plan, func(t *testing.T) {
				t.Parallel()
				w, b := startWeChatPay(t), plansynctest.NewBucket(plan)
				if row.memory != "" {
					b.Put(plansync.ServiceModules, row.memory)
				}
				f, records := newFunction(t, w, b.Start(t))
				a := plansynctest.Invoke(t.Context(), t, f, byHand)
				if calls := w.received(); a.Updated != len(a.Cards) || (calls != "") != (len(a.Cards) > 0) {
					t.Errorf("%+v, the calls are %s", a, calls)
				}
				plansynctest.Invoke(t.Context(), t, f, byHand)
				if calls := w.received(); calls != "" {
					t.Errorf("the second time the calls are %s", calls)
				}
				var failures []string
				for _, record := range records.All(t) {
					if record["SyncFailures"] == 1.0 {
						failures = append(failures, fmt.Sprint(record["cause"], record["cure"]))
					}
				}
				if (len(failures) == 1) != row.spoilt || len(failures) > 1 || row.spoilt && !strings.Contains(failures[0], "service-modules.json in plans is spoilt") {
					t.Errorf("the failures are %q", failures)
				}
			})
		}
	}
}

// A memory that S3 does not read or take stops nothing, and is a failure that the operator
// sees. What can't be read is sent again, and what can't be written by the next run.
func TestAMemoryThatCannotBeKept(t *testing.T) {
	t.Parallel()
	const cure = "let the function's role read and write service-modules.json"
	for _, row := range []struct {
		what, method string
		status       int
		code         string
		calls, next  string // of the run, and of the next one, with an S3 that works again
		failures     int
	}{
		{"may not be read", "GET", 403, "AccessDenied", "PATCH p0/66, PATCH p0/666", "PATCH p0/666", 2},
		{"can't be read now", "GET", 503, "SlowDown", "PATCH p0/66, PATCH p0/666", "PATCH p0/666", 2},
		{"can't be reached to be read", "GET", -1, "", "PATCH p0/66, PATCH p0/666", "PATCH p0/666", 2},
		{"may not be written", "PUT", 403, "AccessDenied", "PATCH p0/666", "PATCH p0/666", 1},
		{"can't be written now", "PUT", 503, "SlowDown", "PATCH p0/666", "PATCH p0/666", 1},
		{"somebody always writes it first", "PUT", 412, "PreconditionFailed", "PATCH p0/666", "PATCH p0/666", 1},
		{"somebody always writes it at the same time", "PUT", 409, "ConditionalRequestConflict", "PATCH p0/666", "PATCH p0/666", 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w, b := startWeChatPay(t), plansynctest.NewBucket(planOf(`"66":`+offers+`,"666":`+offers))
			w.cards["p0/66"], w.cards["p0/666"] = offers, newYear
			b.Put(plansync.ServiceModules, kept(`"66":`+applied(offers, 0)+`,"666":`+applied(newYear, 0)))
			b.Refuse = func(method, name string) (int, string) {
				if method == row.method && name == plansync.ServiceModules {
					return row.status, row.code
				}
				return 0, ""
			}
			f, records := newFunction(t, w, b.Start(t))
			if a := plansynctest.Invoke(t.Context(), t, f, byHand); a.Updated != 1 || w.received() != row.calls {
				t.Errorf("%+v", a)
			}
			failures := 0
			for _, record := range records.All(t) {
				if record["SyncFailures"] == 1.0 {
					failures++
					if !strings.HasPrefix(fmt.Sprint(record["cure"]), cure) {
						t.Errorf("the record is %v", record)
					}
				}
			}
			if failures != row.failures {
				t.Errorf("%d failures: %s", failures, records)
			}
			b.Refuse = nil
			if a := plansynctest.Invoke(t.Context(), t, f, byHand); a.Updated != 1 || w.received() != row.next {
				t.Errorf("then %+v", a)
			}
		})
	}
}

// What another run has written meanwhile is kept, and what both did is forgotten.
func TestTwoRunsThatRemember(t *testing.T) {
	t.Parallel()
	before := `"6":` + applied(newYear, time.Hour)
	for _, row := range []struct {
		what       string
		theirs     string // the object before this run writes it; "" is none
		remembered string
	}{
		{"the same", kept(before), "p0/6=pages/offers p0/66=pages/offers p0/666=-"},
		{"another card", kept(`"6":` + applied(newYear, time.Hour) + `},"p1":{"9":` + applied("null", 0)), "p0/6=pages/offers p0/66=pages/offers p0/666=- p1/9=-"},
		{"a module that this run changes", kept(`"6":` + applied(offers, 0)), "p0/66=pages/offers p0/666=-"},
		{"a module that this run applies first", kept(before + `,"66":` + applied(newYear, 0)), "p0/6=pages/offers p0/666=-"},
		{"no module any more", `{"cards":{}}`, "p0/66=pages/offers p0/666=-"},
		{"nothing, because it was deleted", ``, "p0/66=pages/offers p0/666=-"},
		{"spoilt", `{"cards":`, "p0/66=pages/offers p0/666=-"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w, b := startWeChatPay(t), plansynctest.NewBucket(planOf(`"6":`+offers+`,"66":`+offers+`,"666":null`))
			b.Put(plansync.ServiceModules, kept(before))
			w.answer = func(call string) (int, string) {
				if call == "DELETE p0/666" { // the last call before the run writes
					b.Put(plansync.ServiceModules, row.theirs)
				}
				return 0, ""
			}
			puts := 0
			b.Refuse = func(method, name string) (int, string) {
				if method == "PUT" && name == plansync.ServiceModules {
					if puts++; puts == 1 { // the two write at the same time
						return 409, "ConditionalRequestConflict"
					}
				}
				return 0, ""
			}
			f, _ := newFunction(t, w, b.Start(t))
			if a := plansynctest.Invoke(t.Context(), t, f, byHand); a.Updated != 1 {
				t.Errorf("%+v", a)
			}
			if got := remembers(t, b.Content(plansync.ServiceModules)); got != row.remembered {
				t.Errorf("%s is remembered, want %s", got, row.remembered)
			}
		})
	}
}

// direct is an HTTP client that calls a handler, so that a test may have a clock of its own.
type direct struct{ http.Handler }

func (d direct) Do(request *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, request)
	return w.Result(), nil
}

// newMemory returns a memory in a bucket that is called directly.
func newMemory(b http.Handler) (*memory, *telemetrytest.Records) {
	log, records := telemetrytest.New()
	object := plansynctest.At("http://s3.example").Beside(plansync.ServiceModules)
	object.Client = s3.New(object.Client.Options(), func(o *s3.Options) { o.HTTPClient = direct{b} })
	return &memory{object: object, log: log}, records
}

// During a run what was applied is written every 45 s, if there is something new.
func TestTheMemoryIsWrittenRegularly(t *testing.T) {
	for _, row := range []struct {
		what    string
		refuse  func(since time.Duration) (int, string)
		written string // after how many seconds
		failed  int
	}{
		{"all is well", nil, "45 90 180", 0},
		{"S3 refuses it for a minute", func(since time.Duration) (int, string) {
			if since < time.Minute {
				return 503, "SlowDown"
			}
			return 0, ""
		}, "90 180", 1},
		{"a defect", func(since time.Duration) (int, string) {
			if since < time.Minute {
				panic("a defect")
			}
			return 0, ""
		}, "90 180", 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				b := plansynctest.NewBucket("")
				var written []string
				b.Refuse = func(method, _ string) (status int, code string) {
					if method == "PUT" && row.refuse != nil {
						status, code = row.refuse(time.Since(begun))
					}
					if method == "PUT" && status == 0 {
						written = append(written, fmt.Sprint(time.Since(begun).Seconds()))
					}
					return status, code
				}
				m, records := newMemory(b)
				m.read(t.Context())
				stop := m.writeRegularly(t.Context())
				want := ""
				for second := range 190 {
					if second < 60 || second == 150 {
						id := fmt.Sprintf("%03d", second)
						m.remember(moduleKey{"p0", id}, nil, time.Now())
						want += " p0/" + id + "=-"
					}
					time.Sleep(time.Second)
				}
				stop()
				if got := strings.Join(written, " "); got != row.written || strings.Count(records.String(), `"SyncFailures":1`) != row.failed {
					t.Errorf("written after %s s: %s", got, records)
				}
				if got := remembers(t, b.Content(plansync.ServiceModules)); " "+got != want {
					t.Errorf("%s is remembered", got)
				}
			})
		})
	}
}

// Another run writes the object just before this one does, which merges the two.
func TestAMergedMemory(t *testing.T) {
	changed, before, p1 := moduleKey{"p0", "666"}, `"6":`+applied(newYear, 0), `"p1":{"9":`+applied("null", 0)+`}`
	module := func(path string) *cardplan.Module { return &cardplan.Module{AppID: "wx", Path: path} }
	for _, row := range []struct {
		what       string
		change     func(m *memory)        // of this run
		theirs     func(m *memory) string // the object that the other run wrote
		remembered string
	}{
		{"a module that only the other run changed", func(m *memory) { m.remember(changed, module("first"), time.Now()) },
			func(*memory) string { return kept(`"6":` + applied(offers, 0)) }, "p0/6=pages/offers p0/666=first"},
		{"a module that only this run forgot", func(m *memory) { m.forget(moduleKey{"p0", "6"}) },
			func(*memory) string { return `{"cards":{"p0":{` + before + `},` + p1 + `}}` }, "p1/9=-"},
		{"a module that is changed while the object is written", func(m *memory) { m.remember(changed, module("first"), time.Now()) },
			func(m *memory) string {
				m.forget(changed)
				m.remember(changed, module("second"), time.Now())
				return `{"cards":{` + p1 + `}}`
			}, "p0/666=second p1/9=-"},
		{"this run itself wrote it, and S3's answer was lost", func(m *memory) { m.remember(changed, module("first"), time.Now()) },
			func(m *memory) string { return string(m.current.encode()) }, "p0/6=pages/new-year p0/666=first"},
	} {
		t.Run(row.what, func(t *testing.T) {
			b := plansynctest.NewBucket("")
			b.Put(plansync.ServiceModules, kept(before))
			m, _ := newMemory(b)
			m.read(t.Context())
			puts := 0
			b.Refuse = func(method, name string) (int, string) {
				if method == "PUT" {
					if puts++; puts == 1 {
						b.Put(name, row.theirs(m))
					}
				}
				return 0, ""
			}
			row.change(m)
			m.write(t.Context())
			if got := remembers(t, b.Content(plansync.ServiceModules)); got != row.remembered {
				t.Errorf("%s is remembered, want %s", got, row.remembered)
			}
		})
	}
}

// A panic ends neither the process nor the lease of the run.
func TestAPanicGivesTheLeaseBack(t *testing.T) {
	w, b := startWeChatPay(t), plansynctest.NewBucket(planOf(`"666":null`))
	b.Refuse = func(_, name string) (int, string) {
		if name == plansync.ServiceModules {
			panic("a defect")
		}
		return 0, ""
	}
	plan := plansynctest.At("http://s3.example")
	plan.Client = s3.New(plan.Client.Options(), func(o *s3.Options) { o.HTTPClient = direct{b} })
	f, records := newFunction(t, w, plan)
	if answer, err := f.Invoke(context.Background(), []byte(byHand)); err == nil || !strings.Contains(err.Error(), "SYSTEM_ERROR") {
		t.Errorf("%s, %v", answer, err)
	}
	if lease := b.Content(plansync.ServiceModulesLease); lease != "{}" {
		t.Errorf("the lease is %s: %s", lease, records)
	}
}
