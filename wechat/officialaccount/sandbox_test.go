package officialaccount

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"membercard/wechat/network/networktest"
)

const (
	member = "pbLatjvWOibDc5-TBnbUk1pD12o0"

	tokenPath  = "/cgi-bin/stable_token"
	getPath    = "/card/get"
	updatePath = "/card/update"
	createPath = "/card/create"
	codePath   = "/card/code/decrypt"
	ticketPath = "/cgi-bin/ticket/getticket"
)

// client calls a sandbox with a clock that only the test moves.
type client struct {
	*Sandbox
	http *http.Client
	time *atomic.Pointer[time.Time]
}

func (c client) pass(d time.Duration) {
	t := c.time.Load().Add(d)
	c.time.Store(&t)
}

func newSandbox(t *testing.T) client {
	t.Helper()
	var clock atomic.Pointer[time.Time]
	// Noon in Beijing, so that a test does not cross midnight.
	noon := time.Now().Truncate(24 * time.Hour).Add(4 * time.Hour)
	clock.Store(&noon)
	s, err := start(func() time.Time { return *clock.Load() })
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, s)
	return client{s, clientOf(s), &clock}
}

// reply is any answer of the sandbox.
type reply struct {
	Errcode     int
	Errmsg      string
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	Ticket      string
	SendCheck   *bool `json:"send_check"`
	Card        map[string]json.RawMessage
	CardID      string `json:"card_id"`
	Code        string
}

// call is a request. Its zero value is valid.
type call struct {
	endpoint            int
	method, path, token string // POST, /card/get, the current token; "-" is none
	query               string // after the token
	body                string
	header              map[string]string // a value of "-" removes
}

