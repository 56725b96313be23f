package main

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"membercard/shared/cardfields"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = officialaccounttest.Of(create)

func post(body string) gatewaytest.Event { return gatewaytest.Request("POST /card/create", body) }

// invoke sends a request to the function as main starts it.
func invoke(t testing.TB, event gatewaytest.Event, endpoint string) gatewaytest.Outcome {
	t.Helper()
	log, records := telemetrytest.New()
	h := newHandler(log, officialaccounttest.Client(officialaccounttest.Source(), endpoint))
	return gatewaytest.Invoke(t, h, records, event)
}

const (
	made = `{"errcode":0,"errmsg":"ok","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0"}`

	// info is what base_info must have.
	info = `"logo_url":"http://mmbiz.qpic.cn/mmbiz/x/0","brand_name":"海底捞","code_type":"CODE_TYPE_TEXT","title":"海底捞会员卡",` +
		`"color":"Color010","notice":"使用时向服务员出示此券","description":"不可与其他优惠同享","sku":{"quantity":50000000},"date_info":{"type":"DATE_TYPE_PERMANENT"}`
	prerogative = `"prerogative":"打九折"`

	pair         = `"custom_app_brand_user_name":"gh_86a091e50ad4@app","custom_app_brand_pass":"API/cardPage"`
	activatePair = `"activate_app_brand_user_name":"gh_86a091e50ad4@app","activate_app_brand_pass":"API/cardPage"`
)

// example is the document's, with what a card must have besides.
const example = `{ "card": {
    "card_type": "MEMBER_CARD",
    "member_card": {
        "base_info": {` + info + `,` + officialaccounttest.BaseInfo + `},
        ` + prerogative + `
        }
}}`

// inCard is the body for a membership card with further members.
func inCard(members string) string {
	return `{"card":{"card_type":"MEMBER_CARD","member_card":{"base_info":{` + info + `},` + prerogative + `,` + members + `}}}`
}

// inBaseInfo is the body for a membership card with further members of base_info.
func inBaseInfo(members string) string {
	return withBaseInfo(info + `,` + members)
}

// withBaseInfo is the body for a membership card with these members of base_info.
func withBaseInfo(members string) string {
	return `{"card":{"card_type":"MEMBER_CARD","member_card":{"base_info":{` + members + `},` + prerogative + `}}}`
}

// ofType is the body for a card of a type.
func ofType(cardType, members string) string {
	return `{"card":{"card_type":"` + strings.ToUpper(cardType) + `","` + cardType + `":{` + members + `}}}`
}

// TestWeChatGetsTheBytesThatCame: what no rule is about is WeChat's business.
func TestWeChatGetsTheBytesThatCame(t *testing.T) {
	type row struct{ rule, body string }
	rows := []row{
		{"the document's example", example},
		{"what is required alone", withBaseInfo(info)},
		{"blanks around it", "\n\t" + withBaseInfo(info) + " \n"},
		{"all of center", inBaseInfo(`"center_title":"快速买单","center_sub_title":"惠","center_url":"http://www.qq.com","center_app_brand_user_name":"gh_86a091e50ad4@app","center_app_brand_pass":"/pages/index?a=b"`)},
		{"a cell, with WeChat's own members", inCard(`"custom_cell1":{"name":"n","other":[1]},"custom_field1":{},"custom_cell9":"x"`)},
		{"a pair to activate with", inCard(`"activate_url":"http://www.qq.com",` + activatePair)},
		{"an empty pair", inBaseInfo(`"custom_app_brand_user_name":"","custom_app_brand_pass":""`)},
		{"an empty link", inBaseInfo(`"promotion_url":"","promotion_url_name":""`)},
		{"members that are WeChat's", inCard(`"supply_bonus":true,"bonus_rule":{"cost_money_unit":100,"increase_bonus":1},"custom_cell1":{"name":"使用入口2","tips":"激活后显示","url":"http://www.qq.com"},"advanced_info":{"use_condition":{"accept_category":"鞋类"},"text_image_list":[{"image_url":"http://a.b/","text":"x"}]}`)},
		{"null, empty texts and lists", inBaseInfo(`"service_phone":"","location_id_list":[],"bind_openid":null,"x":{}`)},
		{"numbers as they were written", inBaseInfo(`"get_limit":3.0,"large":123456789012345678901234567890,"small":1.10e-7`)},
		{"characters that JSON can spell in two ways", inBaseInfo(`"custom_url_name":"\u7acb\u5373<&>\u2028\ud83c\udf89\"\\\/"`)},
		{"names that JSON can spell in two ways", strings.Replace(example, `"logo_url"`, `"logo_\u0075rl"`, 1)},
		{"a name in another case beside the right one", inBaseInfo(`"Logo_URL":7,"Custom_url":7`)},
		{"the same name at several depths", inCard(`"title":"x","a":{"title":{"title":[{"title":1},{"title":2}]}}`)},
	}
	for _, cardType := range cardfields.CardTypes {
		rows = append(rows, row{"a " + cardType, ofType(cardType, `"base_info":{`+info+`,`+pair+`},`+prerogative)})
	}
	rows = append(rows, row{"another card has no prerogative", ofType("groupon", `"base_info":{`+info+`},"deal_detail":"以下锅底2选1"`)})
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			if sent := operation.Sends(t, post(row.body), "/card/create", made); sent != row.body {
				t.Errorf("WeChat got\n%s, want\n%s", sent, row.body)
			}
		})
	}
}

