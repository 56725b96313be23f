package playground_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"membercard/local/playground"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/wechat/network/networktest"
	"membercard/wechat/wechatpay"
)

// project is built once for all tests.
var project *stack.Project

func TestMain(m *testing.M) { stacktest.Main(m, "../..", &project) }

const (
	merchantPath = "/v3/marketing/membercard-open/cards/pbLatjvWOibDc5-TBnbUk1pD12o0/permission-tokens"
	merchantBody = `{"activate_type":"AUTO_ACTIVATE"}`
	cardPath     = "/card/update"
	cardBody     = `{"card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","member_card":{"base_info":{"custom_url_name":"立即使用"}}}`
	openid       = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
)

// page is the playground of a running stack.
type page struct {
	*testing.T
	*stack.Stack
	url string
}

func open(t *testing.T) *page { return openAs(t, stack.NoAuth) }

// openAs opens the playground of an API that authorizes callers by auth.
func openAs(t *testing.T, auth string) *page {
	t.Helper()
	s := stacktest.Start(t, project, stack.Config{Auth: auth, Plan: "../plan.json", Unthrottled: true})
	served := httptest.NewServer(playground.Handler(s, auth, "../.."))
	t.Cleanup(served.Close)
	return &page{t, s, served.URL}
}

// call sends a request and decodes the JSON that is answered.
func (p *page) call(method, url, body string, header ...string) (status int, answer map[string]any) {
	p.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, content := networktest.Do(p, http.DefaultClient.Do, request)
	_ = json.Unmarshal(content, &answer) // nil if it is not JSON
	return response.StatusCode, answer
}

// received returns the requests that the page is shown.
func (p *page) received(after int64) (n int64, requests []map[string]any) {
	p.Helper()
	_, answer := p.call("GET", fmt.Sprintf("%s/received?after=%d", p.url, after), "")
	for _, r := range answer["requests"].([]any) {
		requests = append(requests, r.(map[string]any))
	}
	return int64(answer["n"].(float64)), requests
}

func TestThePageIsServedUnderAStrictPolicy(t *testing.T) {
	p := open(t)
	for path, kind := range map[string]string{"/": "text/html", "/app.js": "text/javascript", "/clients/js/index.js": "text/javascript", "/clients/js/words.js": "text/javascript", "/style.css": "text/css"} {
		response, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != 200 || len(content) == 0 || !strings.HasPrefix(response.Header.Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", path, response.StatusCode, response.Header.Get("Content-Type"))
		}
		policy := response.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "connect-src 'self' "+p.URL+";") {
			t.Errorf("%s: the policy is %s", path, policy)
		}
	}
	if status, _ := p.call("GET", p.url+"/../miniprogram/app.json", ""); status != 404 {
		t.Errorf("a file beside the page: %d", status)
	}
}

func TestSettings(t *testing.T) {
	for _, auth := range []string{stack.NoAuth, stack.AuthIAM, stack.AuthJWT, stack.AuthWechat} {
		p := openAs(t, auth)
		_, got := p.call("GET", p.url+"/playground.json", "")
		if got["api"] != p.URL || got["auth"] != auth || got["backend"] != "/backend" || got["login"] != true || got["faults"] != true {
			t.Errorf("%s: %v", auth, got)
		}
		if token, _ := got["token"].(string); (token != "") != (auth == stack.AuthJWT) {
			t.Errorf("%s: the token is %q", auth, token)
		}
	}
}

// The page has service-module-sync apply a plan, and is shown what WeChat Pay received.
func TestTheSyncByHand(t *testing.T) {
	t.Parallel()
	p := open(t)
	_, plan := p.call("GET", p.url+"/plan", "")
	if cards, _ := plan["cards"].([]any); len(cards) == 0 {
		t.Fatalf("the plan is %v", plan)
	}
	const event = `{"action":"sync","plan":{"cards":[{"card_id":"p","service_modules":{"7":{"appid":"wx1","path":"pages/x"}}}]}}`
	for _, row := range []struct {
		event, header string
		status        int
		updated       any
		sent          []string // how each body begins
	}{
		{event, "text/plain", 400, nil, nil},
		{`{"action":"none"}`, "application/json", 502, nil, nil},
		{event, "application/json", 200, 1.0, []string{`{"jump_miniprogram"`, `{"service_module_id":"7"`}},
		{event, "application/json", 200, 0.0, nil},
	} {
		n, _ := p.received(1 << 60)
		status, report := p.call("POST", p.url+"/sync", row.event, "Content-Type", row.header)
		if status != row.status || report["updated"] != row.updated {
			t.Errorf("%s %s: %d %v", row.header, row.event, status, report)
		}
		_, requests := p.received(n)
		for i, r := range requests {
			if body, _ := r["body"].(string); i < len(row.sent) && !strings.HasPrefix(body, row.sent[i]) {
				t.Errorf("%s: %v", row.event, r)
			}
		}
		if len(requests) != len(row.sent) {
			t.Errorf("%s: %v", row.event, requests)
		}
	}
	if _, modules := p.call("GET", p.url+"/service-modules?card_id=p", ""); fmt.Sprint(modules) != "map[7:map[appid:wx1 path:pages/x]]" {
		t.Errorf("the card has %v", modules)
	}
}