func (c client) request(t *testing.T, call call) *http.Request {
	t.Helper()
	if call.method == "" {
		call.method = "POST"
	}
	if call.path == "" {
		call.path = getPath
	}
	if call.token == "" && call.path != tokenPath && !strings.HasPrefix(call.path, "/sns/") {
		call.token = c.token(t)
	}
	if call.token != "" && call.token != "-" {
		call.query = "access_token=" + url.QueryEscape(call.token) + "&" + call.query
	}
	target := strings.TrimRight(call.path+"?"+call.query, "?&")
	r, err := http.NewRequest(call.method, c.Endpoints()[call.endpoint]+target, strings.NewReader(call.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "test")
	for name, value := range call.header {
		if r.Header.Set(name, value); value == "-" {
			r.Header[name] = nil // for User-Agent, or Go sends its own
		}
	}
	return r
}

// do makes a call that is answered with HTTP 200 and JSON.
func (c client) do(t *testing.T, call call) reply {
	t.Helper()
	var got reply
	c.into(t, call, "application/json; encoding=utf-8", &got)
	return got
}

// into makes a call that is answered with HTTP 200 and JSON of a media type.
func (c client) into(t *testing.T, call call, kind string, got any) {
	t.Helper()
	resp, body := networktest.Do(t, c.http.Do, c.request(t, call))
	if err := json.Unmarshal(body, got); err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != kind {
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
}

// tokenBody asks for a token, with the secret of a sandbox.
func tokenBody(secret string, force bool) string {
	return fmt.Sprintf(`{"grant_type":"client_credential","force_refresh":%t,%s`, force, secret[1:])
}

// ask asks for a token with the current secret.
func (c client) ask(t *testing.T, force bool) reply {
	t.Helper()
	return c.do(t, call{path: tokenPath, body: tokenBody(c.Secret(), force)})
}

func (c client) token(t *testing.T) string {
	t.Helper()
	got := c.ask(t, false)
	if got.Errcode != 0 {
		t.Fatalf("%+v", got)
	}
	return got.AccessToken
}

func get(card string) call { return call{body: `{"card_id":"` + card + `"}`} }

func ticket(query string) call { return call{method: "GET", path: ticketPath, query: query} }

func update(card, rest string) call {
	return call{path: updatePath, body: `{"card_id":"` + card + `",` + rest + `}`}
}

// newCard is a body of /card/create.
const newCard = `{"card":{"card_type":"MEMBER_CARD","member_card":{"prerogative":"会员专享价","supply_bonus":true,"base_info":{` +
	`"logo_url":"http://mmbiz.qpic.cn/mmbiz/sandbox/0","brand_name":"微信餐厅","code_type":"CODE_TYPE_TEXT","title":"会员卡","color":"Color010",` +
	`"notice":"使用时向服务员出示此券","description":"不可与其他优惠同享","sku":{"quantity":50000000},"date_info":{"type":"DATE_TYPE_PERMANENT"},` +
	`"promotion_url_name":"更多优惠","promotion_url":"http://www.qq.com","promotion_app_brand_user_name":"gh_86a091e50ad4@app","promotion_app_brand_pass":"API/cardPage"}}}}`

// TestRefusals has requests that WeChat refuses, and the closest that it accepts.
func TestRefusals(t *testing.T) {
	c := newSandbox(t)
	secret := c.Secret()
	header := func(name, value string) call {
		made := get(member)
		made.header = map[string]string{name: value}
		return made
	}
	token := func(body string) call { return call{path: tokenPath, body: body} }
	replace := func(old, new string) call {
		right := tokenBody(secret, false)
		if !strings.Contains(right, old) {
			t.Errorf("%s has no %s", right, old)
		}
		return token(strings.Replace(right, old, new, 1))
	}
	base := func(fields string) call { return update(member, `"member_card":{"base_info":{`+fields+`}}`) }
	create := func(old, new string) call {
		if strings.Count(newCard, old) != 1 {
			t.Errorf("%s is not in the card once", old)
		}
		return call{path: createPath, body: strings.Replace(newCard, old, new, 1)}
	}
	code := func(body string) call { return call{path: codePath, body: body} }
	special := func(fields string) call { return update(member, `"member_card":{`+fields+`}`) }
	for _, tt := range []struct {
		name    string
		call    call
		errcode int
		errmsg  string // a part of it
	}{
		// Paths, methods and headers.
		{"unknown path", call{path: "/card/delete", body: "{}"}, 40066, "invalid url"},
		{"GET", call{method: "GET"}, 43002, "require POST method"},
		{"no User-Agent", header("User-Agent", "-"), 40097, "User-Agent"},
		{"no Content-Type", header("Content-Type", "-"), 47001, "Content-Type"},
		{"Content-Type other", header("Content-Type", "text/plain"), 47001, "Content-Type"},
		{"Content-Type with charset", header("Content-Type", "application/json; charset=utf-8"), 0, ""},
		{"empty body", call{}, 44002, "empty post data"},

		// Access tokens.
		{"no token", call{token: "-", body: "{}"}, 41001, "access_token missing"},
		{"wrong token", call{token: "x", body: "{}"}, 40001, "invalid credential"},

		// 获取稳定版接口调用凭据.
		{"token", token(tokenBody(secret, false)), 0, ""},
		{"no force_refresh", replace(`"force_refresh":false,`, ""), 0, ""},
		{"token, not JSON", token("{"), 47001, "data format error"},
		{"token, not an object", token("[]"), 47001, "data format error"},
		{"token, not UTF-8", token("{\"\xff\":0}"), 47001, "data format error"},
		{"no grant_type", replace(`"grant_type":"client_credential",`, ""), 40002, "invalid grant_type"},
		{"other grant_type", replace("client_credential", "authorization_code"), 40002, "invalid grant_type"},
		{"no appid", replace("appid", "AppID"), 41002, "appid missing"},
		{"other appid", replace(appID, "wx0000000000000000"), 40013, "invalid appid"},
		{"no secret", replace(`"secret":"`, `"secret":"","x":"`), 41004, "appsecret missing"},
		{"other secret", replace(`"secret":"`, `"secret":"x`), 40125, "invalid appsecret"},
		{"number for secret", replace(`"secret":"`, `"secret":1,"x":"`), 47001, "secret"},
		{"string for force_refresh", replace("false", `"false"`), 47001, "force_refresh"},

		// 查看卡券详情.
		{"get", get(member), 0, ""},
		{"get, unknown card", get("pbLatjNone"), 40053, "invalid actioninfo"},
		{"get, no card", call{body: `{}`}, 47001, "card_id"},
		{"get, number for card", call{body: `{"card_id":1}`}, 47001, "card_id"},
		{"get, null", call{body: `null`}, 47001, "data format error"},

		// 更改卡券信息.
		{"update", base(`"custom_url":"https://example.com/"`), 0, ""},
		{"update beside base_info", special(`"activate_url":"https://example.com/"`), 0, ""},
		{"all kinds of values", base(`"get_limit":2,"can_share":false,"location_id_list":[1],"date_info":{"type":"DATE_TYPE_PERMANENT"}`), 0, ""},
		{"update, not JSON", call{path: updatePath, body: `{"card_id"`}, 47001, "data format error"},
		{"update, unknown card", update("pbLatjNone", `"member_card":{"base_info":{"custom_url":"x"}}`), 40053, "invalid actioninfo"},
		{"update, no card", call{path: updatePath, body: `{"member_card":{"base_info":{"custom_url":"x"}}}`}, 47001, "card_id"},
		{"other type", update(member, `"groupon":{"base_info":{"custom_url":"x"}}`), 47001, "groupon"},
		{"type in capitals", update(member, `"MEMBER_CARD":{"base_info":{"custom_url":"x"}}`), 47001, "MEMBER_CARD"},
		{"two types", update(member, `"member_card":{"base_info":{"custom_url":"x"}},"cash":{}`), 47001, "cash"},
		{"no type", call{path: updatePath, body: `{"card_id":"` + member + `"}`}, 47001, "member_card"},
		{"no field", special(""), 47001, "member_card"},
		{"no field in base_info", base(""), 47001, "member_card.base_info"},
		{"number in a cell", special(`"custom_cell1":{"url":1}`), 47001, "member_card.custom_cell1.url"},
		{"string for base_info", special(`"base_info":"x"`), 47001, "member_card.base_info"},
		{"null for a string", base(`"custom_url":null`), 47001, "member_card.base_info.custom_url"},
		{"number for a string", base(`"custom_url":1`), 47001, "member_card.base_info.custom_url"},
		{"fixed field", base(`"brand_name":"x"`), 47001, "member_card.base_info.brand_name"},
		{"status", base(`"status":"CARD_STATUS_VERIFY_OK"`), 47001, "member_card.base_info.status"},
		{"unknown field", base(`"custom_uri":"x"`), 47001, "member_card.base_info.custom_uri"},
		{"unknown null", base(`"custom_uri":null`), 47001, "member_card.base_info.custom_uri"},
		{"field of base_info beside it", special(`"custom_url":"x"`), 47001, "member_card.custom_url"},
		{"field beside base_info in it", base(`"activate_url":"x"`), 47001, "member_card.base_info.activate_url"},
		{"field of another type", update("pbLatjCash", `"cash":{"activate_url":"x"}`), 47001, "cash.activate_url"},

		// 创建卡券.
		{"create", call{path: createPath, body: newCard}, 0, ""},
		{"create, another type", call{path: createPath, body: strings.NewReplacer("MEMBER_CARD", "GIFT", "member_card", "gift", `"prerogative"`, `"gift"`).Replace(newCard)}, 0, ""},
		{"create, fields that are not known", create(`"supply_bonus"`, `"a_new_field"`), 0, ""},
		{"create, a known field of another type", create(`"supply_bonus":true`, `"supply_bonus":"true"`), 47001, "card.member_card.supply_bonus"},
		{"create, no card", call{path: createPath, body: `{}`}, 47001, "[card]"},
		{"create, string for card", call{path: createPath, body: `{"card":"x"}`}, 47001, "card"},
		{"create, unknown type", create("MEMBER_CARD", "CLUB_CARD"), 47001, "card.card_type"},
		{"create, type in small letters", create("MEMBER_CARD", "member_card"), 47001, "card.card_type"},
		{"create, another type's object", create("MEMBER_CARD", "GIFT"), 47001, "card.member_card"},
		{"create, no base_info", create("base_info", "base"), 47001, "card.member_card.base_info"},
		{"create, no logo_url", create("logo_url", "logo"), 47001, "card.member_card.base_info.logo_url"},
		{"create, no brand_name", create("brand_name", "brand"), 47001, "base_info.brand_name"},
		{"create, no code_type", create("code_type", "type"), 47001, "base_info.code_type"},
		{"create, empty title", create(`"会员卡"`, `""`), 47001, "base_info.title"},
		{"create, number for color", create(`"Color010"`, "10"), 47001, "base_info.color"},
		{"create, no notice", create(`"notice"`, `"note"`), 47001, "base_info.notice"},
		{"create, no description", create("description", "text"), 47001, "base_info.description"},
		{"create, no sku", create("sku", "stock"), 47001, "base_info.sku]"},
		{"create, string for quantity", create("50000000", `"50000000"`), 47001, "base_info.sku.quantity"},
		{"create, no date_info", create("date_info", "date"), 47001, "base_info.date_info"},
		{"create, no prerogative", create("prerogative", "privilege"), 47001, "card.member_card.prerogative"},
		{"create, number for a link", create(`"http://www.qq.com"`, "1"), 47001, "base_info.promotion_url"},

		// Code解码.
		{"code", code(`{"encrypt_code":"` + c.SampleEncryptCode() + `"}`), 0, ""},
		{"code, unknown", code(`{"encrypt_code":"x` + c.SampleEncryptCode() + `"}`), 40056, "invalid serial code"},
		{"code, none", code(`{}`), 47001, "encrypt_code"},
		{"code, a number", code(`{"encrypt_code":1}`), 47001, "encrypt_code"},

		// 获取api_ticket.
		{"ticket", ticket("type=wx_card"), 0, ""},
		{"POST of a ticket", call{path: ticketPath, query: "type=wx_card", body: "{}"}, 43001, "require GET method"},
		{"ticket, no User-Agent", call{method: "GET", path: ticketPath, query: "type=wx_card", header: map[string]string{"User-Agent": "-"}}, 40097, "User-Agent"},
		{"ticket, no token", call{method: "GET", path: ticketPath, query: "type=wx_card", token: "-"}, 41001, "access_token missing"},
		{"ticket, wrong token", call{method: "GET", path: ticketPath, query: "type=wx_card", token: "x"}, 40001, "invalid credential"},
		{"ticket, no type", ticket(""), 40097, "invalid args"},
		{"ticket, other type", ticket("type=jsapi"), 40097, "invalid args"},
		{"ticket, type in capitals", ticket("type=WX_CARD"), 40097, "invalid args"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, _ := json.Marshal(c.Cards())
			r := c.request(t, tt.call)
			c.ClearRequests()
			resp, body := networktest.Do(t, c.http.Do, r)
			var got reply
			if err := json.Unmarshal(body, &got); err != nil {
				t.Error(err)
			}
			if resp.StatusCode != 200 || got.Errcode != tt.errcode || !strings.Contains(got.Errmsg, tt.errmsg) {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, body, tt.errcode, tt.errmsg)
			}
			if strings.Contains(got.Errmsg, " rid: ") != (tt.errcode != 0) {
				t.Errorf("rid in %q", got.Errmsg)
			}
			if after, _ := json.Marshal(c.Cards()); tt.errcode != 0 && !bytes.Equal(after, before) {
				t.Error("a card has changed")
			}

			log := c.Requests()
			if len(log) != 1 {
				t.Fatalf("%d requests logged", len(log))
			}
			validity := map[string]string{"-": "none", "x": "dead", "": "valid"}[tt.call.token]
			if tt.call.path == tokenPath {
				validity = "none"
			}
			if l := log[0]; l.Errcode != tt.errcode || l.Status != 200 || l.Method != r.Method || l.Path != r.URL.Path ||
				l.Query.Get("access_token") != validity || string(l.Body) != tt.call.body || l.Endpoint != 0 ||
				l.Header.Get("Content-Type") != r.Header.Get("Content-Type") || l.Time != *c.time.Load() {
				t.Errorf("logged %+v", l)
			}
		})
	}
}

