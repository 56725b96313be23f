package main

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"membercard/shared/invocation"
	"membercard/shared/plansync"
	"membercard/shared/signing"
	"membercard/shared/signing/signingtest"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	byHand  = `{"action":"sync"}`
	offers  = `{"appid":"wx37178d097a6851d8","path":"pages/offers"}`
	newYear = `{"appid":"wx37178d097a6851d8","path":"pages/new-year"}`
)

// newFunction returns the function that main starts, and its log.
func newFunction(t *testing.T, w *weChatPay, plan plansync.Object) (invocation.Action, *telemetrytest.Records) {
	log, records := telemetrytest.New()
	wechatpay := signing.NewClient(signingtest.Source(t), upstream.New([]string{w.endpoint, w.endpoint}))
	s := syncer{wechatpay: wechatpay, memory: plan.Beside(plansync.ServiceModules), log: log}
	sync := plansync.Sync{Log: log, Plan: plan, Lease: plansync.ServiceModulesLease, Has: has, Apply: s.sync}
	return invocation.Action{Log: log, Name: "sync", Do: sync.Invoke}, records
}

// weChatPay has cards, and keeps their service modules as the documents say.
type weChatPay struct {
	endpoint string
	// answer returns the status and the body of a call's answer. The status 0 leaves it to
	// the documents.
	answer func(call string) (status int, body string)

	mu    sync.Mutex
	cards map[string]string // jump_miniprogram by card and module, such as "p0/666"
	calls []string          // such as "PATCH p0/666"
}

func startWeChatPay(t *testing.T) *weChatPay {
	w := &weChatPay{cards: map[string]string{}}
	w.endpoint, _ = signingtest.Serve(t, func(request string, _ http.Header) (int, string, string) {
		method, rest, _ := strings.Cut(request, " ")
		path, text, _ := strings.Cut(strings.TrimPrefix(rest, "/v3/marketing/membercard-open/cards/"), " ")
		var sent struct {
			ServiceModuleID string          `json:"service_module_id"`
			JumpMiniProgram json.RawMessage `json:"jump_miniprogram"`
		}
		if err := json.Unmarshal([]byte(text), &sent); (err != nil) != (method == "DELETE") {
			t.Errorf("%s: %v", request, err)
		}
		module := strings.TrimSuffix(strings.Replace(path, "/service-modules", "", 1)+"/"+sent.ServiceModuleID, "/")
		status, answer := w.respond(method, module, string(sent.JumpMiniProgram))
		return status, answer, answer
	})
	return w
}

func (w *weChatPay) respond(method, module, jump string) (status int, body string) {
	w.mu.Lock()
	call := method + " " + module
	w.calls = append(w.calls, call)
	w.mu.Unlock()
	if w.answer != nil {
		if status, body = w.answer(call); status != 0 {
			return status, body
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch _, has := w.cards[module]; {
	case has && method == "POST":
		return refused("会员卡已添加该会员服务项")
	case !has && method != "POST":
		return refused("会员卡暂未添加该会员服务项")
	case method == "DELETE":
		delete(w.cards, module)
		return 204, ""
	}
	w.cards[module] = jump
	return 200, `{"jump_miniprogram":` + jump + `}`
}

func refused(message string) (status int, body string) {
	return 400, `{"code":"INVALID_REQUEST","message":"` + message + `"}`
}

// received returns the calls since the last time.
func (w *weChatPay) received() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return strings.Join(calls, ", ")
}

// has returns the modules of all cards, such as "p0/666".
func (w *weChatPay) has() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(w.cards)), " ")
}

// planOf returns a plan that gives a card, p0, these service modules. The card pOld is one of
// card-sync's.
func planOf(modules string) string {
	return `{"cards":[{"card_id":"p0","service_modules":{` + modules + `}},{"card_id":"pOld","fields":{"center_title":"x"}}]}`
}

// kept returns an object that remembers modules of p0, each as `"666":` + applied(…).
func kept(modules string) string { return `{"cards":{"p0":{` + modules + `}}}` }

// applied is what is remembered of a module that was applied some time ago.
func applied(module string, ago time.Duration) string {
	return `{"module":` + module + `,"at":"` + time.Now().UTC().Add(-ago).Format(time.RFC3339) + `"}`
}

// remembers returns what an object remembers, such as "p0/666=pages/offers p0/7=-".
func remembers(t *testing.T, object string) string {
	t.Helper()
	if object == "" {
		return ""
	}
	found, err := decode([]byte(object))
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	var list []string
	for _, at := range slices.SortedFunc(maps.Keys(found), func(a, b moduleKey) int {
		return cmp.Or(cmp.Compare(a.cardID, b.cardID), cmp.Compare(a.moduleID, b.moduleID))
	}) {
		path := "-"
		if m := found[at].Module; m != nil {
			path = m.Path
		}
		list = append(list, at.cardID+"/"+at.moduleID+"="+path)
	}
	return strings.Join(list, " ")
}