// The page is authorized with its settings, and not without.
func TestThePageIsLetIn(t *testing.T) {
	for _, auth := range []string{stack.AuthJWT, stack.AuthWechat} {
		p := openAs(t, auth)
		if status, answer := p.call("POST", p.URL+merchantPath, merchantBody); status != 401 {
			t.Errorf("%s: without credentials: %d %v", auth, status, answer)
		}
		_, settings := p.call("GET", p.url+"/playground.json", "")
		header := fmt.Sprint("Bearer ", settings["token"])
		if auth == stack.AuthWechat {
			_, login := p.call("POST", p.url+"/login", "")
			header = fmt.Sprint("WeChat-OAuth ", login["code"])
		}
		for range 2 { // the second time WeChat would no longer take the code
			if status, answer := p.call("POST", p.URL+merchantPath, merchantBody, "Authorization", header); status != 200 {
				t.Errorf("%s: %d %v", auth, status, answer)
			}
		}
	}
}

func TestTheBackendCallsWhatPagesMayNot(t *testing.T) {
	p := openAs(t, stack.AuthIAM)
	for path, body := range map[string]string{merchantPath: merchantBody, cardPath: cardBody} {
		if status, answer := p.call("POST", p.URL+path, body); status != 403 {
			t.Errorf("%s: unsigned: %d %v", path, status, answer)
		}
		if status, answer := p.call("POST", p.url+"/backend"+path, body); status != 200 {
			t.Errorf("%s: %d %v", path, status, answer)
		}
		if status, _ := p.call("POST", p.url+"/backend"+path, body, "Sec-Fetch-Site", "cross-site"); status != 403 {
			t.Errorf("%s: for another page: %d", path, status)
		}
	}
	if status, answer := p.call("POST", p.url+"/backend"+merchantPath, `{}`); status != 400 || answer["code"] != "PARAM_ERROR" {
		t.Errorf("an error is not passed on: %d %v", status, answer)
	}
}

func TestALoginIsTheSampleUsers(t *testing.T) {
	p := open(t)
	status, got := p.call("POST", p.url+"/login", "")
	code, _ := got["code"].(string)
	if status != 200 || len(code) != 32 {
		t.Fatalf("%d %v", status, got)
	}
	if _, again := p.call("POST", p.url+"/login", ""); again["code"] == code {
		t.Error("the same code twice")
	}
}

func TestReceived(t *testing.T) {
	p := open(t)
	before, none := p.received(0)
	if len(none) != 0 {
		t.Errorf("received before anything was sent: %v", none)
	}
	if status, answer := p.call("POST", p.URL+merchantPath, merchantBody); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	after, requests := p.received(before)
	if len(requests) != 1 {
		t.Fatalf("%d requests: %v", len(requests), requests)
	}
	r := requests[0]
	if r["side"] != "wechatpay" || r["endpoint"] != 0.0 || r["method"] != "POST" || r["uri"] != merchantPath || r["status"] != 200.0 || r["verified"] != true || r["refusal"] != nil {
		t.Errorf("%v", r)
	}
	parts := r["authorization"].(map[string]any)
	for _, part := range []string{"mchid", "serial_no", "nonce_str", "timestamp", "signature"} {
		if value, _ := parts[part].(string); value == "" {
			t.Errorf("%s is missing", part)
		}
	}
	if signature := parts["signature"].(string); len(signature) > 32 || !strings.Contains(signature, "…") {
		t.Errorf("the signature is not shortened: %s", signature)
	}

	if status, answer := p.call("POST", p.URL+cardPath, cardBody); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	_, requests = p.received(after)
	if len(requests) != 2 || requests[0]["uri"] != "/cgi-bin/stable_token" || requests[1]["uri"] != "/card/update" {
		t.Fatalf("%v", requests)
	}
	if proof := requests[1]["proof"].(map[string]any); requests[1]["side"] != "officialaccount" || proof["access_token"] != "valid" {
		t.Errorf("%v", requests[1])
	}
	if status, _ := p.call("GET", p.url+"/received?after=x", ""); status != 400 {
		t.Errorf("after=x: %d", status)
	}
}

