package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount"
	wechattest "membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/plansync"
	"membercard/shared/plansync/plansynctest"
)

// shown returns the answer of /card/get for a membership card with these members of
// base_info.
func shown(baseInfo string) string {
	return `{"errcode":0,"errmsg":"ok","card":{"card_type":"MEMBER_CARD","member_card":{"base_info":{` + baseInfo + `}}}}`
}

// emptyCard starts a WeChat whose cards have no fields and accept every update.
func emptyCard(t *testing.T) *wechattest.WeChat {
	return wechattest.Start(t, func(c wechattest.Call) string {
		if c.Path == "/card/get" {
			return shown(`"status":"CARD_STATUS_VERIFY_OK"`)
		}
		return taken
	})
}

func TestEvents(t *testing.T) {
	const plan = `{"cards":[{"card_id":"p","fields":{"center_title":"x"}}]}`
	for _, row := range []struct {
		kind, event string
		err         string // what the runtime gets to read, if it gets an error
		wants       string // in the answer
		updates     int
	}{
		{"a sync", `{"action":"sync"}`, "", `"not_applied":1,`, 1},
		{"a dry run", `{"action":"sync","dry_run":true}`, "", `"dry_run":true`, 0},
		{"a dry run, said to be none", `{"action":"sync","dry_run":false}`, "", `"dry_run":false`, 1},
		{"a sync with a plan", `{"action":"sync","plan":{"cards":[]}}`, "", `{"updated":0,"unchanged":0,"not_applied":0,"failed":0,"deferred":0,"dry_run":false,"cards":[]}`, 0},
		{"a sync with a plan that is none", `{"action":"sync","plan":{}}`, "", `"INVALID_PLAN"`, 0},
		{"a sync with null for a plan", `{"action":"sync","plan":null}`, "", `"INVALID_PLAN"`, 0},
		{"a request of API Gateway", `{"version":"2.0","routeKey":"POST /card/update","rawPath":"/card/update","body":"{}"}`, "no action", "", 0},
		{"another action", `{"action":"purge"}`, `"purge"`, "", 0},
		{"another case", `{"action":"Sync"}`, `"Sync"`, "", 0},
		{"no action", `{"dry_run":true}`, "no action", "", 0},
		{"another event", `{"source":"aws.s3","detail-type":"Object Created"}`, "no action", "", 0},
		{"an action that is no text", `{"action":1}`, "", "", 0},
		{"a dry run that is no truth value", `{"action":"sync","dry_run":"true"}`, "", "", 0},
		{"a dry run, said twice", `{"action":"sync","dry_run":true,"dry_run":false}`, "dry_run must not be given twice", "", 0},
		{"a plan with a member twice", `{"action":"sync","plan":{"cards":[],"cards":[]}}`, "", `"INVALID_PLAN"`, 0},
		{"a misspelt dry run", `{"action":"sync","dryRun":true}`, "dryRun", "", 0},
		{"no JSON", `sync`, "", "", 0},
		{"nothing", ``, "", "", 0},
	} {
		t.Run(row.kind, func(t *testing.T) {
			w := emptyCard(t)
			f, _ := newFunction(wechattest.Source(), w.URL, plansynctest.NewBucket(plan).Start(t))
			raw, err := f.Invoke(t.Context(), []byte(row.event))
			if n := len(w.Received("/card/update")); n != row.updates {
				t.Errorf("%d updates, want %d", n, row.updates)
			}
			if row.wants == "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("%s, %v, want an error with %q", raw, err, row.err)
				}
				return
			}
			if err != nil || !strings.Contains(string(raw), row.wants) {
				t.Errorf("%s, %v, want %s", raw, err, row.wants)
			}
		})
	}
}

// The report has the documented shape.
func TestTheReport(t *testing.T) {
	w := wechattest.Start(t, func(c wechattest.Call) string {
		switch {
		case strings.Contains(c.Body, `"gone"`):
			return `{"errcode":40053,"errmsg":"invalid actioninfo, please check card_id"}`
		case c.Path == "/card/update":
			return taken
		case strings.Contains(c.Body, `"same"`):
			return shown(`"center_title":"x"`)
		}
		return shown(`"center_title":"old"`)
	})
	f, records := newFunction(wechattest.Source(), w.URL, plansynctest.NewBucket("").Start(t))
	raw, err := f.Invoke(t.Context(), []byte(`{"action":"sync","dry_run":true,"plan":{"cards":[
		{"card_id":"other","fields":{"center_title":"x"}},{"card_id":"same","fields":{"center_title":"x"}},{"card_id":"gone","fields":{"center_title":"x"}},{"card_id":"none","fields":{}},{"card_id":"new","service_modules":{"666":null}}]}}`))
	const want = `{"updated":1,"unchanged":2,"not_applied":0,"failed":1,"deferred":0,"dry_run":true,"cards":[` +
		`{"card_id":"other","status":"updated","changed":["center_title"]},{"card_id":"same","status":"unchanged"},` +
		`{"card_id":"gone","status":"failed","error":{"code":"WECHAT_40053","message":"invalid actioninfo, please check card_id","solution":"check card_id: the official account has no such card","request_id":"08F78BB5AF0610D302"}},` +
		`{"card_id":"none","status":"unchanged"}]}`
	if err != nil || string(raw) != want {
		t.Errorf("%s, %v, want\n%s", raw, err, want)
	}
	all := records.All(t)
	if len(all) != 1 {
		t.Fatalf("want one record:\n%s", records)
	}
	if record := all[0]; record["level"] != "ERROR" || record["Code"] != "CARDS_FAILED" || record["failed"] != 1.0 || record["unchanged"] != 2.0 || !strings.Contains(fmt.Sprint(record["failures"]), "gone: WECHAT_40053") {
		t.Errorf("the record is %s", records)
	}
	if len(w.Received("/card/update")) != 0 {
		t.Error("a dry run updates")
	}
}