func TestABodyMayHave64KiB(t *testing.T) {
	large := inCard(`"x":"` + strings.Repeat("a", 64<<10-len(inCard(`"x":""`))) + `"`)
	w := officialaccounttest.Start(t, func(officialaccounttest.Call) string { return made })
	inBase64 := post(base64.StdEncoding.EncodeToString([]byte(large)))
	inBase64.IsBase64Encoded = true
	for i, event := range []gatewaytest.Event{post(large), inBase64} {
		if o := invoke(t, event, w.URL); o.Status != 200 || len(w.Calls()) != i+1 || w.Calls()[i].Body != large {
			t.Errorf("%d %s after %d calls", o.Status, o.Body, len(w.Calls()))
		}
	}
	invoke(t, post(large+" "), gatewaytest.Nowhere).RequireParamError(t, "/body", "64 KiB")
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	const (
		card   = "/body/card/member_card/"
		inInfo = card + "base_info/"
	)
	type row struct{ rule, body, field, issue string }
	rows := []row{
		{"card is required", `{}`, "/body/card", "is required"},
		{"card null", `{"card":null}`, "/body/card", "null"},
		{"card as an array", `{"card":[]}`, "/body/card", "an object"},
		{"the form of the update operation", `{"card_id":"p","member_card":{"base_info":{` + info + `}}}`, "/body/card_id", "not a field"},
		{"card_type is required", `{"card":{"member_card":{"base_info":{` + info + `},` + prerogative + `}}}`, "/body/card/card_type", "is required"},
		{"an empty card_type", `{"card":{"card_type":"","member_card":{}}}`, "/body/card/card_type", "empty"},
		{"card_type null", `{"card":{"card_type":null,"member_card":{}}}`, "/body/card/card_type", "null"},
		{"card_type as a number", `{"card":{"card_type":1,"member_card":{}}}`, "/body/card/card_type", "a string"},
		{"card_type in lower case", strings.Replace(example, "MEMBER_CARD", "member_card", 1), "/body/card/card_type", "GROUPON or "},
		{"card_type in both cases", strings.Replace(example, "MEMBER_CARD", "Member_Card", 1), "/body/card/card_type", "MEMBER_CARD"},
		{"card_type of another letter for K", strings.Replace(example, "MEMBER_CARD", "MOVIE_TIC\u212aET", 1), "/body/card/card_type", "MOVIE_TICKET"},
		{"card_type that there is not", strings.Replace(example, "MEMBER_CARD", "CARD", 1), "/body/card/card_type", "MEMBER_CARD"},

		{"no object", `{"card":{"card_type":"MEMBER_CARD"}}`, "/body/card/member_card", "is required"},
		{"the object of another type", strings.Replace(example, "MEMBER_CARD", "GROUPON", 1), "/body/card/member_card", "card_type GROUPON"},
		{"a second object", strings.Replace(example, `"card_type"`, `"cash":{},"card_type"`, 1), "/body/card/cash", "one type"},
		{"an object in capitals", strings.Replace(example, `"member_card"`, `"MEMBER_CARD"`, 1), "/body/card/MEMBER_CARD", "not a field"},
		{"an unknown member of card", strings.Replace(example, `"card_type"`, `"a/b":{},"card_type"`, 1), "/body/card/a~1b", "not a field"},
		{"an object null", `{"card":{"card_type":"MEMBER_CARD","member_card":null}}`, "/body/card/member_card", "null"},
		{"an object as an array", `{"card":{"card_type":"MEMBER_CARD","member_card":[]}}`, "/body/card/member_card", "an object"},
		{"base_info is required", `{"card":{"card_type":"MEMBER_CARD","member_card":{` + prerogative + `}}}`, card + "base_info", "is required"},
		{"base_info null", `{"card":{"card_type":"MEMBER_CARD","member_card":{"base_info":null}}}`, card + "base_info", "null"},
		{"base_info as a text", `{"card":{"card_type":"MEMBER_CARD","member_card":{"base_info":"x"}}}`, card + "base_info", "an object"},

		{"sku null", strings.Replace(example, `{"quantity":50000000}`, `null`, 1), inInfo + "sku", "null"},
		{"sku as a number", strings.Replace(example, `{"quantity":50000000}`, `50000000`, 1), inInfo + "sku", "an object"},
		{"sku.quantity is required", strings.Replace(example, `"quantity"`, `"Quantity"`, 1), inInfo + "sku/quantity", "is required"},
		{"sku.quantity as a text", strings.Replace(example, `50000000`, `"50000000"`, 1), inInfo + "sku/quantity", "a whole number"},
		{"sku.quantity with a fraction", strings.Replace(example, `50000000`, `0.5`, 1), inInfo + "sku/quantity", "a whole number"},
		{"date_info as a text", strings.Replace(example, `{"type":"DATE_TYPE_PERMANENT"}`, `"DATE_TYPE_PERMANENT"`, 1), inInfo + "date_info", "an object"},
		{"a member card's prerogative is required", ofType("member_card", `"base_info":{`+info+`}`), card + "prerogative", "is required"},
		{"prerogative in base_info", ofType("member_card", `"base_info":{`+info+`,`+prerogative+`}`), card + "prerogative", "is required"},
		{"an empty prerogative", ofType("member_card", `"base_info":{`+info+`},"prerogative":""`), card + "prerogative", "empty"},
		{"prerogative as a list", ofType("member_card", `"base_info":{`+info+`},"prerogative":["打九折"]`), card + "prerogative", "a string"},
		{"another card's base_info is checked too", ofType("cash", `"base_info":{`+strings.Replace(info, "title", "Title", 1)+`}`), "/body/card/cash/base_info/title", "is required"},

		{"a relative link", inBaseInfo(`"custom_url":"/pages"`), inInfo + "custom_url", "http or https"},
		{"a link of another scheme", inBaseInfo(`"promotion_url":"javascript:alert(1)"`), inInfo + "promotion_url", "http or https"},
		{"a relative link to activate with", inCard(`"activate_url":"x"`), card + "activate_url", "http or https"},
		{"a user name without @app", inBaseInfo(`"custom_app_brand_user_name":"gh_86a091e50ad4","custom_app_brand_pass":"p"`), inInfo + "custom_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"a user name to activate with", inCard(`"activate_app_brand_user_name":"x","activate_app_brand_pass":"p"`), card + "activate_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"a mini program without a page", inBaseInfo(`"center_app_brand_user_name":"gh_86a091e50ad4@app"`), inInfo + "center_app_brand_pass", "together with center_app_brand_user_name"},
		{"a page without a mini program", inBaseInfo(`"promotion_app_brand_pass":"p"`), inInfo + "promotion_app_brand_user_name", "together with promotion_app_brand_pass"},
		{"a mini program with an empty page", inBaseInfo(`"custom_app_brand_user_name":"gh_86a091e50ad4@app","custom_app_brand_pass":""`), inInfo + "custom_app_brand_pass", "must not be empty unless"},
		{"a page to activate on without a mini program", inCard(`"activate_app_brand_pass":"p"`), card + "activate_app_brand_user_name", "together"},
		{"a card field null", inBaseInfo(`"custom_url":null`), inInfo + "custom_url", "null"},
		{"a card field as a number", inBaseInfo(`"custom_url_name":1`), inInfo + "custom_url_name", "a string"},
		{"a card field as an object", inCard(`"activate_url":{"a":1}`), card + "activate_url", "a string"},
		{"a cell as a string", inCard(`"custom_cell1":"x"`), card + "custom_cell1", "an object"},
		{"half a pair within a cell", inCard(`"custom_cell1":{"app_brand_pass":"x"}`), card + "custom_cell1/app_brand_user_name", "together"},
		{"a name of 16", inCard(`"custom_field2":{"name":"1234567890123456"}`), card + "custom_field2/name", "at most 15"},
		{"a cell in base_info", inBaseInfo(`"custom_cell1":{"url":"http://www.qq.com"}`), inInfo + "custom_cell1", "member_card itself"},
		{"a cell of another card", ofType("groupon", `"base_info":{`+info+`},"custom_cell1":{"url":"http://www.qq.com"}`), "/body/card/groupon/custom_cell1", "membership cards only"},
		{"activate_url in base_info", inBaseInfo(`"activate_url":"http://www.qq.com"`), inInfo + "activate_url", "member_card itself"},
		{"a pair in base_info that belongs elsewhere", inBaseInfo(activatePair), inInfo + "activate_app_brand_user_name", "member_card itself"},
		{"a pair in the card itself that belongs elsewhere", inCard(pair), card + "custom_app_brand_user_name", "belongs to base_info"},
		{"activate_url of another card", ofType("groupon", `"base_info":{`+info+`},"activate_url":"http://www.qq.com"`), "/body/card/groupon/activate_url", "membership cards only"},

		{"an unknown member beside card", `{"appid":"x",` + example[1:], "/body/appid", "not a field"},
		{"card twice", `{"card":{},` + example[1:], "/body/card", "twice"},
		{"card_type twice", strings.Replace(example, `"card_type"`, `"card_typ\u0065":"CASH","card_type"`, 1), "/body/card/card_type", "twice"},
		{"a required member twice", inBaseInfo(`"title":"x"`), inInfo + "title", "twice"},
		{"a card field twice", inBaseInfo(`"custom_url_name":"a","custom_url_name":"b"`), inInfo + "custom_url_name", "twice"},
		{"another member twice", inCard(`"bonus_rule":{"a":[{"b":1,"\u0062":2}]}`), card + "bonus_rule/a/0/b", "twice"},
		{"broken Unicode in a card field", inBaseInfo(`"custom_url_name":"\ud800"`), inInfo + "custom_url_name", "Unicode"},
		{"broken Unicode in another member", inCard(`"x":["\udc00"]`), card + "x/0", "Unicode"},
		{"broken Unicode in another name", inCard(`"x\ud800":1`), card + "x\ufffd", "Unicode"},
		{"101 levels", inCard(`"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), card + "x" + strings.Repeat("/0", 99), "100 levels"},
		{"trailing data", example + "x", "/body", "one JSON object"},
		{"an array", "[" + example + "]", "/body", "an object"},
		{"no body", "", "/body", "empty"},
	}
	for _, name := range []string{"logo_url", "brand_name", "code_type", "title", "color", "notice", "description"} {
		without := strings.Replace(info, `"`+name+`":`, `"x":`, 1)
		rows = append(rows,
			row{name + " is required", withBaseInfo(without), inInfo + name, "is required"},
			row{"an empty " + name, withBaseInfo(without + `,"` + name + `":""`), inInfo + name, "empty"},
			row{name + " null", withBaseInfo(without + `,"` + name + `":null`), inInfo + name, "null"},
			row{name + " as a number", withBaseInfo(without + `,"` + name + `":1`), inInfo + name, "a string"},
			row{name + " in another case", withBaseInfo(without + `,"` + strings.ToUpper(name) + `":"x"`), inInfo + name, "is required"})
	}
	for _, name := range []string{"sku", "date_info"} {
		rows = append(rows, row{name + " is required", withBaseInfo(strings.Replace(info, `"`+name+`":`, `"x":`, 1)), inInfo + name, "is required"})
	}
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			operation.RefusesAlike(t, 10, post(row.body), row.field, row.issue)
		})
	}
}

func TestNoNameThatTheCallerChoseIsLogged(t *testing.T) {
	const name = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	for _, body := range []string{
		strings.Replace(example, `"card_type"`, `"`+name+`":{},"card_type"`, 1),
		inCard(`"` + name + `":1,"` + name + `":2`),
		inCard(`"x":{"` + name + `":"\ud800"}`),
		inCard(`"` + name + `":{"x":1,"x":2}`),
		inCard(`"x":[{"` + name + `":{"y":"\ud800"}}]`),
	} {
		o := operation.Invoke(t, post(body), gatewaytest.Nowhere)
		if o.Status != 400 {
			t.Errorf("%d %s", o.Status, o.Body)
		}
		o.RequireNotLogged(t, name)
	}
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, post(example), officialaccounttest.Errors{
		{"a wrong field", `{"errcode":40079,"errmsg":"invalid base_info"}`, 400, "WECHAT_40079", ""},
		{"no card_id", `{"errcode":0,"errmsg":"ok"}`, 502, "INVALID_RESPONSE", "look whether the official account has the card"},
		{"an empty card_id", `{"errcode":0,"errmsg":"ok","card_id":""}`, 502, "INVALID_RESPONSE", "has the card"},
		{"card_id null", `{"errcode":0,"errmsg":"ok","card_id":null}`, 502, "INVALID_RESPONSE", "has the card"},
		{"card_id as a number", `{"errcode":0,"errmsg":"ok","card_id":1}`, 502, "INVALID_RESPONSE", "has the card"},
		{"busy", `{"errcode":-1,"errmsg":"system error"}`, 502, "WECHAT_-1", "has the card"},
		{"no answer that is JSON", `<html>`, 502, "INVALID_RESPONSE", "has the card"},
	})
}

// FuzzRequest holds the rules against themselves, written another way.
func FuzzRequest(f *testing.F) {
	f.Add(example)
	f.Add(`{}`)
	f.Add(ofType("groupon", `"base_info":{`+info+`}`))
	f.Add(inCard(activatePair))
	f.Add(inBaseInfo(`"title":"x"`))
	f.Add(inBaseInfo(`"custom_url":null`))
	f.Fuzz(func(t *testing.T, body string) {
		gatewaytest.SkipUnlessUTF8(t, body)
		if _, passed := operation.Validate(t, post(body), "/body"); !passed {
			return
		}
		var sent struct {
			Card map[string]json.RawMessage `json:"card"`
		}
		var cardType string
		if err := json.Unmarshal([]byte(body), &sent); err != nil || len(sent.Card) != 2 || json.Unmarshal(sent.Card["card_type"], &cardType) != nil {
			t.Fatalf("let pass: %q", body)
		}
		var card map[string]json.RawMessage
		var baseInfo map[string]any
		if err := json.Unmarshal(sent.Card[strings.ToLower(cardType)], &card); err != nil {
			t.Fatalf("let pass: %q: %v", body, err)
		}
		if err := json.Unmarshal(card["base_info"], &baseInfo); err != nil {
			t.Fatalf("let pass: %q: %v", body, err)
		}
		for _, name := range []string{"logo_url", "brand_name", "code_type", "title", "color", "notice", "description"} {
			if value, _ := baseInfo[name].(string); value == "" {
				t.Fatalf("let pass without %s: %q", name, body)
			}
		}
		for _, entry := range []string{"custom", "center", "promotion"} {
			user, _ := baseInfo[entry+"_app_brand_user_name"].(string)
			pass, _ := baseInfo[entry+"_app_brand_pass"].(string)
			if (user == "") != (pass == "") {
				t.Fatalf("let pass half a pair: %q", body)
			}
		}
	})
}
