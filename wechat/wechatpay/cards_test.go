package wechatpay

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/wechat/network/networktest"
	"membercard/wechat/sandbox"
)

const (
	cardID        = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	openID        = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	cardsPath     = "/v3/marketing/membercard-open/cards/"
	userCardsPath = "/v3/brand/partner/card-member/user-cards/"
)

// do sends a request and returns the status and the members of the answer.
func (c call) do(t *testing.T, s *Sandbox) (int, map[string]any) {
	t.Helper()
	resp, body, err := do(clientOf(s), c.request(t, s, 0))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, got
}

// brandToken returns a token for a user's brand card, permissionToken one for a
// merchant card.
func brandToken(t *testing.T, s *Sandbox) string {
	t.Helper()
	_, got := call{}.do(t, s)
	return got["token"].(string)
}

func permissionToken(t *testing.T, s *Sandbox, body string) string {
	t.Helper()
	_, got := call{path: permissionPath, body: body}.do(t, s)
	return got["permission_token"].(string)
}

// confirmBody is the body that confirms a brand card, with further members.
func confirmBody(c UserCard, state, more string) string {
	return fmt.Sprintf(`{"brand_id":%q,"card_id":%q,"openid":%q,"user_card_confirm_state":%q%s}`, c.BrandID, c.CardID, c.OpenID, state, more)
}

func confirm(c UserCard, body string) call {
	return call{path: userCardsPath + c.Code + "/confirm", body: body}
}

// encryptFor encrypts a text for WeChat Pay.
func encryptFor(t *testing.T, publicKey, plain string) string {
	t.Helper()
	key, err := utils.LoadPublicKey(publicKey)
	if err != nil {
		t.Fatal(err)
	}
	ciphertext, err := utils.EncryptOAEPWithPublicKey(plain, key)
	if err != nil {
		t.Fatal(err)
	}
	return ciphertext
}