func TestAnInvalidPlanChangesNothing(t *testing.T) {
	const bad = `{"cards":[{"card_id":"p","fields":{"center_title":"x"}},{"card_id":"q","fields":{"custom_url":"x","colour":"red"}},{"card_id":"p","fields":{}}]}`
	for _, row := range []struct {
		from  string
		event string
		plan  plansync.Object
		fails bool // as an alarm sees it
	}{
		{"the event", `{"action":"sync","plan":` + bad + `}`, plansynctest.NewBucket("").Start(t), true},
		{"the event of a dry run", `{"action":"sync","dry_run":true,"plan":` + bad + `}`, plansynctest.NewBucket("").Start(t), false},
		{"S3", `{"action":"sync"}`, plansynctest.NewBucket(bad).Start(t), true},
	} {
		from := wechattest.Source()
		f, records := newFunction(from, gatewaytest.Nowhere, row.plan)
		raw, err := f.Invoke(t.Context(), []byte(row.event))
		var a plansynctest.Answer
		if err != nil || json.Unmarshal(raw, &a) != nil || a.Error == nil || a.Error.Code != "INVALID_PLAN" || a.Error.Message == "" {
			t.Fatalf("%s: %s, %v", row.from, raw, err)
		}
		var paths []string
		for _, fault := range a.Error.Faults {
			if fault.Issue == "" {
				t.Errorf("%s: a fault without issue: %s", row.from, raw)
			}
			paths = append(paths, fault.Path)
		}
		if got := strings.Join(paths, " "); got != "/cards/1/fields/colour /cards/1/fields/custom_url /cards/2/card_id" {
			t.Errorf("%s: faults at %s", row.from, got)
		}
		if strings.Contains(string(raw), `"updated"`) || from.Asked() != 0 {
			t.Errorf("%s: %s, and the account was asked for %d times", row.from, raw, from.Asked())
		}
		if log := records.String(); !strings.Contains(log, "INVALID_PLAN") || !strings.Contains(log, "/cards/1/fields/custom_url") || strings.Contains(log, "SyncFailures") != row.fails {
			t.Errorf("%s: the record is %s", row.from, records)
		}
	}
}

func TestAPlanThatCannotBeRead(t *testing.T) {
	const most = 4 << 20
	const empty = `{"cards":[]}`
	answers := func(status int, code string) plansync.Object {
		b := plansynctest.NewBucket("")
		b.Refuse = func(string, string) (int, string) { return status, code }
		return b.Start(t)
	}
	deleted := plansynctest.NewBucket("")
	deleted.Deleted = true
	for _, row := range []struct {
		what  string
		plan  plansync.Object
		tells string // "" is a plan that can be read
	}{
		{"of 4 MiB", plansynctest.NewBucket(empty + strings.Repeat(" ", most-len(empty))).Start(t), ""},
		{"over 4 MiB", plansynctest.NewBucket(empty + strings.Repeat(" ", most-len(empty)+1)).Start(t), "4 MiB"},
		{"deleted", deleted.Start(t), "deleted"},
		{"without bucket", answers(404, "NoSuchBucket"), "NoSuchBucket"},
		{"not for this role, or not there and the role may not list the bucket", answers(403, "AccessDenied"), "AccessDenied"},
		{"of an S3 that is slow", answers(503, "SlowDown"), "SlowDown"},
		{"of an S3 that fails", answers(500, ""), "S3"},
		{"of an S3 that breaks off", answers(-1, ""), "reached"},
		{"of an S3 that is not there", plansynctest.At(gatewaytest.Nowhere), "reached"},
	} {
		t.Run(row.what, func(t *testing.T) {
			f, records := newFunction(wechattest.Source(), gatewaytest.Nowhere, row.plan)
			a := plansynctest.Invoke(t.Context(), t, f, `{"action":"sync"}`)
			if row.tells == "" {
				if a.Error != nil || a.Cards == nil {
					t.Errorf("%+v", a)
				}
				return
			}
			if a.Error == nil || a.Error.Code != "PLAN_UNREADABLE" || !strings.Contains(a.Error.Message, row.tells) || a.Error.Faults != nil || a.Cards != nil {
				t.Errorf("%+v, want PLAN_UNREADABLE with %q", a, row.tells)
			}
			if log := records.String(); !strings.Contains(log, `"SyncFailures":1`) || !strings.Contains(log, "PLAN_UNREADABLE") || !strings.Contains(log, "CARD_PLAN_KEY") || strings.Contains(log, "a-secret-access-key") {
				t.Errorf("the record is %s", log)
			}
		})
	}
}

