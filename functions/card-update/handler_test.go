package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/strictjson"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = officialaccounttest.Of(update)

func post(body string) gatewaytest.Event { return gatewaytest.Request("POST /card/update", body) }

const cardID = "pbLatjvWOibDc5-TBnbUk1pD12o0"

// example is the document's example in the form of /card/update.
const example = `{
    "card_id": "` + cardID + `",
    "member_card": {
        "base_info": {` + officialaccounttest.BaseInfo + `}
        }
}`

const taken = `{"errcode":0,"errmsg":"ok","send_check":false}`

// inBaseInfo returns a body with these fields in a membership card's base_info.
func inBaseInfo(fields string) string {
	return `{"card_id":"` + cardID + `","member_card":{"base_info":{` + fields + `}}}`
}

// inCard returns a body with these members of a card object.
func inCard(cardType, members string) string {
	return `{"card_id":"` + cardID + `","` + cardType + `":{` + members + `}}`
}

const (
	pair         = `"custom_app_brand_user_name":"gh_86a091e50ad4@app","custom_app_brand_pass":"API/cardPage"`
	activatePair = `"activate_app_brand_user_name":"gh_86a091e50ad4@app","activate_app_brand_pass":"API/cardPage"`
)

const objectPair = `"app_brand_user_name":"gh_86a091e50ad4@app","app_brand_pass":"API/cardPage"`

func han(n int) string { return strings.Repeat("卡", n) }

// link returns a URL of n characters.
func link(n int) string { return "https://example.com/" + han(n-20) }