// TestUserCardRefusals has requests about users' cards that WeChat Pay refuses, and
// the closest that it accepts.
func TestUserCardRefusals(t *testing.T) {
	s := newSandbox(t)
	brand, merchant := s.UserCards()[0], s.UserCards()[1]
	open := func() UserCard {
		c, _, err := s.OpenCard(brandToken(t, s), openID)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	success := func(more string) call { return confirm(open(), confirmBody(brand, "CREATE_CARD_SUCCESS", more)) }
	replace := func(old, new string) call {
		return confirm(open(), strings.Replace(confirmBody(brand, "CREATE_CARD_SUCCESS", ""), old, new, 1))
	}
	confirmed, refused, deleted := open(), open(), open()
	s.DeleteCard(deleted.Code)
	phone := encryptFor(t, publicKeyPEM(&s.publicKeys[0].key.PublicKey), "13900000000")
	foreign := encryptFor(t, publicKeyPEM(&s.unknown.key.PublicKey), "13900000000")
	withCertificate := success(`,"phone_number":"` + encryptFor(t, publicKeyPEM(&s.certificates[0].key.PublicKey), "13900000000") + `"`)
	withCertificate.header = map[string]string{"Wechatpay-Serial": s.certificates[0].id}
	noSerial := success("")
	noSerial.header = map[string]string{"Wechatpay-Serial": "-"}
	activate := func(c UserCard, body string) call {
		return call{path: cardsPath + c.CardID + "/codes/" + c.Code + "/activate", body: body}
	}
	merchantConfirm := func(code, body string) call {
		return call{path: cardsPath + cardID + "/codes/" + code + "/confirm", body: body}
	}
	decrypt := func(query string) call { return get(cardsPath + cardID + "/decrypt-code" + query) }
	ticket := func(segment string) call {
		return get("/v3/marketing/membercard-open/activate-informations/" + segment)
	}
	jump := func() UserCard {
		c, _, err := s.OpenCard(permissionToken(t, s, `{"activate_type":"JUMP_ACTIVATE","activate_url":"https://a.example/"}`), openID)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	jumped, gone := jump(), jump()
	s.DeleteCard(gone.Code)
	escaped := url.QueryEscape(jumped.ActivateTicket)
	checkAnswers(t, s, []row{
		// 同步会员开通结果.
		{"confirm", confirm(confirmed, confirmBody(confirmed, "CREATE_CARD_SUCCESS", "")), 200, "", "", ""},
		{"confirm again", confirm(confirmed, confirmBody(confirmed, "CREATE_CARD_SUCCESS", "")), 400, "INVALID_REQUEST", "已确认", ""},
		{"refuse", confirm(refused, confirmBody(refused, "CREATE_CARD_FAIL", "")), 200, "", "", ""},
		{"confirm after refusal", confirm(refused, confirmBody(refused, "CREATE_CARD_SUCCESS", "")), 400, "INVALID_REQUEST", "已确认", ""},
		{"confirm what was deleted", confirm(deleted, confirmBody(deleted, "CREATE_CARD_SUCCESS", "")), 400, "INVALID_REQUEST", "已失效", ""},
		{"unknown code", confirm(UserCard{Code: "1"}, confirmBody(brand, "CREATE_CARD_SUCCESS", "")), 404, "RESOURCE_NOT_EXISTS", "不存在", ""},
		{"merchant card's code", confirm(merchant, confirmBody(brand, "CREATE_CARD_SUCCESS", "")), 404, "RESOURCE_NOT_EXISTS", "不存在", ""},
		{"code of 33", confirm(UserCard{Code: strings.Repeat("1", 33)}, confirmBody(brand, "CREATE_CARD_SUCCESS", "")), 400, "PARAM_ERROR", "大于最大值 32", "url user_card_code"},
		{"no Wechatpay-Serial", noSerial, 400, "PARAM_ERROR", "Wechatpay-Serial", "header Wechatpay-Serial"},
		{"another brand", replace(`"1004"`, `"1005"`), 400, "INVALID_REQUEST", "不匹配", ""},
		{"another card", replace(`"`+cardID+`"`, `"p"`), 400, "INVALID_REQUEST", "不匹配", ""},
		{"another user", replace(`"`+openID+`"`, `"o"`), 400, "INVALID_REQUEST", "不匹配", ""},
		{"no brand_id", replace(`brand_id`, `brand`), 400, "PARAM_ERROR", "必填", "body /brand_id"},
		{"no card_id", replace(`card_id`, `card`), 400, "PARAM_ERROR", "必填", "body /card_id"},
		{"no openid", replace(`openid`, `open`), 400, "PARAM_ERROR", "必填", "body /openid"},
		{"no state", replace(`user_card_confirm_state`, `state`), 400, "PARAM_ERROR", "必填", "body /user_card_confirm_state"},
		{"a merchant card's state", replace("CREATE_CARD_SUCCESS", "CREATE_CARD_ALREADY_EXISTS"), 400, "PARAM_ERROR", "取值应为", "body /user_card_confirm_state"},
		{"color", success(`,"card_color":"#63b359"`), 200, "", "", ""},
		{"color without #", success(`,"card_color":"63b359"`), 400, "PARAM_ERROR", "#RRGGBB", "body /card_color"},
		{"picture of 257", success(`,"card_picture_url":"` + strings.Repeat("a", 257) + `"`), 400, "PARAM_ERROR", "大于最大值 256", "body /card_picture_url"},
		{"phone number", success(`,"phone_number":"` + phone + `"`), 200, "", "", ""},
		{"phone number, certificate", withCertificate, 200, "", "", ""},
		{"phone number in the clear", success(`,"phone_number":"13900000000"`), 400, "PARAM_ERROR", "解密失败", "body /phone_number"},
		{"phone number, another key", success(`,"phone_number":"` + foreign + `"`), 400, "PARAM_ERROR", "解密失败", "body /phone_number"},
		{"user information", success(`,"user_information":{"common_field_list":[{"name":"a","value":"` + phone + `"},{"name":"b","value_list":["` + phone + `"]}]}`), 200, "", "", ""},
		{"user information in the clear", success(`,"user_information":{"common_field_list":[{"name":"a","value":"张三"}]}`), 400, "PARAM_ERROR", "解密失败", "body /user_information/common_field_list/0/value"},
		{"list of values in the clear", success(`,"user_information":{"custom_field_list":[{"name":"a","value_list":["` + phone + `","x"]}]}`), 400, "PARAM_ERROR", "解密失败", "body /user_information/custom_field_list/0/value_list/1"},
		{"string for user information", success(`,"user_information":"x"`), 400, "PARAM_ERROR", "合法的对象", "body /user_information"},
		{"valid dates", success(`,"valid_date_information":{"type":"FIX_TIME_RANGE","available_begin_time":"2025-06-22T13:29:35+08:00","available_end_time":"2026-06-22T13:29:35+08:00"}`), 200, "", "", ""},
		{"valid days", success(`,"valid_date_information":{"type":"FIX_TERM","available_day_after_receive":30}`), 200, "", "", ""},
		{"valid dates without type", success(`,"valid_date_information":{}`), 400, "PARAM_ERROR", "必填", "body /valid_date_information/type"},
		{"unknown type of valid dates", success(`,"valid_date_information":{"type":"ALWAYS"}`), 400, "PARAM_ERROR", "取值应为", "body /valid_date_information/type"},
		{"valid from what is no time", success(`,"valid_date_information":{"type":"PERMANENT","available_begin_time":"2025-06-22"}`), 400, "PARAM_ERROR", "rfc3339", "body /valid_date_information/available_begin_time"},
		{"string for valid days", success(`,"valid_date_information":{"type":"FIX_TERM","available_day_after_receive":"30"}`), 400, "PARAM_ERROR", "合法的整数", "body /valid_date_information/available_day_after_receive"},
		{"GET of a confirmation", get(userCardsPath + brand.Code + "/confirm"), 405, "METHOD_NOT_ALLOWED", "GET", ""},

		// 查询用户填写的激活信息.
		{"information", ticket(escaped), 200, "", "", ""},
		{"ticket not escaped", ticket(jumped.ActivateTicket), 404, "NOT_FOUND", "", ""},
		{"ticket half escaped", ticket(url.PathEscape(jumped.ActivateTicket)), 200, "", "", ""},
		{"ticket escaped twice", ticket(url.QueryEscape(escaped)), 404, "RESOURCE_NOT_EXISTS", "", ""},
		{"unknown ticket", ticket("x"), 404, "RESOURCE_NOT_EXISTS", "", ""},
		{"ticket of a deleted card", ticket(url.QueryEscape(gone.ActivateTicket)), 404, "RESOURCE_NOT_EXISTS", "", ""},

		// 解密code.
		{"decrypt", decrypt("?encrypt_code=" + jumped.EncryptCode), 200, jumped.Code, "", ""},
		{"decrypt, escaped", decrypt("?encrypt_code=" + url.QueryEscape(jumped.EncryptCode)), 200, jumped.Code, "", ""},
		{"decrypt, a space for +", decrypt("?encrypt_code=" + strings.ReplaceAll(jumped.EncryptCode, "+", "%20")), 400, "PARAM_ERROR", "无效", "query encrypt_code"},
		{"decrypt, more parameters", decrypt("?encrypt_code=" + jumped.EncryptCode + "&a=b"), 200, jumped.Code, "", ""},
		{"decrypt nothing", decrypt(""), 400, "PARAM_ERROR", "必填", "query encrypt_code"},
		{"decrypt 129", decrypt("?encrypt_code=" + strings.Repeat("a", 129)), 400, "PARAM_ERROR", "大于最大值 128", "query encrypt_code"},
		{"decrypt for another card", get(cardsPath + "p/decrypt-code?encrypt_code=" + jumped.EncryptCode), 400, "PARAM_ERROR", "无效", "query encrypt_code"},
		{"decrypt for a deleted card", decrypt("?encrypt_code=" + gone.EncryptCode), 400, "PARAM_ERROR", "无效", "query encrypt_code"},

		// 激活会员卡.
		{"no body", call{path: cardsPath + cardID + "/codes/" + merchant.Code + "/activate", body: " "}, 400, "PARAM_ERROR", "JSON", "body "},
		{"number of 33", activate(merchant, `{"membership_number":"`+strings.Repeat("1", 33)+`"}`), 400, "PARAM_ERROR", "大于最大值 32", "body /membership_number"},
		{"number in Chinese", activate(merchant, `{"membership_number":"一"}`), 400, "PARAM_ERROR", "半角标点", "body /membership_number"},
		{"another card's code", activate(UserCard{CardID: "p", Code: merchant.Code}, "{}"), 404, "RESOURCE_NOT_EXISTS", "", ""},
		{"a brand card", activate(brand, "{}"), 404, "RESOURCE_NOT_EXISTS", "", ""},
		{"a deleted card", activate(gone, "{}"), 404, "RESOURCE_NOT_EXISTS", "", ""},
		{"activate", activate(merchant, `{"membership_number":"A-1"}`), 204, "", "", ""},
		{"activate again", activate(merchant, "{}"), 400, "INVALID_REQUEST", "已激活", ""},

		// 确认开卡结果.
		{"confirm a merchant card", merchantConfirm(merchant.Code, `{"user_card_confirm_state":"CREATE_CARD_ALREADY_EXISTS"}`), 204, "", "", ""},
		{"confirm it again", merchantConfirm(merchant.Code, `{"user_card_confirm_state":"CREATE_CARD_SUCCESS"}`), 204, "", "", ""},
		{"without state", merchantConfirm(merchant.Code, `{}`), 400, "PARAM_ERROR", "必填", "body /user_card_confirm_state"},
		{"unknown state", merchantConfirm(merchant.Code, `{"user_card_confirm_state":"OK"}`), 400, "PARAM_ERROR", "取值应为", "body /user_card_confirm_state"},
		{"reason of 128", merchantConfirm(merchant.Code, `{"user_card_confirm_state":"CREATE_CARD_FAIL","fail_reason":"`+strings.Repeat("因", 128)+`"}`), 204, "", "", ""},
		{"reason of 129", merchantConfirm(merchant.Code, `{"user_card_confirm_state":"CREATE_CARD_FAIL","fail_reason":"`+strings.Repeat("因", 129)+`"}`), 400, "PARAM_ERROR", "大于最大值 128", "body /fail_reason"},
		{"unknown merchant card", merchantConfirm("1", `{"user_card_confirm_state":"CREATE_CARD_SUCCESS"}`), 404, "RESOURCE_NOT_EXISTS", "", ""},
	})
	if c, _ := s.UserCard(confirmed.Code); c.State != Effective || c.Confirmations != 1 || c.Repetitions != 1 {
		t.Errorf("confirmed: %+v", c)
	}
	if c, _ := s.UserCard(refused.Code); c.State != Invalid || c.ConfirmState != "CREATE_CARD_FAIL" || c.Repetitions != 1 {
		t.Errorf("refused: %+v", c)
	}
	if c := s.UserCards()[0]; c.State != Unactivated || c.Confirmations != 0 {
		t.Errorf("never confirmed: %+v", c)
	}
	if c := s.UserCards()[1]; c.State != Effective || c.MembershipNumber != "A-1" || c.Confirmations != 1 || c.Repetitions != 2 || c.ConfirmState != "CREATE_CARD_ALREADY_EXISTS" {
		t.Errorf("activated: %+v", c)
	}
}

// TestOpenCard opens cards with good and bad tokens.
func TestOpenCard(t *testing.T) {
	now := time.Now()
	var passed time.Duration
	s, err := start(func() time.Time { return now.Add(passed) })
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, s)
	brand := brandToken(t, s)
	expiring := brandToken(t, s)
	auto := permissionToken(t, s, permissionBody)
	for _, tt := range []struct {
		name, token, openid string
		after               time.Duration
		want                string // the state, or a part of the error
	}{
		{"unknown", "x", openID, 0, "unknown"},
		{"another user's", brand, "oOther", 0, "another user's"},
		{"brand", brand, openID, 0, Unactivated},
		{"brand, used", brand, openID, 0, "used"},
		{"almost expired", expiring, "oOther", time.Hour - time.Second, "another user's"},
		{"expired", expiring, openID, time.Hour, "expired"},
		{"permission tokens don't expire", auto, "oAnybody", 1000 * time.Hour, Effective},
		{"permission, used", auto, "oAnybody", 1000 * time.Hour, "used"},
	} {
		passed = tt.after
		before := len(s.UserCards())
		c, jump, err := s.OpenCard(tt.token, tt.openid)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) || len(s.UserCards()) != before {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if c.State != tt.want || c.OpenID != tt.openid || c.CardID != cardID || jump != nil || len(s.UserCards()) != before+1 {
			t.Errorf("%s: %+v, %v", tt.name, c, jump)
		}
		form := regexp.MustCompile(map[bool]string{true: `^\d{24}$`, false: `^\d{12}$`}[c.BrandID != ""])
		if !form.MatchString(c.Code) {
			t.Errorf("%s: code %s", tt.name, c.Code)
		}
	}
}

// TestJump checks where JUMP_ACTIVATE leads.
func TestJump(t *testing.T) {
	s := newSandbox(t)
	for _, tt := range []struct {
		name, body string
		url        string // before what is appended
		appID      string
	}{
		{"page", `"activate_url":"https://a.example/b"`, "https://a.example/b?", ""},
		{"page with a query", `"activate_url":"https://a.example/b?c=d"`, "https://a.example/b?c=d&", ""},
		{"mini program", `"activate_appid":"wxea9c30a90fs8d3fe","activate_path":"pages/a"`, "", "wxea9c30a90fs8d3fe"},
		{"both", `"activate_url":"https://a.example/b","activate_appid":"wxea9c30a90fs8d3fe","activate_path":"pages/a"`, "", "wxea9c30a90fs8d3fe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, jump, err := s.OpenCard(permissionToken(t, s, `{"activate_type":"JUMP_ACTIVATE","outer_str":"店&1",`+tt.body+`}`), openID)
			if err != nil || c.State != Unactivated || jump == nil {
				t.Fatalf("%+v, %v, %v", c, jump, err)
			}
			got := jump.ExtraData
			if tt.appID != "" {
				if jump.URL != "" || jump.AppID != tt.appID || jump.Path != "pages/a" || got["code"] != c.Code {
					t.Errorf("%+v", jump)
				}
			} else {
				query, ok := strings.CutPrefix(jump.URL, tt.url)
				if !ok || jump.AppID != "" || !strings.Contains(query, "&encrypt_code="+c.EncryptCode+"&") {
					t.Errorf("%+v", jump)
				}
				values, err := url.ParseQuery(query)
				if err != nil || values.Has("code") {
					t.Errorf("%v, %v", values, err)
				}
				got = map[string]string{}
				for name := range values {
					got[name] = values.Get(name)
				}
			}
			if got["card_id"] != cardID || got["openid"] != openID || got["activate_ticket"] != c.ActivateTicket || got["outer_str"] != "店&1" {
				t.Errorf("%v", got)
			}
			for _, each := range "+/" {
				if !strings.ContainsRune(c.EncryptCode, each) || !strings.ContainsRune(c.ActivateTicket, each) {
					t.Errorf("no %c in %s, %s", each, c.EncryptCode, c.ActivateTicket)
				}
			}
			if !strings.HasSuffix(c.ActivateTicket, "=") || len(c.EncryptCode) > 128 || len(c.ActivateTicket) > 256 {
				t.Errorf("%s, %s", c.EncryptCode, c.ActivateTicket)
			}
		})
	}
}