// Before the first plan there is nothing to do, which is no failure.
func TestNoPlanYet(t *testing.T) {
	for event, dryRun := range map[string]string{`{"action":"sync"}`: "false", `{"action":"sync","dry_run":true}`: "true"} {
		b, from := plansynctest.NewBucket(""), wechattest.Source()
		f, records := newFunction(from, gatewaytest.Nowhere, b.Start(t))
		raw, err := f.Invoke(t.Context(), []byte(event))
		if want := `{"updated":0,"unchanged":0,"not_applied":0,"failed":0,"deferred":0,"dry_run":` + dryRun + `,"cards":[]}`; err != nil || string(raw) != want {
			t.Errorf("%s, %v, want %s", raw, err, want)
		}
		if record := records.All(t); len(record) != 1 || record[0]["level"] != "INFO" || record[0]["_aws"] != nil || from.Asked() != 0 || len(b.Written()) != 0 {
			t.Errorf("the record is %s", records)
		}
	}
}

// A truncated plan is not used.
func TestAPlanThatBreaksOff(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"cards":[]}`))
	}))
	t.Cleanup(s.Close)
	f, _ := newFunction(wechattest.Source(), gatewaytest.Nowhere, plansynctest.At(s.URL))
	if a := plansynctest.Invoke(t.Context(), t, f, `{"action":"sync"}`); a.Error == nil || a.Error.Code != "PLAN_UNREADABLE" {
		t.Errorf("%+v", a)
	}
}

// panics is an HTTP client that panics.
type panics struct{}

func (panics) Do(*http.Request) (*http.Response, error) { panic("a defect") }

// The runtime would end the process for a panic that reaches it.
func TestAPanicDoesNotEndTheProcess(t *testing.T) {
	defect := wechattest.Source()
	defect.OnGet = func(context.Context, int) { panic("a defect") }
	broken := plansynctest.At(gatewaytest.Nowhere)
	broken.Client = s3.New(broken.Client.Options(), func(o *s3.Options) { o.HTTPClient = panics{} })
	for _, row := range []struct {
		in, event string
		from      officialaccount.Source
		plan      plansync.Object
	}{
		{"a card", `{"action":"sync","plan":` + examplePlan + `}`, defect, plansynctest.NewBucket("").Start(t)},
		{"reading the plan", `{"action":"sync"}`, wechattest.Source(), broken},
	} {
		t.Run(row.in, func(t *testing.T) {
			f, records := newFunction(row.from, gatewaytest.Nowhere, row.plan)
			defer func() {
				if value := recover(); value != nil {
					t.Errorf("it reaches the runtime: %v", value)
				}
			}()
			raw, err := f.Invoke(t.Context(), []byte(row.event))
			if err == nil && !strings.Contains(string(raw), "SYSTEM_ERROR") {
				t.Errorf("%s", raw)
			}
			if !strings.Contains(records.String(), `"level":"ERROR"`) || !strings.Contains(records.String(), "handler_test.go") {
				t.Errorf("the record, without a level or a stack, is %s", records)
			}
		})
	}
}

// The campaigns in force are those at the time of the invocation.
func TestActiveCampaignsAreApplied(t *testing.T) {
	now := time.Now()
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	for _, row := range []struct{ what, from, until, want string }{
		{"begun", stamp(-time.Hour), "", "campaign"},
		{"to come", stamp(time.Hour), "", "always"},
		{"over", stamp(-2 * time.Hour), stamp(-time.Hour), "always"},
		{"on", stamp(-time.Hour), stamp(time.Hour), "campaign"},
	} {
		w := emptyCard(t)
		f, _ := newFunction(wechattest.Source(), w.URL, plansynctest.NewBucket("").Start(t))
		plansynctest.Invoke(t.Context(), t, f, `{"action":"sync","plan":`+campaigns(`"center_title":"always"`, during(row.from, row.until, `"center_title":"campaign"`))+`}`)
		if came := w.Received("/card/update"); len(came) != 1 || !strings.Contains(came[0], `"center_title":"`+row.want+`"`) {
			t.Errorf("%s: WeChat got %q", row.what, came)
		}
	}
}