// WeChat gets exactly the fields that were sent, so nothing else changes.
func TestWeChatGetsTheFieldsThatWereSent(t *testing.T) {
	type row struct{ rule, body string }
	rows := []row{
		{"the document's example", example},
		{"one field", inBaseInfo(`"custom_url_name":"立即使用"`)},
		{"a mini program alone", inBaseInfo(pair)},
		{"an H5 link alone", inBaseInfo(`"center_url":"https://example.com/a?b=1&c=<2>"`)},
		{"all of center", inBaseInfo(`"center_title":"快速买单","center_sub_title":"惠","center_url":"http://www.qq.com","center_app_brand_user_name":"gh_86a091e50ad4@app","center_app_brand_pass":"/pages/index?a=b"`)},
		{"activate_url in member_card itself", inCard("member_card", `"activate_url":"http://www.qq.com"`)},
		{"a mini program to activate in", inCard("member_card", activatePair)},
		{"both", inCard("member_card", activatePair+`,"base_info":{`+pair+`}`)},
		{"an empty text clears", inBaseInfo(`"custom_url_name":""`)},
		{"an empty link clears", inBaseInfo(`"promotion_url":""`)},
		{"an empty pair clears", inBaseInfo(`"promotion_app_brand_user_name":"","promotion_app_brand_pass":""`)},
		{"an empty pair to activate with clears", inCard("member_card", `"activate_url":"","activate_app_brand_user_name":"","activate_app_brand_pass":""`)},
		{"two pairs, one cleared", inBaseInfo(pair + `,"center_app_brand_user_name":"","center_app_brand_pass":""`)},
		{"characters that JSON can spell in two ways", inBaseInfo(`"custom_url_name":"\u7acb\u5373<&>\u2028\ud83c\udf89\"\\"`)},
		{"an ID in capitals, with _ and -", inBaseInfo(`"custom_app_brand_user_name":"gh_A-b_9@app","custom_app_brand_pass":"p"`)},
		{"the points", inCard("member_card", `"bonus_url":"http://www.qq.com","bonus_app_brand_user_name":"gh_86a091e50ad4@app","bonus_app_brand_pass":"p"`)},
		{"the balance", inCard("member_card", `"balance_url":"","balance_app_brand_user_name":"","balance_app_brand_pass":""`)},
		{"a field within its object", inCard("member_card", `"custom_field1":{"name_type":"FIELD_NAME_TYPE_SET_POINTS","name":"等级","url":"http://www.qq.com",`+objectPair+`}`)},
		{"cells within their objects", inCard("member_card", `"custom_cell1":{"name":"使用入口","tips":"激活后显示","url":"http://www.qq.com"},"custom_cell2":{`+objectPair+`}`)},
		{"an empty pair clears within its object", inCard("member_card", `"custom_field3":{"name_type":"","app_brand_user_name":"","app_brand_pass":""}`)},
		{"texts as long as may be", inCard("member_card", `"custom_cell1":{"name":"`+han(15)+`","tips":"`+han(18)+`","url":"`+link(128)+`"},"base_info":{"custom_url_name":"`+han(15)+`","promotion_url_sub_title":"`+han(18)+`","center_title":"`+han(18)+`","center_sub_title":"`+han(24)+`","center_url":"`+link(128)+`"}`)},
		{"card_id of 32", `{"card_id":"` + strings.Repeat("p", 32) + `","cash":{"base_info":{` + pair + `}}}`},
	}
	for _, cardType := range []string{"groupon", "cash", "discount", "gift", "general_coupon", "member_card", "scenic_ticket", "movie_ticket", "boarding_pass", "meeting_ticket"} {
		rows = append(rows, row{"a " + cardType, inCard(cardType, `"base_info":{`+pair+`}`)})
	}
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			sent := operation.Sends(t, post(row.body), "/card/update", taken)
			var want, got any
			if err := json.Unmarshal([]byte(row.body), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(sent), &got); err != nil || !reflect.DeepEqual(want, got) {
				t.Errorf("WeChat got %s, %v", sent, err)
			}
			if strings.Contains(sent, `\u003c`) || strings.Contains(sent, `\u0026`) {
				t.Errorf("WeChat got escapes: %s", sent)
			}
		})
	}
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	const (
		info = "/body/member_card/base_info/"
		card = "/body/member_card/"
	)
	for _, row := range []struct{ rule, body, field, issue string }{
		{"card_id is required", `{"member_card":{"base_info":{` + pair + `}}}`, "/body/card_id", "is required"},
		{"an empty card_id", `{"card_id":"","member_card":{"base_info":{` + pair + `}}}`, "/body/card_id", "empty"},
		{"card_id of 33", `{"card_id":"` + strings.Repeat("p", 33) + `","member_card":{"base_info":{` + pair + `}}}`, "/body/card_id", "1 to 32"},
		{"card_id of another alphabet", `{"card_id":"p/q","member_card":{"base_info":{` + pair + `}}}`, "/body/card_id", "1 to 32"},
		{"card_id as a number", `{"card_id":1,"member_card":{"base_info":{` + pair + `}}}`, "/body/card_id", "a string"},

		{"no card", `{"card_id":"` + cardID + `"}`, "/body", "type"},
		{"two cards", `{"card_id":"` + cardID + `","groupon":{"base_info":{` + pair + `}},"member_card":{"base_info":{` + pair + `}}}`, "/body/member_card", "groupon"},
		{"a card of a type that there is not", inCard("membership_card", `"base_info":{`+pair+`}`), "/body/membership_card", "not a field"},
		{"a type in capitals", inCard("MEMBER_CARD", `"base_info":{`+pair+`}`), "/body/MEMBER_CARD", "not a field"},
		{"the form of the create operation", `{"card":{"card_type":"MEMBER_CARD","member_card":{}}}`, "/body/card", "not a field"},
		{"card null", `{"card_id":"` + cardID + `","member_card":null}`, "/body/member_card", "null"},
		{"card as a string", `{"card_id":"` + cardID + `","member_card":"x"}`, "/body/member_card", "an object"},

		{"no field", inCard("member_card", ``), "/body/member_card", "a field to change"},
		{"no field in base_info", inBaseInfo(``), "/body/member_card", "a field to change"},
		{"no field in another card", inCard("cash", `"base_info":{}`), "/body/cash", "a field to change"},
		{"base_info null", inCard("member_card", `"base_info":null`), card + "base_info", "null"},
		{"base_info as an array", inCard("member_card", `"base_info":[]`), card + "base_info", "an object"},

		{"another field of base_info", inBaseInfo(`"brand_name":"x"`), info + "brand_name", "not a field"},
		{"another field behind a good one", inBaseInfo(pair + `,"title":"x"`), info + "title", "not a field"},
		{"another field as a number", inBaseInfo(`"x":1`), info + "x", "not a field"},
		{"another field null", inBaseInfo(`"x":null`), info + "x", "not a field"},
		{"a Go name", inBaseInfo(`"Custom_url":"http://www.qq.com"`), info + "Custom_url", "not a field"},
		{"a name with a slash", inBaseInfo(`"a/b":"x"`), info + "a~1b", "not a field"},
		{"a name with a tilde", inBaseInfo(`"a~b":"x"`), info + "a~0b", "not a field"},
		{"another field of member_card", inCard("member_card", `"prerogative":"x"`), card + "prerogative", "not a field"},
		{"a field of base_info in the card itself", inCard("member_card", `"custom_url":"http://www.qq.com"`), card + "custom_url", "belongs to base_info"},
		{"a field null", inBaseInfo(`"custom_url":null`), info + "custom_url", "null"},
		{"a field as a number", inBaseInfo(`"custom_url_name":1`), info + "custom_url_name", "a string"},
		{"a field as an object", inBaseInfo(`"custom_url_name":{"a":1}`), info + "custom_url_name", "a string"},
		{"activate_url null", inCard("member_card", `"activate_url":null`), card + "activate_url", "null"},
		{"broken Unicode", inBaseInfo(`"custom_url_name":"\ud800"`), info + "custom_url_name", "Unicode"},

		{"a relative link", inBaseInfo(`"custom_url":"/pages"`), info + "custom_url", "http or https"},
		{"a link without a scheme", inBaseInfo(`"center_url":"www.qq.com"`), info + "center_url", "http or https"},
		{"a link of another scheme", inBaseInfo(`"promotion_url":"javascript:alert(1)"`), info + "promotion_url", "http or https"},
		{"a link without a host", inBaseInfo(`"promotion_url":"http:///x"`), info + "promotion_url", "http or https"},
		{"a link with a blank", inBaseInfo(`"custom_url":"http://www.qq.com/a b"`), info + "custom_url", "http or https"},
		{"a relative link to activate with", inCard("member_card", `"activate_url":"x"`), card + "activate_url", "http or https"},

		{"a user name without @app", inBaseInfo(`"custom_app_brand_user_name":"gh_86a091e50ad4","custom_app_brand_pass":"p"`), info + "custom_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"a user name without gh_", inBaseInfo(`"center_app_brand_user_name":"86a091e50ad4@app","center_app_brand_pass":"p"`), info + "center_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"an AppID", inBaseInfo(`"promotion_app_brand_user_name":"wxea9c30a90fs8d3fe","promotion_app_brand_pass":"p"`), info + "promotion_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"a user name without an ID", inBaseInfo(`"custom_app_brand_user_name":"gh_@app","custom_app_brand_pass":"p"`), info + "custom_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"a user name with a blank", inBaseInfo(`"custom_app_brand_user_name":"gh_86a0 91e@app","custom_app_brand_pass":"p"`), info + "custom_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"a user name with a blank behind", inBaseInfo(`"custom_app_brand_user_name":"gh_86a091e50ad4@app ","custom_app_brand_pass":"p"`), info + "custom_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"a user name of another alphabet", inBaseInfo(`"custom_app_brand_user_name":"gh_卡@app","custom_app_brand_pass":"p"`), info + "custom_app_brand_user_name", "gh_86a091e50ad4@app"},
		{"a user name to activate with", inCard("member_card", `"activate_app_brand_user_name":"x","activate_app_brand_pass":"p"`), card + "activate_app_brand_user_name", "gh_86a091e50ad4@app"},

		{"a mini program without a page", inBaseInfo(`"custom_app_brand_user_name":"gh_86a091e50ad4@app"`), info + "custom_app_brand_pass", "together with custom_app_brand_user_name"},
		{"a page without a mini program", inBaseInfo(`"center_app_brand_pass":"p"`), info + "center_app_brand_user_name", "together with center_app_brand_pass"},
		{"a mini program and the page of another entry", inBaseInfo(`"center_app_brand_pass":"p","promotion_app_brand_user_name":"gh_86a091e50ad4@app"`), info + "center_app_brand_user_name", "together"},
		{"a mini program with an empty page", inBaseInfo(`"promotion_app_brand_user_name":"gh_86a091e50ad4@app","promotion_app_brand_pass":""`), info + "promotion_app_brand_pass", "must not be empty unless promotion_app_brand_user_name is"},
		{"a page with an empty mini program", inBaseInfo(`"promotion_app_brand_user_name":"","promotion_app_brand_pass":"p"`), info + "promotion_app_brand_user_name", "must not be empty unless promotion_app_brand_pass is"},
		{"an empty mini program alone", inBaseInfo(`"custom_app_brand_user_name":""`), info + "custom_app_brand_pass", "together"},
		{"half a pair behind a good one", inBaseInfo(pair + `,"promotion_app_brand_pass":"p"`), info + "promotion_app_brand_user_name", "together"},
		{"a mini program to activate in without a page", inCard("member_card", `"activate_app_brand_user_name":"gh_86a091e50ad4@app"`), card + "activate_app_brand_pass", "together"},
		{"a page to activate on without a mini program", inCard("member_card", `"activate_app_brand_pass":"p"`), card + "activate_app_brand_user_name", "together"},

		{"activate_url in base_info", inBaseInfo(`"activate_url":"http://www.qq.com"`), info + "activate_url", "member_card itself"},
		{"half a pair in base_info that belongs elsewhere", inBaseInfo(`"activate_app_brand_user_name":"gh_86a091e50ad4@app"`), info + "activate_app_brand_user_name", "member_card itself"},
		{"a pair in base_info that belongs elsewhere", inBaseInfo(activatePair), info + "activate_app_brand_user_name", "member_card itself"},
		{"activate_url of another card", inCard("groupon", `"activate_url":"http://www.qq.com"`), "/body/groupon/activate_url", "membership cards only"},
		{"a mini program to activate another card in", inCard("cash", activatePair), "/body/cash/activate_app_brand_user_name", "membership cards only"},
		{"activate_url in another card's base_info", inCard("gift", `"base_info":{"activate_url":"http://www.qq.com"}`), "/body/gift/base_info/activate_url", ""},

		{"points of another card", inCard("groupon", `"bonus_url":"http://www.qq.com"`), "/body/groupon/bonus_url", "membership cards only"},
		{"a cell of another card", inCard("cash", `"custom_cell1":{"url":"http://www.qq.com"}`), "/body/cash/custom_cell1/url", "membership cards only"},
		{"a cell in base_info", inBaseInfo(`"custom_cell1":{}`), info + "custom_cell1", "not a field"},
		{"a cell by the plan's name", inCard("member_card", `"custom_cell1.url":"http://www.qq.com"`), card + "custom_cell1.url", "not a field"},
		{"a cell null", inCard("member_card", `"custom_cell1":null`), card + "custom_cell1", "null"},
		{"a cell as a string", inCard("member_card", `"custom_cell1":"x"`), card + "custom_cell1", "an object"},
		{"an empty cell", inCard("member_card", `"custom_cell1":{}`), card + "custom_cell1", "a field to change"},
		{"an empty cell beside a field", inCard("member_card", `"custom_cell1":{},"activate_url":""`), card + "custom_cell1", "a field to change"},
		{"another member of a cell", inCard("member_card", `"custom_cell1":{"name_type":"x"}`), card + "custom_cell1/name_type", "not a field"},
		{"a third cell", inCard("member_card", `"custom_cell3":{"url":""}`), card + "custom_cell3", "not a field"},
		{"a fourth field", inCard("member_card", `"custom_field4":{"url":""}`), card + "custom_field4", "not a field"},
		{"a cell's member null", inCard("member_card", `"custom_cell2":{"url":null}`), card + "custom_cell2/url", "null"},
		{"a cell's member twice", inCard("member_card", `"custom_cell2":{"url":"","url":""}`), card + "custom_cell2/url", "twice"},
		{"a cell's relative link", inCard("member_card", `"custom_cell2":{"url":"x"}`), card + "custom_cell2/url", "http or https"},
		{"half a pair within a cell", inCard("member_card", `"custom_cell2":{"app_brand_pass":"x"}`), card + "custom_cell2/app_brand_user_name", "together with custom_cell2.app_brand_pass"},
		{"the halves of a pair in two objects", inCard("member_card", `"custom_cell1":{"app_brand_user_name":"gh_x@app"},"custom_cell2":{"app_brand_pass":"x"}`), card + "custom_cell1/app_brand_pass", "together"},
		{"half a pair of points", inCard("member_card", `"bonus_app_brand_pass":"x"`), card + "bonus_app_brand_user_name", "together"},
		{"a name_type of another kind", inCard("member_card", `"custom_field1":{"name_type":"LEVEL"}`), card + "custom_field1/name_type", "FIELD_NAME_TYPE_"},
		{"a name_type in lower case", inCard("member_card", `"custom_field1":{"name_type":"FIELD_NAME_TYPE_level"}`), card + "custom_field1/name_type", "FIELD_NAME_TYPE_"},
		{"a name_type without a name", inCard("member_card", `"custom_field1":{"name_type":"FIELD_NAME_TYPE_"}`), card + "custom_field1/name_type", "FIELD_NAME_TYPE_"},
		{"a name of 16", inCard("member_card", `"custom_field1":{"name":"`+han(16)+`"}`), card + "custom_field1/name", "at most 15"},
		{"tips of 19", inCard("member_card", `"custom_cell1":{"tips":"`+han(19)+`"}`), card + "custom_cell1/tips", "at most 18"},
		{"custom_url_name of 16", inBaseInfo(`"custom_url_name":"` + han(16) + `"`), info + "custom_url_name", "at most 15"},
		{"promotion_url_name of 16", inBaseInfo(`"promotion_url_name":"1234567890123456"`), info + "promotion_url_name", "at most 15"},
		{"custom_url_sub_title of 19", inBaseInfo(`"custom_url_sub_title":"` + han(19) + `"`), info + "custom_url_sub_title", "at most 18"},
		{"center_title of 19", inBaseInfo(`"center_title":"` + han(19) + `"`), info + "center_title", "at most 18"},
		{"center_sub_title of 25", inBaseInfo(`"center_sub_title":"` + han(25) + `"`), info + "center_sub_title", "at most 24"},
		{"a link of 129", inBaseInfo(`"center_url":"` + link(129) + `"`), info + "center_url", "at most 128"},
		{"a link to activate with of 129", inCard("member_card", `"activate_url":"`+link(129)+`"`), card + "activate_url", "at most 128"},

		{"the first of several faults", `{"card_id":"p/q","member_card":{"base_info":{"custom_url":"x"}}}`, "/body/card_id", "1 to 32"},
		{"an unknown member", `{"appid":"x",` + example[1:], "/body/appid", "not a field"},
		{"a duplicate", `{"card_id":"x",` + example[1:], "/body/card_id", "twice"},
		{"an escaped duplicate", `{"\u0063ard_id":"x",` + example[1:], "/body/card_id", "twice"},
		{"a card twice", `{"member_card":{"base_info":{` + pair + `}},` + example[1:], "/body/member_card", "twice"},
		{"a field twice", inBaseInfo(`"custom_url_name":"a","custom_url_name":"b"`), info + "custom_url_name", "twice"},
		{"a raw control character", inBaseInfo("\"custom_url_name\":\"a\x14\""), "/body", "one JSON object"},
		{"a raw line feed", inBaseInfo("\"custom_url_name\":\"a\n\""), "/body", "one JSON object"},
		{"a broken byte", inBaseInfo("\"custom_url_name\":\"a\xff\""), info + "custom_url_name", "valid Unicode"},
		{"trailing data", example + "x", "/body", "one JSON object"},
		{"a second document", example + example, "/body", "one JSON object"},
		{"an array", "[" + example + "]", "/body", "an object"},
		{"null", "null", "/body", "null"},
		{"no body", "", "/body", "empty"},
		{"over 16 KiB", example + strings.Repeat(" ", 16<<10), "/body", "16 KiB"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			operation.RefusesAlike(t, 20, post(row.body), row.field, row.issue)
		})
	}
}