// TestConfirmationLimit counts 5 confirmations a second, and RefuseIf refuses without
// effect.
func TestConfirmationLimit(t *testing.T) {
	s := newSandbox(t)
	s.LimitConfirmations(5)
	brand := s.UserCards()[0]
	request := confirm(brand, confirmBody(brand, "CREATE_CARD_SUCCESS", ""))
	s.RefuseIf(func(r *Request) (int, string, string) {
		if strings.HasSuffix(r.URI, "/confirm") {
			return 500, "SYSTEM_ERROR", "系统异常"
		}
		return 0, "", ""
	})
	if status, got := request.do(t, s); status != 500 || got["code"] != "SYSTEM_ERROR" {
		t.Errorf("%d %v", status, got)
	}
	brandToken(t, s)
	s.RefuseIf(nil)
	for i := range 7 {
		want := map[bool]int{true: 200, false: 400}[i == 0]
		if i >= 5 {
			want = 429
		}
		status, got := request.do(t, s)
		if status != want || want == 429 && got["code"] != "FREQUENCY_LIMITED" {
			t.Errorf("%d: %d %v, want %d", i, status, got, want)
		}
	}
	if c, _ := s.UserCard(brand.Code); c.Confirmations != 1 || c.Repetitions != 4 {
		t.Errorf("%+v", c)
	}
}