// TestTokens checks how long a token is valid.
func TestTokens(t *testing.T) {
	const (
		valid = 0
		dead  = 40001
	)
	for _, tt := range []struct {
		name   string
		change func(*testing.T, client)
		old    int  // errcode with the token from before
		same   bool // whether asking gives that token again
		new    int  // errcode with what asking gives
		left   int  // expires_in
	}{
		{"nothing", func(*testing.T, client) {}, valid, true, valid, 7200},
		{"half an hour", func(_ *testing.T, c client) { c.pass(30 * time.Minute) }, valid, true, valid, 5400},
		{"just before the hand-over", func(_ *testing.T, c client) { c.pass(115*time.Minute - time.Second) }, valid, true, valid, 301},
		{"hand-over", func(_ *testing.T, c client) { c.pass(115 * time.Minute) }, valid, false, valid, 7200},
		{"end of the hand-over", func(t *testing.T, c client) {
			c.pass(118 * time.Minute)
			c.token(t)
			c.pass(2*time.Minute - time.Second)
		}, valid, false, valid, 7200 - 119},
		{"expired", func(_ *testing.T, c client) { c.pass(2 * time.Hour) }, dead, false, valid, 7200},
		{"expired after the hand-over", func(t *testing.T, c client) {
			c.pass(118 * time.Minute)
			c.token(t)
			c.pass(2 * time.Minute)
		}, dead, false, valid, 7200 - 120},
		{"forced refresh", func(t *testing.T, c client) { c.ask(t, true) }, dead, false, valid, 7200},
		{"RevokeToken", func(_ *testing.T, c client) { c.RevokeToken() }, dead, false, valid, 7200},
		{"FreezeToken", func(_ *testing.T, c client) { c.FreezeToken() }, dead, true, dead, 7200},
		{"FreezeToken, forced refresh", func(t *testing.T, c client) {
			c.FreezeToken()
			c.ask(t, true)
		}, dead, false, valid, 7200},
		{"FreezeToken, RevokeToken", func(_ *testing.T, c client) {
			c.FreezeToken()
			c.RevokeToken()
		}, dead, false, valid, 7200},
		{"FreezeToken, expired", func(_ *testing.T, c client) {
			c.FreezeToken()
			c.pass(2 * time.Hour)
		}, dead, false, valid, 7200},
		{"RotateSecret", func(_ *testing.T, c client) { c.RotateSecret() }, valid, true, valid, 7200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newSandbox(t)
			use := func(token string) int {
				made := get(member)
				made.token = token
				return c.do(t, made).Errcode
			}
			old := c.token(t)
			if len(old) < 100 || len(old) > 512 {
				t.Errorf("token %q", old)
			}
			tt.change(t, c)
			if got := use(old); got != tt.old {
				t.Errorf("the old token: %d, want %d", got, tt.old)
			}
			answer := c.ask(t, false)
			if same := answer.AccessToken == old; same != tt.same || answer.ExpiresIn != tt.left {
				t.Errorf("the same token: %t, want %t; %d s left, want %d", same, tt.same, answer.ExpiresIn, tt.left)
			}
			if got := use(answer.AccessToken); got != tt.new {
				t.Errorf("the new token: %d, want %d", got, tt.new)
			}
		})
	}
}