func TestNoNameThatTheCallerChoseIsLogged(t *testing.T) {
	const name = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	for _, fields := range []string{`"` + name + `":"x"`, `"` + name + `":1`, `"` + name + `":null`, `"` + name + `":"x","` + name + `":"y"`} {
		o := operation.Invoke(t, post(inBaseInfo(fields)), gatewaytest.Nowhere)
		if o.Status != 400 {
			t.Errorf("%d %s", o.Status, o.Body)
		}
		o.RequireNotLogged(t, name)
	}
}

func TestARefusalStaysReadable(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for _, body := range []string{inBaseInfo(`"` + long + `":"x"`), inBaseInfo(`"custom_url":"` + long + `"`), `{"` + long + `":1}`} {
		if o := operation.Invoke(t, post(body), gatewaytest.Nowhere); o.Status != 400 || len(o.Body) > 1000 {
			t.Errorf("%d with %d bytes", o.Status, len(o.Body))
		}
	}
}

func TestWeChatsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, post(example), officialaccounttest.Errors{
		{"no such card", `{"errcode":40053,"errmsg":"invalid actioninfo, please check card_id"}`, 400, "WECHAT_40053", "card_id"},
	})
}

// FuzzRequest checks that what WeChat gets is what the caller sent, and that it would
// pass validation again.
func FuzzRequest(f *testing.F) {
	f.Add(example)
	f.Add(`{}`)
	f.Add(inBaseInfo(`"custom_url":""`))
	f.Add(inBaseInfo(`"a/b":"x"`))
	f.Add(inCard("member_card", activatePair+`,"base_info":{`+pair+`}`))
	f.Add(inCard("groupon", activatePair))
	f.Add(inBaseInfo(activatePair))
	f.Add(`{"card_id":"x",` + example[1:])
	f.Fuzz(func(t *testing.T, body string) {
		gatewaytest.SkipUnlessUTF8(t, body)
		if _, passed := operation.Validate(t, post(body), "/body"); !passed {
			return
		}
		if len(body) > 16<<10 {
			t.Fatalf("let pass: %q", body)
		}
		encode := func(body []byte) []byte {
			var r request
			if err := strictjson.Decode(body, &r); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			sent, err := r.validate()
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			return sent
		}
		once := encode([]byte(body))
		if twice := encode(once); string(twice) != string(once) {
			t.Fatalf("%s became %s", once, twice)
		}
		var came, sent map[string]any
		if err := json.Unmarshal([]byte(body), &came); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(once, &sent); err != nil {
			t.Fatal(err)
		}
		for name, member := range came {
			if card, ok := member.(map[string]any); ok && fmt.Sprint(card["base_info"]) == "map[]" {
				delete(card, "base_info") // sets nothing, and is not sent
				came[name] = card
			}
		}
		if !reflect.DeepEqual(came, sent) || len(sent) != 2 {
			t.Fatalf("%s became %s", body, once)
		}
	})
}