// TestConfirmedOnce confirms a card by many at once: it counts once.
func TestConfirmedOnce(t *testing.T) {
	s := newSandbox(t)
	brand := s.UserCards()[0]
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { confirm(brand, confirmBody(brand, "CREATE_CARD_SUCCESS", "")).do(t, s) })
	}
	all.Wait()
	if c, _ := s.UserCard(brand.Code); c.Confirmations != 1 || c.Repetitions != 7 {
		t.Errorf("%+v", c)
	}
}

// TestConfirmAnswer compares the answer with the card.
func TestConfirmAnswer(t *testing.T) {
	s := newSandbox(t)
	brand := s.UserCards()[0]
	status, got := confirm(brand, confirmBody(brand, "CREATE_CARD_SUCCESS", `,"valid_date_information":{"type":"FIX_TERM","available_day_after_receive":30}`)).do(t, s)
	want := map[string]any{
		"user_card_code": brand.Code, "card_id": brand.CardID, "openid": brand.OpenID, "brand_id": brand.BrandID, "card_type": "NORMAL",
		"user_card_state": Effective, "pickup_time": rfc3339(brand.Opened),
		"valid_date_information": map[string]any{"type": "FIX_TERM", "available_day_after_receive": 30},
	}
	if status != 200 || string(sandbox.JSON(got)) != string(sandbox.JSON(want)) {
		t.Errorf("%d %v, want %v", status, got, want)
	}
}