// TestForcedRefresh forces refreshes with 30 s between them, and less.
func TestForcedRefresh(t *testing.T) {
	c := newSandbox(t)
	for i, tt := range []struct {
		wait    time.Duration
		errcode int
	}{
		{0, 0},
		{29 * time.Second, 45011},
		{time.Second, 0}, // a refused one does not count
		{30 * time.Second, 0},
	} {
		c.pass(tt.wait)
		before := c.token(t)
		got := c.ask(t, true)
		if got.Errcode != tt.errcode || (got.AccessToken == "") != (tt.errcode != 0) || got.AccessToken == before {
			t.Errorf("row %d: %+v, want %d", i, got, tt.errcode)
		}
		if after := c.token(t); (after == before) != (tt.errcode != 0) {
			t.Errorf("row %d: the token is the same: %t", i, after == before)
		}
	}
}

func TestCredentials(t *testing.T) {
	c := newSandbox(t)
	old := c.Secret()
	for i, tt := range []struct {
		change  func()
		errcode int // with the secret from the start
		now     int // with the current one
		errmsg  string
	}{
		{func() {}, 0, 0, ""},
		{func() { c.Allow(false) }, 40164, 40164, "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: "},
		{func() { c.Allow(true) }, 0, 0, ""},
		{c.RotateSecret, 40125, 0, ""},
		{func() { c.Allow(false) }, 40164, 40164, ""},
	} {
		tt.change()
		for _, try := range []struct {
			secret  string
			errcode int
		}{{old, tt.errcode}, {c.Secret(), tt.now}} {
			got := c.do(t, call{path: tokenPath, body: tokenBody(try.secret, false)})
			if got.Errcode != try.errcode || !strings.HasPrefix(got.Errmsg, tt.errmsg) {
				t.Errorf("row %d: %+v, want %d", i, got, try.errcode)
			}
		}
	}
	// The allow-list applies only to requests with the secret.
	made := get(member)
	made.token = c.tokens.current.value
	if got := c.do(t, made); got.Errcode != 0 {
		t.Errorf("%+v", got)
	}
}

