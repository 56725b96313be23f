package stack_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"membercard/local/lambda"
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

// What a call left unknown is sent again, also if the plan is what was applied before it.
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
	r.wantModules(map[string]string{"666": "pages/new-year"})
	r.WeChatPay.Heal()
	r.wantCounts(r.syncModules(modulesOf(`"666":`+offers)), "1 0 0 0 0")
	r.wantModules(map[string]string{"666": "pages/offers"})
}