// TestCallback sets and reads the callback address.
func TestCallback(t *testing.T) {
	const path = "/v3/marketing/membercard-open/callback"
	s := newSandbox(t)
	s.NotifyAt("http://127.0.0.1:1/wechatpay/notifications")
	set := func(address string) call {
		return call{method: "PATCH", path: path, body: string(sandbox.JSON(map[string]string{"notify_url": address}))}
	}
	checkAnswers(t, s, []row{
		{"set", set("https://api.example/wechatpay/notifications"), 200, "", "", ""},
		{"the local address", set("http://127.0.0.1:1/wechatpay/notifications"), 200, "", "", ""},
		{"another of http", set("http://127.0.0.1:2/wechatpay/notifications"), 400, "PARAM_ERROR", "https", "body /notify_url"},
		{"with a query", set("https://api.example/?a=b"), 400, "PARAM_ERROR", "不携带参数", "body /notify_url"},
		{"with an empty query", set("https://api.example/?"), 400, "PARAM_ERROR", "不携带参数", "body /notify_url"},
		{"with a fragment", set("https://api.example/#a"), 400, "PARAM_ERROR", "不携带参数", "body /notify_url"},
		{"no host", set("https:///a"), 400, "PARAM_ERROR", "https", "body /notify_url"},
		{"of 257", set("https://api.example/" + strings.Repeat("a", 237)), 400, "PARAM_ERROR", "大于最大值 256", "body /notify_url"},
		{"empty", set(""), 400, "PARAM_ERROR", "小于最小值 1", "body /notify_url"},
		{"none", call{method: "PATCH", path: path, body: "{}"}, 400, "PARAM_ERROR", "必填", "body /notify_url"},
		{"POST", call{path: path}, 405, "METHOD_NOT_ALLOWED", "POST", ""},
		{"set for good", set("https://api.example/last"), 200, "", "", ""},
	})
	if status, got := (call{method: "GET", path: path}).do(t, s); status != 200 || got["notify_url"] != "https://api.example/last" || got["mchid"] != mchID {
		t.Errorf("%d %v", status, got)
	}
}

