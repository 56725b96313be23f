package chaos

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"membercard/contract"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/local/template"
)

// observed is what a row observed: requests before, during and after a fault of 10 s.
func observed(change func(*scenario, *[]sample, *watch)) *row {
	var begun = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := scenario{name: "x", rate: 1, codes: []string{"SYSTEM_ERROR"}, settles: true}
	w := newWatch()
	var samples []sample
	for second := -10; second < 50; second++ {
		id := fmt.Sprint(second)
		samples = append(samples, sample{id: id, begun: begun.Add(time.Duration(second) * time.Second), took: 10 * time.Millisecond, pid: 1})
		w.attempts[id] = 1
		w.received = append(w.received, begun.Add(time.Duration(second)*time.Second))
	}
	change(&s, &samples, w)
	r := &row{scenario: s, until: begun, begun: begun, ended: begun.Add(10 * time.Second), healed: begun.Add(10 * time.Second)}
	r.evaluate(samples, w)
	r.check()
	return r
}

// at returns the request of a second since the fault began.
func at(samples []sample, second int) *sample { return &samples[second+10] }

// TestFaults is a short run of all rows, with the race detector in the functions.
func TestFaults(t *testing.T) {
	if os.Getenv("FAULTS") != "race" {
		t.Skip("takes minutes; run it with FAULTS=race")
	}
	t.Chdir("../..")
	project, err := stack.Build(t.Context(), ".", "-race")
	if err != nil {
		t.Fatal(err)
	}
	defer project.Close()
	agreed, err := contract.Load("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), project, agreed, Config{Short: true, Race: true, Seed: 1, Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range report.Broken() {
		t.Error(broken)
	}
}

// Every rule can be broken.
func TestRules(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*scenario, *[]sample, *watch)
		want   string // the rule that is broken, "" if all hold
	}{
		{"nothing", func(*scenario, *[]sample, *watch) {}, ""},
		{"an allowed error", func(_ *scenario, s *[]sample, _ *watch) { at(*s, 5).code = "SYSTEM_ERROR" }, ""},
		{"an allowed error soon after", func(_ *scenario, s *[]sample, _ *watch) { at(*s, 20).code = "SYSTEM_ERROR" }, ""},
		{"a wrong answer", func(_ *scenario, s *[]sample, _ *watch) { at(*s, 5).wrong = "another's token" }, "wrong answers: 1, the first: another's token"},
		{"a wrong answer before", func(_ *scenario, s *[]sample, _ *watch) { at(*s, -5).wrong = "x" }, "wrong answers"},
		{"a leak", func(_ *scenario, _ *[]sample, w *watch) { w.leak("a token") }, "the log: a token"},
		{"an error before", func(_ *scenario, s *[]sample, _ *watch) { at(*s, -5).code = "SYSTEM_ERROR" }, "errors before the fault"},
		{"another error", func(_ *scenario, s *[]sample, _ *watch) { at(*s, 5).code = "CONFIG_ERROR" }, "errors that callers must not get: CONFIG_ERROR 1"},
		{"an error too late", func(_ *scenario, s *[]sample, _ *watch) { at(*s, 45).code = "SYSTEM_ERROR" }, "errors 30s after the fault: SYSTEM_ERROR 1"},
		{"the row's own recovery", func(c *scenario, s *[]sample, _ *watch) {
			c.recovers = 38 * time.Second
			at(*s, 45).code = "SYSTEM_ERROR"
		}, ""},
		{"no requests", func(_ *scenario, s *[]sample, _ *watch) { *s = append((*s)[:10:10], (*s)[20:]...) }, "no requests"},
		{"a success in an outage", func(c *scenario, _ *[]sample, _ *watch) { c.fails = true }, "10 requests succeeded"},
		{"no success", func(_ *scenario, s *[]sample, _ *watch) {
			for second := range 10 {
				at(*s, second).code = "SYSTEM_ERROR"
			}
		}, "no request succeeded"},
		{"calls that are not in the log", func(_ *scenario, _ *[]sample, w *watch) { w.received = append(w.received, make([]time.Time, 100)...) }, "WeChat received 160 requests"},
		{"a log without calls", func(_ *scenario, _ *[]sample, w *watch) { clear(w.attempts) }, "the log has no calls"},
		{"too many calls", func(_ *scenario, s *[]sample, w *watch) {
			w.attempts["5"] = 20
			for range 19 { // 15 and 5 are allowed
				w.received = append(w.received, at(*s, 5).begun)
			}
		}, "29 calls to WeChat for 10 requests"},
		{"too many calls in an outage", func(c *scenario, s *[]sample, w *watch) {
			c.fails = true
			for second := range 10 {
				at(*s, second).code = "SYSTEM_ERROR"
			}
			w.attempts["5"] = 9 // 12 and 5 are allowed
		}, "18 calls to WeChat for 10 requests"},
		{"slow afterwards", func(_ *scenario, s *[]sample, _ *watch) {
			for second := 40; second < 50; second++ {
				at(*s, second).took = 21 * time.Millisecond
			}
		}, "the median is 21 ms, before it 10 ms"},
		{"slower afterwards by what other processes take", func(_ *scenario, s *[]sample, _ *watch) {
			for second := 40; second < 50; second++ {
				at(*s, second).took = 20 * time.Millisecond
			}
		}, ""},
		{"nothing afterwards", func(_ *scenario, s *[]sample, _ *watch) { *s = (*s)[:50] }, "no requests 30s after"},
		{"a slow first call", func(_ *scenario, s *[]sample, _ *watch) { at(*s, 0).took = time.Second }, ""},
		{"a slow further call", func(_ *scenario, s *[]sample, _ *watch) { at(*s, 1).took = time.Second }, "the p99 of further calls is 100.00 × normal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			broken := strings.Join(observed(test.change).broken, "; ")
			if test.want == "" && broken != "" || !strings.Contains(broken, test.want) {
				t.Errorf("broken: %q, want %q", broken, test.want)
			}
		})
	}
}

