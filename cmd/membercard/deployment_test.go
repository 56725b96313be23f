package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"membercard/local/aws"
	"membercard/local/discovery"
	"membercard/local/stack"
	"membercard/local/template"
	"membercard/local/tools"
)

// says serves what a stack says about itself, changed for a test, and returns the flag
// --local for it.
func says(t *testing.T, s *stack.Stack, change func(*discovery.Stack)) string {
	t.Helper()
	said := tools.Describe(s)
	if change != nil {
		change(&said)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+discovery.EventsPath, tools.Events(s))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	said.API = server.URL
	t.Cleanup(publish(mux, func() discovery.Stack { return said }))
	return "--local=" + server.URL
}

func TestCheckDeployment(t *testing.T) {
	const plan = "../../local/plan.json"
	ticket := func(value string) func(*stack.Stack) {
		return func(s *stack.Stack) { s.Secrets.Put(tools.Describe(s).Resources["CardTicket"], value) }
	}
	inForce := func(plan string) func(*stack.Stack) {
		return func(s *stack.Stack) { s.Plans.Put("CardPlanBucket", "plan.json", []byte(plan)) }
	}
	for _, row := range []struct {
		name        string
		config      *stack.Config // of a stack of its own
		fault       func(*stack.Stack)
		said        func(*discovery.Stack)
		fails       []string // steps, without the route
		cause, cure string   // somewhere
	}{
		{name: "all in order, and no sync yet", cause: "cards: 1 to be changed; the next sync does that"},
		{name: "an API that is not there", said: func(d *discovery.Stack) { d.Outputs["ApiUrl"] = "http://127.0.0.1:1" },
			fails: []string{"routes ask for credentials"}, cause: "could not be reached", cure: "ApiUrl"},
		{name: "functions that are not there", said: func(d *discovery.Stack) {
			d.Resources["KeyCheckFunction"], d.Outputs["CardSyncFunctionName"] = "gone", "gone"
		}, fails: []string{"key-check", "card-sync"}, cause: "no function gone", cure: "deploy the template again"},
		{name: "no card ticket", fault: ticket("{}"), fails: []string{"card ticket"}, cause: "there is none yet", cure: "TicketFailuresAlarm"},
		{name: "an old card ticket", fault: ticket(`{"ticket":"a-ticket-that-is-secret","expires_at":"2026-01-01T00:00:00Z"}`),
			fails: []string{"card ticket"}, cause: "expired at 2026-01-01", cure: "refresh"},
		{name: "a damaged card ticket", fault: ticket(`{"ticket":"a-ticket-that-is-secret"}`), fails: []string{"card ticket"}, cause: "malformed", cure: "refresh"},
		{name: "an invalid plan", fault: inForce(`{"cards":[{}]}`), fails: []string{"card-sync"}, cause: "INVALID_PLAN", cure: "membercard plan rollback"},
		{name: "a card of another account", fault: inForce(`{"cards":[{"card_id":"pNobodys","fields":{"custom_url":"https://example.com/"}}]}`), fails: []string{"card-sync"}, cause: "pNobodys: WECHAT_", cure: "section Codes"},
		{name: "no cards in the plan", fault: inForce(`{"cards":[]}`)},
		{name: "what was given up", config: &stack.Config{Auth: stack.AuthIAM, Plan: plan, Unthrottled: true}, fault: func(s *stack.Stack) {
			s.Queues.Get("ConfirmDeadLetters").Send("{}", nil)
			s.Queues.Get("UndeliveredEvents").Send("{}", nil)
			s.Queues.Get("FailedInvocations").Send("{}", nil)
		}, fails: []string{"dead letters of brand-confirm", "events that did not reach the bus", "scheduled invocations that failed"}, cause: "messages in the queue: 1", cure: "section DeadLettersAlarm"},

		{name: "malformed secrets", config: &stack.Config{Auth: stack.AuthIAM, Plan: plan}, fault: func(s *stack.Stack) {
			s.Secrets.Put(stack.MerchantSecret, "{}")
			s.Secrets.Put(stack.OfficialAccountSecret, `{"appid":"wx"}`)
		}, fails: []string{"merchant's secret", "official account's secret", "key-check", "card-sync"}, cause: "mchid is missing", cure: "membercard secret official-account"},
		{name: "secrets that WeChat refuses, and no plan", config: &stack.Config{Auth: stack.AuthIAM}, fault: func(s *stack.Stack) {
			s.WeChatPay.RotateMerchantKey()
		}, fails: []string{"key-check"}, cause: `at \"signature accepted\"`, cure: "revoked or replaced"},
		{name: "an address that is not on the allow-list", config: &stack.Config{Auth: stack.AuthWechat, Plan: plan}, fault: func(s *stack.Stack) { s.OfficialAccount.Allow(false) },
			fails: []string{"card-sync"}, cause: "WECHAT_40164", cure: "section Codes"},
		{name: "open routes", config: &stack.Config{Auth: stack.NoAuth, Plan: plan, Unthrottled: true}, said: func(d *discovery.Stack) { d.Auth = stack.AuthIAM },
			fails: slices.Repeat([]string{"route"}, len(routes)), cause: "the route is open", cure: "FrontendAuth"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var s *stack.Stack
			if row.config != nil {
				s = ownStack(t, *row.config)
			} else {
				s = sharedStack(t)
				inForce(examplePlan)(s)
			}
			ticket(`{"ticket":"a-ticket-that-is-secret","expires_at":"2999-01-01T00:00:00Z"}`)(s)
			if row.fault != nil {
				row.fault(s)
			}
			o := tool(t, "check", "deployment", "--json", says(t, s, row.said))
			o.requireNo(t, "a-ticket-that-is-secret", s.WeChatPay.Files()["apiv3_key.txt"])
			var failed []string
			for _, s := range o.report(t).Steps {
				if !s.OK && s.Skipped == "" {
					name, _, _ := strings.Cut(s.Name, " POST ")
					name, _, _ = strings.Cut(name, " GET ")
					if failed = append(failed, name); s.Cause == "" || s.Cure == "" {
						t.Errorf("%+v", s)
					}
				}
			}
			if !slices.Equal(failed, row.fails) || (o.code == exitOK) != (row.fails == nil) {
				t.Fatalf("exit code %d, failed %q, want %q\n%s", o.code, failed, row.fails, o.out)
			}
			if !strings.Contains(o.out, row.cause) || !strings.Contains(o.out, row.cure) {
				t.Errorf("%q or %q is not in\n%s", row.cause, row.cure, o.out)
			}
			if row.fails == nil && (!strings.Contains(o.out, "16 of 16") || strings.Contains(o.out, `"warning"`)) {
				t.Errorf("%s", o.out)
			}
		})
	}
	for _, args := range [][]string{{}, {"--stack"}, {"--stack", "a", "b"}} {
		if o := tool(t, append([]string{"check", "deployment"}, args...)...); o.code != exitUsage {
			t.Errorf("%q: %+v", args, o)
		}
	}
}