// TestServiceModules adds, changes and removes a service module of a card.
func TestServiceModules(t *testing.T) {
	const path, pages = "/v3/marketing/membercard-open/cards/pCard/service-modules", `"jump_miniprogram":{"appid":"wx1","path":"p"}`
	add := func(id string) call {
		return call{path: path, body: `{"service_module_id":"` + id + `",` + pages + `}`}
	}
	change := func(id, body string) call { return call{method: "PATCH", path: path + "/" + id, body: body} }
	remove := func(id string) call { return call{method: "DELETE", path: path + "/" + id} }
	s := newSandbox(t)
	checkAnswers(t, s, []row{
		{"change, not added", change("666", `{`+pages+`}`), 400, "INVALID_REQUEST", "会员卡暂未添加该会员服务项", ""},
		{"remove, not added", remove("666"), 400, "INVALID_REQUEST", "会员卡暂未添加该会员服务项", ""},
		{"add", add("666"), 200, "", "", ""},
		{"add again", add("666"), 400, "INVALID_REQUEST", "会员卡已添加该会员服务项", ""},
		{"change", change("666", `{"jump_miniprogram":{"appid":"wx2","path":"q"}}`), 200, "", "", ""},
		{"an ID that does not exist", add("0666"), 400, "INVALID_REQUEST", "该会员服务项id不存在", ""},
		{"another brand's", add("9NoRight"), 400, "INVALID_REQUEST", "使用权限", ""},
		{"an ID of 10", add("1234567890"), 400, "PARAM_ERROR", "大于最大值 9", "body /service_module_id"},
		{"no mini program", change("666", `{}`), 400, "PARAM_ERROR", "必填", "body /jump_miniprogram"},
		{"no path", change("666", `{"jump_miniprogram":{"appid":"wx2"}}`), 400, "PARAM_ERROR", "必填", "body /jump_miniprogram/path"},
		{"the old kind", call{path: strings.Replace(path, "pCard", "pOldCard", 1), body: add("666").body}, 400, "INVALID_REQUEST", "请先升级会员卡", ""},
		{"no read", call{method: "GET", path: path}, 405, "METHOD_NOT_ALLOWED", "GET", ""},
	})
	if got := s.ServiceModules("pCard"); len(got) != 1 || got["666"] != (ServiceModule{"wx2", "q"}) {
		t.Errorf("%v", got)
	}
	checkAnswers(t, s, []row{{"remove", remove("666"), 204, "", "", ""}, {"remove again", remove("666"), 400, "INVALID_REQUEST", "会员卡暂未添加该会员服务项", ""}})
}