// No secret, token, code or openid is shown, whatever the request.
func TestReceivedHasNoSecrets(t *testing.T) {
	p := open(t)
	p.call("POST", p.URL+"/v3/brand/partner/card-member/pre-auth-tokens", `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"`+openid+`"}`)
	p.call("POST", p.URL+cardPath, cardBody)
	response, err := http.Get(p.url + "/received")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	shown, _ := io.ReadAll(response.Body)
	secrets := []string{openid, "立即使用"}
	for _, r := range p.OfficialAccount.Requests() {
		var body struct{ Secret string }
		if json.Unmarshal(r.Body, &body) == nil && body.Secret != "" {
			secrets = append(secrets, body.Secret)
		}
	}
	for _, r := range p.WeChatPay.Requests() {
		secrets = append(secrets, r.Authorization.Signature)
	}
	if len(secrets) < 4 {
		t.Fatalf("only %d secrets to look for", len(secrets))
	}
	for _, secret := range secrets {
		if strings.Contains(string(shown), secret) {
			t.Errorf("%q is shown", secret)
		}
	}
}

func TestBreakAndHeal(t *testing.T) {
	t.Parallel()
	p := open(t)
	for _, row := range []struct {
		fault  string
		status int
		code   string
	}{
		{"500", 502, "SYSTEM_ERROR"},
		{"wrong signature", 502, "INVALID_RESPONSE"},
		{"heal", 200, ""},
	} {
		if status, answer := p.call("POST", p.url+"/break", `{"fault":"`+row.fault+`"}`); status != 200 {
			t.Errorf("%s: %d %v", row.fault, status, answer)
		}
		status, answer := p.call("POST", p.URL+merchantPath, merchantBody)
		if code, _ := answer["code"].(string); status != row.status || code != row.code {
			t.Errorf("%s: %d %v, want %d %s", row.fault, status, answer, row.status, row.code)
		}
	}

	p.call("POST", p.url+"/break", `{"fault":"hang"}`)
	n, _ := p.received(0)
	answered := make(chan int)
	go func() {
		status, _ := p.call("POST", p.URL+merchantPath, merchantBody)
		answered <- status
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, requests := p.received(n); len(requests) > 0 {
			if requests[0]["status"] != 0.0 || requests[0]["verified"] != true {
				t.Errorf("%v", requests[0])
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing was received")
		}
	}
	p.call("POST", p.url+"/break", `{"fault":"heal"}`) // the attempt after the one that hangs is served
	if status := <-answered; status != 200 {
		t.Errorf("answered %d after a hang was healed", status)
	}
}

// refused is a request that a path refuses.
type refused struct {
	what, body string
	header     []string
	status     int
}

func (p *page) refuses(path string, rows []refused) {
	p.Helper()
	for _, row := range rows {
		if status, answer := p.call("POST", p.url+path, row.body, row.header...); status != row.status {
			p.Errorf("%s: %d %v, want %d", row.what, status, answer, row.status)
		}
	}
}

func TestBreakRefusesOthers(t *testing.T) {
	p := open(t)
	p.refuses("/break", []refused{
		{"an unknown fault", `{"fault":"fire"}`, nil, 400},
		{"no JSON", `fault=500`, nil, 400},
		{"a form's content type", `{"fault":"500"}`, []string{"Content-Type", "text/plain"}, 400},
		{"another page", `{"fault":"500"}`, []string{"Sec-Fetch-Site", "cross-site"}, 403},
	})
	if status, answer := p.call("POST", p.URL+merchantPath, merchantBody); status != 200 {
		t.Errorf("something was broken: %d %v", status, answer)
	}
}

// The customer opens a brand card, with each trouble.
func TestOpen(t *testing.T) {
	t.Parallel()
	d := wechatpay.NewDelivery()
	d.Delay, d.Interval = 200*time.Millisecond, 500*time.Millisecond
	for _, row := range []struct {
		trouble       string
		state         string
		notifications []string // their kinds and statuses
		calls         int
	}{
		{"", "EFFECTIVE", []string{"regular 204"}, 1},
		{"lost", "EFFECTIVE", []string{"regular 204", "regular 204"}, 2},
		{"twice", "EFFECTIVE", []string{"regular 204", "duplicate 204"}, 2},
		{"probe", "EFFECTIVE", []string{"probe 401", "regular 204"}, 1},
		{"forged", "UNACTIVATED", []string{"forgery 401"}, 0},
		{"refused", "UNACTIVATED", []string{"regular 204"}, 1},
	} {
		t.Run("trouble "+row.trouble, func(t *testing.T) {
			t.Parallel()
			p := open(t)
			p.WeChatPay.Deliver(d)
			brand := `"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"` + openid + `"`
			_, minted := p.call("POST", p.URL+"/v3/brand/partner/card-member/pre-auth-tokens", "{"+brand+"}")
			order := fmt.Sprintf(`{"token":%q,"trouble":%q,%s}`, minted["token"], row.trouble, brand)
			status, opened := p.call("POST", p.url+"/open", order)
			if status != 200 || opened["jump"] != nil {
				t.Fatalf("%d %v", status, opened)
			}
			if row.trouble != "forged" {
				if status, _ := p.call("POST", p.url+"/open", order); status != 409 {
					t.Errorf("a used token: %d", status)
				}
			}
			var state string
			var notifications []string
			var calls, letters int
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				_, story := p.call("GET", fmt.Sprintf("%s/journey?code=%s", p.url, opened["code"]), "")
				state, notifications, calls, letters = story["state"].(string), nil, 0, 0
				for _, step := range story["steps"].([]any) {
					switch step := step.(map[string]any); step["what"] {
					case "notification":
						notifications = append(notifications, fmt.Sprint(step["kind"], " ", step["status"]))
					case "call":
						calls++
					case "dead_letter":
						letters++
					}
				}
				if state == row.state && slices.Equal(notifications, row.notifications) && calls == row.calls && (letters == 1) == (row.trouble == "refused") {
					return
				}
			}
			t.Errorf("%s, notifications %v, %d calls, %d dead letters", state, notifications, calls, letters)
		})
	}
}