// A notification is asked for, and arrives; or something on its way is broken.
func TestCheckDeploymentNotifies(t *testing.T) {
	t.Parallel()
	const name, unsigned = "a notification of WeChat Pay is on the event bus", "a notification without WeChat Pay's signature is refused"
	for _, row := range []struct {
		name   string
		suffix string     // NotificationPathSuffix
		fault  *aws.Fault // of EventBridge
		limit  time.Duration
		cause  string
	}{
		{"it arrives", "", nil, time.Minute, ""},
		{"it arrives at a path that nobody guesses", "/9yUx0123456789ab", nil, time.Minute, ""},
		{"the bus takes nothing", "", &aws.Fault{Status: 500, Code: "InternalFailure"}, 3 * time.Second, "it has not come within"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := ownStack(t, stack.Config{Auth: stack.AuthIAM, Plan: "../../local/plan.json", Unthrottled: true, Parameters: map[string]string{"NotificationPathSuffix": row.suffix}})
			local := says(t, s, nil)
			s.Events.Fail(row.fault)
			ctx, cancel := context.WithTimeout(t.Context(), row.limit)
			defer cancel()
			var out, errs strings.Builder
			run(ctx, []string{"check", "deployment", "--notify", "--json", local}, &console{in: strings.NewReader(""), out: &out, err: &errs})
			var r report
			if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
				t.Fatal(err, out.String(), errs.String())
			}
			if !slices.ContainsFunc(r.Steps, func(s step) bool { return s.Name == unsigned && s.OK }) {
				t.Errorf("not: %s: %s", unsigned, out.String())
			}
			i := slices.IndexFunc(r.Steps, func(s step) bool { return s.Name == name })
			if i < 0 || r.Steps[i].OK != (row.fault == nil) || !strings.Contains(r.Steps[i].Cause, row.cause) {
				t.Errorf("%s", out.String())
			}
		})
	}
}

