//go:build unix

package faults

// This file measures how long each function takes to answer while WeChat or AWS hangs.

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/local/aws"
	"membercard/local/sample"
	"membercard/wechat/sandbox"
)

// How long callers wait. In a long run a tenth of it has to be left: the authorizer decides
// within 9 s, and a notification is answered within 4.5 s. A short run allows for other
// processes.
const (
	gateway   = 30 * time.Second // API Gateway
	decision  = 10 * time.Second // API Gateway, for the authorizer
	wechatPay = 5 * time.Second
)

// invocation is an event for a function. Queues, schedules and operators wait as long as
// the function's own timeout, which is a limit of 0.
type invocation struct {
	function string // its folder is functions/<function>
	caller   string
	limit    time.Duration
	event    []byte
}

// invocations returns an event for each route, and those of the other callers.
func (r *rig) invocations() (all []invocation) {
	for _, route := range r.Routes {
		if route.Key == notificationsRoute {
			all = append(all, invocation{filepath.Base(route.Folder), "WeChat Pay", wechatPay, sample.Notification(r.Stack, route.Key)})
			continue
		}
		all = append(all, invocation{filepath.Base(route.Folder), route.Key, gateway, r.requests[route.Key].Event(route.Key)})
	}
	var batch events.SQSEvent
	for n := range 5 {
		batch.Records = append(batch.Records, events.SQSMessage{
			MessageId: fmt.Sprint(n), ReceiptHandle: fmt.Sprint(n), EventSource: "aws:sqs", Attributes: map[string]string{"ApproximateReceiveCount": "1"},
			Body: fmt.Sprintf(`{"source": "membercard", "detail-type": "BRAND.USER_CARD.CREATE", "detail": {"id": "%d", "resource": {"brand_id": "1004", "card_id": "pCard", "openid": "%s", "user_card_code": "10%d"}}}`,
				n, openid(n), n),
		})
	}
	messages, _ := json.Marshal(batch) // strings always marshal
	cards := 1
	if *long {
		cards = 400 // more than there is time for
	}
	var plan []string
	for _, id := range r.OfficialAccount.AddCards(cards) {
		plan = append(plan, fmt.Sprintf(`{"card_id": %q, "fields": {"custom_url_name": "首页", "custom_url": "https://example.com/"}}`, id))
	}
	login := logins(r, 1)
	return append(all,
		invocation{"wechat-authorizer", "API Gateway, for a decision", decision, login.event},
		invocation{"brand-confirm", "SQS", 0, messages},
		invocation{"card-ext", "the schedule", 0, []byte(`{"action": "refresh"}`)},
		invocation{"key-check", "the schedule", 0, []byte(`{"action": "check"}`)},
		invocation{"card-sync", "the schedule, or a changed plan", 0, []byte(`{"action": "sync"}`)},
		invocation{"card-sync", "by hand, with a plan", 0, fmt.Appendf(nil, `{"action": "sync", "plan": {"cards": [%s]}}`, strings.Join(plan, ", "))},
		invocation{"service-module-sync", "the schedule, or a changed plan", 0, []byte(`{"action": "sync"}`)},
		invocation{"service-module-sync", "by hand, with a plan", 0, []byte(`{"action": "sync", "plan": {"cards": [{"card_id": "p", "service_modules": {"7": null}}]}}`)},
	)
}

// Every function answers before its caller gives up, in a new instance while everything
// that it calls accepts requests and never answers. The caller waits for the start, too.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	var rows sync.WaitGroup // all at once, without waiting for other tests: they take longest
	for what, hang := range map[string]func(*rig){
		"WeChat": func(r *rig) {
			for endpoint := range 2 {
				r.WeChatPay.Break(endpoint, sandbox.Hang(), always)
				r.OfficialAccount.Break(endpoint, sandbox.Hang(), always)
			}
		},
		"AWS":                               func(r *rig) { r.hangAWS(); r.Secrets.Fail(&aws.Fault{Hang: true}) },
		"all of AWS except Secrets Manager": (*rig).hangAWS,
	} {
		rows.Go(func() { t.Run(what+" hangs", func(t *testing.T) { answerInTime(t, hang) }) })
	}
	rows.Wait()
}

// answerInTime invokes every function once hang has begun the fault.
func answerInTime(t *testing.T, hang func(*rig)) {
	r := start(t, true)
	all, invoked := r.invocations(), map[string]bool{}
	hang(r)
	var running sync.WaitGroup
	for _, i := range all {
		folder := "functions/" + i.function
		invoked[folder] = true
		running.Go(func() {
			begun := time.Now()
			result, err := r.functions[folder].Invoke(t.Context(), i.event)
			took, limit := time.Since(begun), i.limit
			switch {
			case limit == 0 && err == nil:
				took, limit = result.Duration, r.Configs[folder].Timeout
			case *long:
				limit -= limit / 10
			default:
				limit += limit / 2
			}
			t.Logf("%s, %s: %.1f of %.0f s", i.function, i.caller, took.Seconds(), limit.Seconds())
			switch {
			case err != nil:
				t.Errorf("%s: %v", i.function, err)
			case result.FunctionError != nil && !ownError(result.FunctionError.Type):
				t.Errorf("%s: %v", i.function, result.FunctionError)
			case took > limit && !race:
				t.Errorf("%s answered %s after %.1f of %.0f s", i.function, i.caller, took.Seconds(), limit.Seconds())
			}
		})
	}
	running.Wait()
	for folder := range r.functions {
		if !invoked[folder] {
			t.Errorf("%s has no row", folder)
		}
	}
	r.stop()
	for _, leak := range r.watch.leaks {
		t.Error(leak)
	}
}

func (r *rig) hangAWS() {
	r.Plans.Fail(&aws.Fault{Hang: true})
	r.Events.Fail(&aws.Fault{Hang: true})
	r.Queues.Fail(&aws.Fault{Hang: true})
}

// ownError reports whether a function returned the error, not Lambda for it.
func ownError(kind string) bool {
	return !strings.HasPrefix(kind, "Sandbox.") && !strings.HasPrefix(kind, "Runtime.")
}