// Whoever calls a function in the template has a row, and no row has another caller.
func TestEachCallerHasADeadline(t *testing.T) {
	const path = "../../template.yaml"
	read, err := template.Read(path, map[string]string{
		"MerchantSecretArn": "any", "OfficialAccountSecretArn": "any", "FrontendAuth": "WECHAT",
	})
	if err != nil {
		t.Fatal(err)
	}
	type pair struct {
		function string
		caller   caller
	}
	want := map[pair]bool{{"card-sync", byHand}: true}
	folders := map[string]string{} // by logical ID
	for _, f := range read.Functions {
		folders[f.LogicalID] = strings.TrimPrefix(f.Folder, "functions/")
	}
	for _, route := range read.Routes {
		switch route.Authorization {
		case "NONE":
			want[pair{folders[route.Function], wechatPay}] = true
		case "CUSTOM":
			want[pair{folders[route.Authorizer.Function], decision}] = true
			fallthrough
		default:
			want[pair{folders[route.Function], gateway}] = true
		}
	}
	for _, source := range read.EventSources {
		want[pair{folders[source.Function], queue}] = true
	}
	for id, kinds := range eventTypes(t, path) {
		switch kinds {
		case "Schedule":
			want[pair{folders[id], schedule}] = true
		case "EventBridgeRule Schedule":
			want[pair{folders[id], planChange}] = true
		default:
			t.Errorf("%s has the events %s: name their caller", id, kinds)
		}
	}

	has := map[pair]bool{}
	for _, d := range deadlines(func(string) time.Duration { return 0 }) {
		has[pair{d.function, d.caller}] = true
	}
	for p := range want {
		if !has[p] {
			t.Errorf("no deadline of %s, %s", p.function, p.caller.name)
		}
	}
	for p := range has {
		if !want[p] {
			t.Errorf("a deadline of %s, %s, which does not call it", p.function, p.caller.name)
		}
	}
	folder, err := os.ReadDir("../../functions")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range folder {
		if !slices.ContainsFunc(read.Functions, func(f template.Function) bool { return f.Folder == "functions/"+entry.Name() }) {
			t.Errorf("the template read here does not have %s", entry.Name())
		}
	}
}

// eventTypes returns the types of the events of a template's functions, by logical ID.
func eventTypes(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for id, resource := range document.Resources {
		if resource.Type != "AWS::Serverless::Function" {
			continue
		}
		var properties struct {
			Events map[string]struct {
				Type string `yaml:"Type"`
			} `yaml:"Events"`
		}
		if err := resource.Properties.Decode(&properties); err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, event := range properties.Events {
			types = append(types, event.Type)
		}
		slices.Sort(types)
		if len(types) > 0 {
			kinds[id] = strings.Join(types, " ")
		}
	}
	return kinds
}