// A jump has what the backend needs, and its query arrives as it was.
func TestJump(t *testing.T) {
	p := openAs(t, stack.AuthIAM)
	_, minted := p.call("POST", p.url+"/backend"+merchantPath, `{"activate_type":"JUMP_ACTIVATE","activate_url":"https://a.example/b"}`)
	_, opened := p.call("POST", p.url+"/open", fmt.Sprintf(`{"token":%q}`, minted["permission_token"]))
	jump := fmt.Sprint(opened["jump"].(map[string]any)["url"])
	_, rest, _ := strings.Cut(jump, "encrypt_code=")
	encrypted, _, _ := strings.Cut(rest, "&")
	status, got := p.call("GET", p.url+"/backend/v3/marketing/membercard-open/cards/pbLatjvWOibDc5-TBnbUk1pD12o0/decrypt-code?encrypt_code="+encrypted, "")
	if status != 200 || got["code"] != opened["code"] {
		t.Errorf("%d %v", status, got)
	}
}

func TestOpenRefusesOthers(t *testing.T) {
	p := open(t)
	p.refuses("/open", []refused{
		{"an unknown token", `{"token":"x"}`, nil, 409},
		{"an unknown trouble", `{"token":"x","trouble":"fire"}`, nil, 400},
		{"no JSON", `token=x`, nil, 400},
		{"a form's content type", `{}`, []string{"Content-Type", "text/plain"}, 400},
		{"another page", `{}`, []string{"Sec-Fetch-Site", "cross-site"}, 403},
	})
	if status, _ := p.call("GET", p.url+"/journey?code=1", ""); status != 404 {
		t.Errorf("the story of no card: %d", status)
	}
}

// Where the real WeChat is called there are no requests, logins or faults.
func TestLive(t *testing.T) {
	s := stacktest.Start(t, project, stack.Config{})
	live := *s
	live.WeChatPay, live.OfficialAccount = nil, nil
	served := httptest.NewServer(playground.Handler(&live, "none", "../.."))
	defer served.Close()
	p := &page{t, s, served.URL}
	if _, got := p.call("GET", p.url+"/playground.json", ""); got["login"] != false || got["faults"] != false {
		t.Errorf("%v", got)
	}
	if _, requests := p.received(0); len(requests) != 0 {
		t.Errorf("%v", requests)
	}
	for _, path := range []string{"/login", "/break", "/open", "/sync"} {
		if status, _ := p.call("POST", p.url+path, "{}"); status != 404 && status != 405 {
			t.Errorf("%s: %d", path, status)
		}
	}
}
