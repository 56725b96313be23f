package stack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

const (
	moduleSync  = "functions/service-module-sync"
	modulesPath = "/v3/marketing/membercard-open/cards/" + memberCard + "/service-modules"

	offers  = `{"appid":"wx37178d097a6851d8","path":"pages/offers"}`
	newYear = `{"appid":"wx37178d097a6851d8","path":"pages/new-year"}`
)

// modulesOf returns a plan for one card with these service modules.
func modulesOf(modules string) string {
	return `{"cards":[{"card_id":"` + memberCard + `","service_modules":{` + modules + `}},{"card_id":"pOld","fields":{"center_title":"x"}}]}`
}

// syncModules has a new instance of service-module-sync apply a plan that is put into the
// bucket, or the one there if it is "".
func (r *running) syncModules(plan string) *report {
	r.t.Helper()
	config := r.Configs[moduleSync]
	if plan != "" {
		r.Plans.Put(config.Environment["CARD_PLAN_BUCKET"], config.Environment["CARD_PLAN_KEY"], []byte(plan))
	}
	f := lambda.New(config)
	defer f.Close()
	return r.invoke(f, nil)
}

// moduleCalls returns the calls since the last time, without the cards' path.
func (r *running) moduleCalls() (calls []string) {
	for _, request := range r.WeChatPay.Requests() {
		if rest, ok := strings.CutPrefix(request.Path, modulesPath); ok {
			calls = append(calls, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %d", request.Method, rest, request.Body, request.Status)), " "))
		}
	}
	r.WeChatPay.ClearRequests()
	return calls
}

func (r *running) wantModuleCalls(want ...string) {
	r.t.Helper()
	if got := r.moduleCalls(); !slices.Equal(got, want) {
		r.t.Errorf("WeChat Pay got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

type memory struct {
	Cards map[string]map[string]struct {
		Module *struct{ AppID, Path string }
		At     time.Time
	}
}

// remembered returns what service-module-sync remembers, and puts another object if with is
// not "".
func (r *running) remembered(with string) (m memory) {
	r.t.Helper()
	bucket, key := r.Configs[moduleSync].Environment["CARD_PLAN_BUCKET"], "service-modules.json"
	if with != "" {
		r.Plans.Put(bucket, key, []byte(with))
	}
	client := s3.New(s3.Options{
		BaseEndpoint: &r.AWS, UsePathStyle: true, Region: stack.Region,
		Credentials: awssdk.CredentialsProviderFunc(func(context.Context) (awssdk.Credentials, error) {
			return awssdk.Credentials{AccessKeyID: stack.AccessKeyID, SecretAccessKey: stack.SecretAccessKey}, nil
		}),
	})
	out, err := client.GetObject(r.t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return m
	}
	defer out.Body.Close()
	text, err := io.ReadAll(out.Body)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil && with == "" {
		r.t.Fatalf("%s: %v", text, err)
	}
	return m
}

func (r *running) wantModules(want map[string]string) {
	r.t.Helper()
	got := map[string]string{}
	for id, m := range r.WeChatPay.ServiceModules(memberCard) {
		got[id] = m.Path
	}
	if !maps.Equal(got, want) {
		r.t.Errorf("the card has %v, want %v", got, want)
	}
}

// What differs from what was applied is sent, each time by a new instance, and nothing else.
func TestServiceModules(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	jump := func(module string) string { return `{"jump_miniprogram":` + module + `}` }
	for _, row := range []struct {
		what, plan, counts, changed string
		calls                       []string
		card                        map[string]string
	}{
		{"added, and what is not there is not removed", modulesOf(`"666":` + offers + `,"7":null`), "1 0 0 0 0", "666 7", []string{
			"PATCH /666 " + jump(offers) + " 400", `POST {"service_module_id":"666","jump_miniprogram":` + offers + `} 200`, "DELETE /7 400",
		}, map[string]string{"666": "pages/offers"}},
		{"a second run", "", "0 1 0 0 0", "", nil, map[string]string{"666": "pages/offers"}},
		{"changed", modulesOf(`"666":` + newYear + `,"7":null`), "1 0 0 0 0", "666", []string{"PATCH /666 " + jump(newYear) + " 200"}, map[string]string{"666": "pages/new-year"}},
		{"one fails, the others do not", modulesOf(`"0":` + offers + `,"666":` + offers + `,"7":` + offers), "0 0 0 1 0", "666 7", []string{
			"PATCH /0 " + jump(offers) + " 400", "PATCH /666 " + jump(offers) + " 200", "PATCH /7 " + jump(offers) + " 400", `POST {"service_module_id":"7","jump_miniprogram":` + offers + `} 200`,
		}, map[string]string{"666": "pages/offers", "7": "pages/offers"}},
		{"one is named no more, and one removed", modulesOf(`"7":null`), "1 0 0 0 0", "7", []string{"DELETE /7 204"}, map[string]string{"666": "pages/offers"}},
		{"what was named no more is forgotten", modulesOf(`"666":` + offers), "1 0 0 0 0", "666", []string{"PATCH /666 " + jump(offers) + " 200"}, map[string]string{"666": "pages/offers"}},
	} {
		rep := r.syncModules(row.plan)
		if got := r.counts(rep); got != row.counts || len(rep.Cards) != 1 || strings.Join(rep.Cards[0].Changed, " ") != row.changed {
			t.Errorf("%s: %s", row.what, rep.raw)
		}
		r.wantModuleCalls(row.calls...)
		r.wantModules(row.card)
	}
}

// What is remembered decides what is sent.
func TestWhatIsRemembered(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	plan := modulesOf(`"666":` + offers)
	r.wantCounts(r.syncModules(plan), "1 0 0 0 0")
	kept := func(module, at string) string {
		return `{"cards":{"` + memberCard + `":{"666":{"module":` + module + `,"at":"` + at + `"}}}}`
	}
	now := time.Now().UTC().Format(time.RFC3339)
	for _, row := range []struct {
		what, memory, counts string
		calls                int
	}{
		{"as it is", kept(offers, now), "0 1 0 0 0", 0},
		{"longer than a day ago", kept(offers, time.Now().UTC().Add(-25*time.Hour).Format(time.RFC3339)), "0 1 0 0 0", 1},
		{"then", "", "0 1 0 0 0", 0},
		{"another path", kept(newYear, now), "1 0 0 0 0", 1},
		{"removed", kept("null", now), "1 0 0 0 0", 1},
		{"spoilt", `{"cards":`, "1 0 0 0 0", 1},
		{"nothing", `{}`, "1 0 0 0 0", 1},
	} {
		r.moduleCalls()
		if row.memory != "" {
			r.remembered(row.memory)
		}
		r.wantCounts(r.syncModules(""), row.counts)
		if calls := r.moduleCalls(); len(calls) != row.calls {
			t.Errorf("%s: %q", row.what, calls)
		}
		if m := r.remembered("").Cards[memberCard]["666"]; m.Module == nil || m.Module.Path != "pages/offers" || time.Since(m.At) > time.Minute {
			t.Errorf("%s: %+v is remembered", row.what, m)
		}
	}
	if log := r.log.String(); strings.Count(log, "what was applied is not known") != 1 {
		t.Errorf("a spoilt memory has no record: %s", log)
	}
}

// What another run has written while this one ran is kept, and what both did is forgotten.
func TestTwoRunsThatRemember(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	now := time.Now().UTC().Format(time.RFC3339)
	r.WeChatPay.RefuseIf(func(request *wechatpay.Request) (int, string, string) {
		if request.Method == http.MethodPost { // before the run writes
			r.Plans.Put(r.Configs[moduleSync].Environment["CARD_PLAN_BUCKET"], "service-modules.json", []byte(`{"cards":{"`+memberCard+`":{"666":{"module":`+newYear+`,"at":"`+now+`"}},"pOther":{"9":{"module":null,"at":"`+now+`"}}}}`))
		}
		return 0, "", ""
	})
	r.wantCounts(r.syncModules(modulesOf(`"666":`+offers+`,"7":null`)), "1 0 0 0 0")
	m := r.remembered("").Cards
	_, ours := m[memberCard]["7"]
	_, both := m[memberCard]["666"]
	if _, theirs := m["pOther"]["9"]; !theirs || !ours || both {
		t.Errorf("%+v is remembered", m)
	}
	r.WeChatPay.RefuseIf(nil)
	r.moduleCalls()
	r.wantCounts(r.syncModules(""), "1 0 0 0 0")
	r.wantModuleCalls("PATCH /666 {\"jump_miniprogram\":" + offers + "} 200")
	r.wantCounts(r.syncModules(""), "0 1 0 0 0")
}

// The first 429 is waited out, the second ends the run. A run makes at most 5 calls a second.
func TestModuleLimits(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	var cards []string
	for i := range 12 {
		cards = append(cards, fmt.Sprintf(`{"card_id":"p%d","service_modules":{"6":null}}`, i))
	}
	plan := `{"cards":[` + strings.Join(cards, ",") + `]}`
	limited := 2
	r.WeChatPay.RefuseIf(func(*wechatpay.Request) (int, string, string) {
		if limited--; limited >= 0 {
			return 429, "FREQUENCY_LIMITED", "频率超过限制"
		}
		return 0, "", ""
	})
	rep := r.syncModules(plan)
	if rep.Failed != 1 || rep.Updated+rep.Deferred != 11 || rep.Deferred < 8 {
		t.Errorf("%s", rep.raw)
	}
	limited = 1
	r.WeChatPay.ClearRequests()
	rep = r.syncModules("")
	if rep.Failed+rep.Deferred != 0 {
		t.Errorf("%s", rep.raw)
	}
	requests := r.WeChatPay.Requests()
	for i := range len(requests) - 5 {
		if d := requests[i+5].Time.Sub(requests[i].Time); d < time.Second {
			t.Errorf("6 calls in %s", d)
		}
	}
	if len(requests) < 12 || requests[1].Time.Sub(requests[0].Time) < time.Second {
		t.Errorf("%d calls; the second came at once", len(requests))
	}
}

// What a call left unknown is forgotten.
func TestUnknownModules(t *testing.T) {
	t.Parallel()
	r := start(t, wechatpay.PublicKey)
	r.wantCounts(r.syncModules(modulesOf(`"666":`+offers)), "1 0 0 0 0")
	for _, endpoint := range []int{0, 1} {
		r.WeChatPay.Break(endpoint, wechatpay.WrongSignature(), -1)
	}
	rep := r.syncModules(modulesOf(`"666":` + newYear))
	if r.counts(rep) != "0 0 0 1 0" || rep.Cards[0].Error.Code != "INVALID_RESPONSE" {
		t.Errorf("%s", rep.raw)
	}
	if m := r.remembered("").Cards; len(m) != 0 {
		t.Errorf("%+v is remembered", m)
	}
	r.WeChatPay.Heal()
	r.wantCounts(r.syncModules(""), "1 0 0 0 0")
	r.wantModules(map[string]string{"666": "pages/new-year"})

	// A dry run compares, and neither sends nor remembers anything.
	r.moduleCalls()
	rep = r.invoke(r.Functions[moduleSync], map[string]any{"dry_run": true, "plan": json.RawMessage(modulesOf(`"666":null`))})
	if r.counts(rep) != "1 0 0 0 0" || !slices.Equal(rep.Cards[0].Changed, []string{"666"}) || r.remembered("").Cards[memberCard]["666"].Module == nil {
		t.Errorf("%s", rep.raw)
	}
	r.wantModuleCalls()
}