// The table of routes is the template's.
func TestRoutesAreTheTemplates(t *testing.T) {
	deployed, err := template.Read("../../template.yaml", map[string]string{"MerchantSecretArn": "any", "OfficialAccountSecretArn": "any"})
	if err != nil {
		t.Fatal(err)
	}
	parameter := strings.NewReplacer("{card_id}", "!", "{code}", "!", "{user_card_code}", "!", "{activate_ticket+}", "!")
	var protected, open []string
	for _, r := range deployed.Routes {
		key := r.Function + " " + parameter.Replace(r.Key)
		if r.Authorization == "NONE" {
			open = append(open, key)
		} else {
			protected = append(protected, key)
		}
	}
	var table []string
	for _, r := range routes {
		table = append(table, fmt.Sprint(r.function, " ", r.method, " ", r.path))
	}
	slices.Sort(protected)
	slices.Sort(table)
	notifications := (&deployment{}).notifications()
	if !slices.Equal(protected, table) || !slices.Equal(open, []string{fmt.Sprint(notifications.function, " ", notifications.method, " ", notifications.path)}) {
		t.Errorf("the template has %q and, open, %q; the table has %q", protected, open, table)
	}
}

func TestAnswersOfRoutes(t *testing.T) {
	for _, row := range []struct {
		status int
		want   []int
		cure   string // empty: in order
	}{
		{403, []int{401, 403}, ""},
		{401, []int{401, 403}, ""},
		{401, []int{401}, ""},
		{200, []int{401, 403}, "FrontendAuth"},
		{400, []int{401, 403}, "FrontendAuth"},
		{204, []int{401}, "FrontendAuth"},
		{404, []int{401, 403}, "deploy the template again"},
		{429, []int{401, 403}, "less traffic"},
		{500, []int{401, 403}, "ApiErrorsAlarm"},
	} {
		bad := (&routeAnswer{status: row.status}).wrong(row.want...)
		if (bad == nil) != (row.cure == "") || bad != nil && !strings.Contains(bad.cure, row.cure) {
			t.Errorf("%d: %+v", row.status, bad)
		}
	}
	for _, row := range []struct {
		date     string
		ok, skip bool
	}{
		{time.Now().UTC().Format(http.TimeFormat), true, false},
		{time.Now().Add(4 * time.Minute).UTC().Format(http.TimeFormat), true, false},
		{time.Now().Add(-6 * time.Minute).UTC().Format(http.TimeFormat), false, false},
		{time.Now().Add(6 * time.Minute).UTC().Format(http.TimeFormat), false, false},
		{"", true, true},
	} {
		r := &report{}
		r.compareClock("AWS", row.date)
		if s := r.Steps[0]; s.OK != row.ok || (s.Skipped != "") != row.skip {
			t.Errorf("%q: %+v", row.date, s)
		}
	}
}