// TestErrcode checks the errcodes of successive updates.
func TestErrcode(t *testing.T) {
	type set struct {
		path, card     string
		errcode, times int
	}
	for _, tt := range []struct {
		name string
		set  []set
		want string // of: two updates of the membership card, two of another, a get, a token
	}{
		{"none", nil, "0 0 0 0 0 0"},
		{"zero times", []set{{updatePath, "", -1, 0}}, "0 0 0 0 0 0"},
		{"once", []set{{updatePath, "", -1, 1}}, "-1 0 0 0 0 0"},
		{"for a card", []set{{updatePath, "pbLatjCash", 45011, 1}}, "0 0 45011 0 0 0"},
		{"always", []set{{updatePath, "", 48001, -1}}, "48001 48001 48001 48001 0 0"},
		{"get", []set{{getPath, "", 40053, 5}}, "0 0 0 0 40053 0"},
		{"token", []set{{tokenPath, "", -1, 1}}, "0 0 0 0 0 -1"},
		{"in turn", []set{{updatePath, member, 1, 1}, {updatePath, "", 2, 2}}, "1 2 2 0 0 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newSandbox(t)
			token := c.token(t)
			all := func() string {
				var got []string
				for _, made := range []call{
					update(member, `"member_card":{"base_info":{"custom_url":"x"}}`),
					update(member, `"member_card":{"base_info":{"custom_url":"x"}}`),
					update("pbLatjCash", `"cash":{"base_info":{"custom_url":"x"}}`),
					update("pbLatjCash", `"cash":{"base_info":{"custom_url":"x"}}`),
					get(member),
					{path: tokenPath, body: tokenBody(c.Secret(), false)},
				} {
					if made.path != tokenPath {
						made.token = token
					}
					answer := c.do(t, made)
					if answer.Errcode != 0 && !strings.HasPrefix(answer.Errmsg, "as set rid: ") {
						t.Errorf("%+v", answer)
					}
					got = append(got, fmt.Sprint(answer.Errcode))
				}
				return strings.Join(got, " ")
			}
			for _, e := range tt.set {
				c.Errcode(e.path, e.card, e.errcode, "as set", e.times)
			}
			if got := all(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			c.Heal()
			if got := all(); got != "0 0 0 0 0 0" {
				t.Errorf("healed: %s", got)
			}
		})
	}
}

// clientOf returns a client that trusts a sandbox, and does not follow redirects.
func clientOf(s *Sandbox) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA())
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}
}