// TestEcho is the self-test of keys, with each kind of WeChat Pay's.
func TestEcho(t *testing.T) {
	s := newSandbox(t)
	m := secretOf(t, s, Both)
	certificate := s.certificates[0]
	for _, tt := range []struct {
		name, serial, publicKey string
		status                  int
		field                   string
	}{
		{"public key", m.PublicKeyID, m.PublicKey, 200, ""},
		{"certificate", certificate.id, publicKeyPEM(&certificate.key.PublicKey), 200, ""},
		{"mixed", m.PublicKeyID, publicKeyPEM(&certificate.key.PublicKey), 400, "/encrypted_echo_message"},
		{"no serial", "-", m.PublicKey, 400, "Wechatpay-Serial"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, got := call{
				path: "/v3/security/echo", header: map[string]string{"Wechatpay-Serial": tt.serial},
				body: string(sandbox.JSON(map[string]string{"echo_message": "hello", "encrypted_echo_message": encryptFor(t, tt.publicKey, "secret")})),
			}.do(t, s)
			if status != tt.status {
				t.Fatalf("%d %v", status, got)
			}
			if status != http.StatusOK {
				if got["detail"].(map[string]any)["field"] != tt.field {
					t.Errorf("%v", got)
				}
				return
			}
			plain, err := utils.DecryptOAEP(got["encrypted_echo_message"].(string), m.key)
			if err != nil || plain != "secret" || got["echo_message"] != "hello" {
				t.Errorf("%v, %s, %v", got, plain, err)
			}
		})
	}
	echo := func(body string) call { return call{path: "/v3/security/echo", body: body} }
	checkAnswers(t, s, []row{
		{"message only", echo(`{"echo_message":"a"}`), 200, "", "", ""},
		{"no message", echo(`{}`), 400, "PARAM_ERROR", "必填", "body /echo_message"},
		{"not encrypted", echo(`{"echo_message":"a","encrypted_echo_message":"` + base64.StdEncoding.EncodeToString([]byte("secret")) + `"}`), 400, "PARAM_ERROR", "解密失败", "body /encrypted_echo_message"},
		{"address of http", echo(`{"echo_message":"a","notify_url":"http://a.example/"}`), 400, "PARAM_ERROR", "https", "body /notify_url"},
	})
}