func TestEventsTail(t *testing.T) {
	s := ownStack(t, stack.Config{Auth: stack.AuthIAM, Unthrottled: true})
	const openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	local := says(t, s, nil)
	put := func(detailType, source, detail string) {
		t.Helper()
		bus := tools.Describe(s).Outputs["EventBusName"]
		if err := putEvent(t.Context(), s, bus, source, detailType, detail); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name        string
		args        []string
		says        []string
		keepsSecret bool
	}{
		{"masked", nil, []string{"BRAND_MEMBER_CARD_SP.USER_CARD.CREATE  EV-1", `"brand_id":"1004"`, `"openid":"…"`, `"user_information":"…"`}, true},
		{"as JSON", []string{"--json"}, []string{`"detail-type":"BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"`, `"user_card_code":"…"`}, true},
		{"with personal data", []string{"--personal-data"}, []string{openid}, false},
		{"of a type", []string{"--type", "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"}, []string{"EV-1"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			ended := make(chan outcome, 1)
			go func() {
				ended <- tool(t, append([]string{"events", "tail", "--count", "1", local}, row.args...)...)
			}()
			for deadline := time.After(10 * time.Second); ; {
				if slices.Contains(row.args, "--type") {
					put("MEMBERCARD.ACCEPT_CARD", "membercard", `{"id":"EV-2"}`)
				}
				put("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", "another", `{"id":"EV-0"}`)
				put("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", "membercard", `{"id":"EV-1","resource":{"brand_id":"1004","openid":"`+openid+`","user_card_code":"478515832665201811291234","user_information":{"name":"张三"}}}`)
				select {
				case o := <-ended:
					for _, text := range row.says {
						if !strings.Contains(o.out, text) {
							t.Errorf("%q is not in %s%s", text, o.out, o.err)
						}
					}
					if o.code != exitOK || strings.Contains(o.out, "EV-0") || strings.Contains(o.out, "EV-2") {
						t.Errorf("%+v", o)
					}
					if row.keepsSecret {
						o.requireNo(t, openid, "478515832665201811291234", "张三")
					}
					return
				case <-time.After(50 * time.Millisecond):
				case <-deadline:
					t.Fatal("no event was shown")
				}
			}
		})
	}
}

// What Lambda answers becomes a step with a cause and a cure; a function that is busy is no
// failure.
func TestInvoke(t *testing.T) {
	for _, row := range []struct {
		name                 string
		status               int
		code, failed, answer string // of Lambda, of the function, and of what it returns
		cause, cure          string
		skipped              string
	}{
		{"an answer", 200, "", "", `{"ok": true}`, "", "", ""},
		{"busy", 429, "TooManyRequestsException", "", `{}`, "", "", "it runs already, or the account's concurrency is used up; run this again in a minute"},
		{"no such function", 404, "ResourceNotFoundException", "", `{}`, "Lambda has no function f", "deploy the template again", ""},
		{"not allowed", 403, "AccessDeniedException", "", `{}`, "Lambda does not allow it", "lambda:InvokeFunction", ""},
		{"a failure with a cure", 200, "", "Unhandled", `{"errorMessage": "it broke; cure: mend it"}`, "the function failed: it broke", "mend it", ""},
		{"a failure without one", 200, "", "Unhandled", `{"errorMessage": "it broke"}`, "the function failed: it broke", "aws logs tail /group --since 10m", ""},
		{"another answer", 200, "", "", `[]`, "its answer is not the documented one", "deploy the template again", ""},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-Errortype", row.code)
			if row.failed != "" {
				w.Header().Set("X-Amz-Function-Error", row.failed)
			}
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.answer)
		}))
		d := &deployment{outputs: map[string]string{"FunctionLogGroup": "/group"}, aws: sdk.Config{
			Region: stack.Region, BaseEndpoint: &server.URL,
			Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
				return sdk.Credentials{AccessKeyID: stack.AccessKeyID, SecretAccessKey: stack.SecretAccessKey}, nil
			}),
		}}
		var answer struct{ OK bool }
		r := &report{}
		ok := (&app{console: &console{}}).invokeFor(t.Context(), r, "step", d, "f", map[string]string{}, &answer)
		server.Close()
		if want := row.cause+row.skipped == ""; ok != want || answer.OK != want || (len(r.Steps) == 0) != want {
			t.Errorf("%s: %v, %+v, %+v", row.name, ok, answer, r.Steps)
			continue
		}
		for _, s := range r.Steps {
			if s.Name != "step" || s.OK != (row.cause == "") || s.Skipped != row.skipped || !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
				t.Errorf("%s: %+v", row.name, s)
			}
		}
	}
}