func TestLeaks(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"a record", `{"message":"answered","requestId":"1","attempts":2,"wechat_request_id":"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"}`, ""},
		{"one of Lambda's", `{"type":"platform.report","record":{}}`, ""},
		{"an error of aws-lambda-go", `2026/01/01 00:00:00 {"errorMessage":"CONFIG_ERROR","errorType":"errorString"}`, ""},
		{"a race", `WARNING: DATA RACE`, "not JSON"},
		{"a token", `{"message":"the token is ABCDEFGHIJKLMNOP"}`, "the token ABCDEF…"},
		{"an openid", `{"message":"` + openidPrefix + `00000001"}`, "oChaos…"},
		{"a line of a key", `{"cause":"MIIEvQIBADANBgkqhkiG9w0"}`, "MIIEvQ…"},
		{"a forged token", `{"cause":"FORGED"}`, "FORGED…"},
		{"an openid in an error", `2026/01/01 00:00:00 {"errorMessage":"` + openidPrefix + `"}`, "oChaos…"},
	} {
		w := newWatch()
		w.made["ABCDEFGHIJKLMNOP"] = "/v3/x"
		w.keepPrivate(`{"private_key":"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END PRIVATE KEY-----\n"}`)
		fmt.Fprintln(w, test.line)
		if leaks := strings.Join(w.leaks, "; "); test.want == "" && leaks != "" || !strings.Contains(leaks, test.want) {
			t.Errorf("%s: %q, want %q", test.name, leaks, test.want)
		}
	}
}

// An answer is right if WeChat made its token for the request, and only then.
func TestJudge(t *testing.T) {
	answered := func(status int, headers, body string) *lambda.Result {
		return &lambda.Result{Payload: fmt.Appendf(nil, `{"statusCode":%d,"headers":{%s},"body":%q}`, status, headers, body)}
	}
	const stored = `"Cache-Control":"no-store","Content-Type":"application/json"`
	const limited = `{"code":"FREQUENCY_LIMITED","message":"x"}`
	for _, test := range []struct {
		name        string
		result      *lambda.Result
		code, wrong string
	}{
		{"the card's token", answered(200, stored, `{"permission_token":"ours"}`), "", ""},
		{"another card's", answered(200, stored, `{"permission_token":"theirs"}`), "", "did not issue"},
		{"an unknown one", answered(200, stored, `{"permission_token":"x"}`), "", "did not issue"},
		{"no token", answered(200, stored, `{}`), "", "did not issue"},
		{"a forged one", answered(200, stored, `{"permission_token":"FORGED"}`), "", "forged"},
		{"may be stored", answered(200, `"Cache-Control":"public"`, `{"permission_token":"ours"}`), "", "no-store"},
		{"an error", answered(502, stored, `{"code":"SYSTEM_ERROR","message":"x"}`), "SYSTEM_ERROR", ""},
		{"an error with another's status", answered(500, stored, `{"code":"SYSTEM_ERROR","message":"x"}`), "", "500 \"SYSTEM_ERROR\" is not documented"},
		{"an unknown error", answered(502, stored, `{"code":"OOPS","message":"x"}`), "", "not documented"},
		{"an error without a message", answered(502, stored, `{"code":"SYSTEM_ERROR"}`), "", "not documented"},
		{"a 429", answered(429, stored+`,"Retry-After":"1"`, limited), "FREQUENCY_LIMITED", ""},
		{"a 429 without Retry-After", answered(429, stored, limited), "", "Retry-After"},
		{"an error with the openid", answered(502, stored, `{"code":"SYSTEM_ERROR","message":"`+openidPrefix+`"}`), "", "openid"},
		{"no JSON", answered(502, stored, `<html>`), "", "not JSON"},
		{"a function error", &lambda.Result{FunctionError: &lambda.FunctionError{Type: "Sandbox.Timedout"}}, "", "Sandbox.Timedout"},
	} {
		r := &rig{watch: newWatch(), violations: map[string]string{}}
		for kind := range map[string]bool{"200": true, "502SYSTEM_ERROR": true, "429FREQUENCY_LIMITED": true} {
			route := "POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens"
			r.violations[fmt.Sprint(route, kind)] = "" // the contract has tests of its own
		}
		r.watch.made["ours"] = "/v3/marketing/membercard-open/cards/pChaos7/permission-tokens"
		r.watch.made["theirs"] = "/v3/marketing/membercard-open/cards/pChaos8/permission-tokens"
		code, wrong := merchantTokens(r, 7).judge(test.result)
		if code != test.code || test.wrong == "" && wrong != "" || !strings.Contains(wrong, test.wrong) {
			t.Errorf("%s: %q, %q; want %q, %q", test.name, code, wrong, test.code, test.wrong)
		}
	}
}