// What is not known to say nothing about a person is masked.
func TestMask(t *testing.T) {
	for _, row := range []struct{ detail, want string }{
		{`{"id":"a","new":"b","resource":{"card_id":"c","code":"d","phone_number":"e"}}`, `{"id":"a","new":"…","resource":{"card_id":"c","code":"…","phone_number":"…"}}`},
		{`{"resource":{"brand_id":{"openid":"a"},"card_id":[1],"user_card_state":null}}`, `{"resource":{"brand_id":"…","card_id":"…","user_card_state":"…"}}`},
		{`{"resource":"openid"}`, `{"resource":"…"}`},
		{`{"resource":{"resource":{"openid":"a"}}}`, `{"resource":{"resource":"…"}}`},
		{`{}`, `{}`},
	} {
		var e busEvent
		if err := json.Unmarshal([]byte(`{"detail":`+row.detail+`}`), &e); err != nil {
			t.Fatal(err)
		}
		e.mask()
		if got := string(must(json.Marshal(e.Detail))); got != row.want {
			t.Errorf("%s\nwant %s", got, row.want)
		}
	}
}

// A new plan is applied at once, as S3's event has it in AWS, and a diff says what
// card-sync and service-module-sync would change.
func TestPlanOfAStack(t *testing.T) {
	s := ownStack(t, stack.Config{Auth: stack.AuthIAM, Plan: "../../local/plan.json", Unthrottled: true})
	local := says(t, s, nil)
	s.Plans.Put("CardPlanBucket", "plan.json", must(os.ReadFile("../../local/plan.json")))
	sale := write(t, "plan.json", strings.Replace(string(must(os.ReadFile("../../local/plan.json"))), "pages/offers", "pages/sale", 1))
	svg := write(t, "plan.svg", "")
	r := tool(t, "plan", "diff", sale, "--svg", svg, "--json", local).requirePassed(t)
	if len(r.Changes) != 1 || len(r.Cards) != 2 || r.Cards[0].Status != "updated" || !slices.Contains(r.Cards[0].Changed, "promotion_app_brand_pass") ||
		r.Cards[1].Status != "updated" || !slices.Equal(r.Cards[1].Changed, []string{"666"}) {
		t.Errorf("%+v", r)
	}
	if text := string(must(os.ReadFile(svg))); !strings.Contains(text, "<title>new year: 2027-01-01") {
		t.Errorf("%s", text)
	}
	if o := tool(t, "plan", "diff", sale, local); !strings.Contains(o.out, "card-sync would change now:\n  pbLatjvWOibDc5-TBnbUk1pD12o0: ") {
		t.Errorf("%s", o.out)
	}
	modules := write(t, "modules.json", `{"cards":[{"card_id":"pNew","service_modules":{"666":{"appid":"wx1","path":"p"},"7":null}}]}`)
	if o := tool(t, "plan", "diff", modules, local); !strings.Contains(o.out, "service-module-sync would change now:\n  pNew: 666, 7") || o.code != 0 {
		t.Errorf("%s", o.out)
	}
	for _, request := range s.OfficialAccount.Requests() {
		if request.Path == "/card/update" {
			t.Error("a diff changed a card")
		}
	}
	tool(t, "plan", "put", sale, "--json", local).requirePassed(t)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if r := tool(t, "plan", "diff", sale, "--json", local).requirePassed(t); r.Cards[0].Status == "unchanged" && r.Cards[1].Status == "unchanged" && len(r.Changes) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the plan was not applied")
		}
	}
}

// putEvent puts an event on the bus of a local stack.
func putEvent(ctx context.Context, s *stack.Stack, bus, source, detailType, detail string) error {
	client := eventbridge.New(eventbridge.Options{
		BaseEndpoint: &s.AWS, Region: stack.Region,
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: stack.AccessKeyID, SecretAccessKey: stack.SecretAccessKey}, nil
		}),
	})
	_, err := client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{
		{EventBusName: &bus, Source: &source, DetailType: &detailType, Detail: &detail},
	}})
	return err
}
