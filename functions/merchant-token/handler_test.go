package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(jump{}.mint)

// post returns a request for a card's token.
func post(card, body string) gatewaytest.Event {
	return gatewaytest.Request("POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens", body, card)
}

// example is the document's example request.
const example = `{
	"activate_type": "AUTO_ACTIVATE",
	"navigate_back_previous_page": true,
	"activate_url": "https://w.url.cn/s/Ahz3p2C",
	"activate_appid": "wxea9c30a90fs8d3fe",
	"activate_path": "pages/activate/activate",
	"outer_str": "szwxtd"
}`

const cardID = "pbLatjvWOibDc5-TBnbUk1pD12o0"

// minted is the document's answer.
const minted = `{"permission_token": "EhhEF0Jt0uDLPK6Cr70KCrJmkTtfPPE222gUFsdP87CF"}`

// auto returns a body with AUTO_ACTIVATE and one more field.
func auto(field string) string { return `{"activate_type":"AUTO_ACTIVATE",` + field + `}` }

func TestDocumentedRequestsAreAccepted(t *testing.T) {
	for _, row := range []struct{ rule, card, body string }{
		{"the document's example", cardID, example},
		{"activate_type alone", cardID, `{"activate_type":"AUTO_ACTIVATE"}`},
		{"JUMP_ACTIVATE with a URL", cardID, `{"activate_type":"JUMP_ACTIVATE","activate_url":"https://w.url.cn/s/Ahz3p2C"}`},
		{"JUMP_ACTIVATE with a mini program", cardID, `{"activate_type":"JUMP_ACTIVATE","activate_appid":"wxea9c30a90fs8d3fe"}`},
		{"JUMP_ACTIVATE with both", cardID, `{"activate_type":"JUMP_ACTIVATE","activate_appid":"wxea9c30a90fs8d3fe","activate_path":"p","activate_url":"http://a.b"}`},
		{"an explicit false", cardID, auto(`"navigate_back_previous_page":false`)},
		{"card_id of 1", "p", example},
		{"card_id of 32", strings.Repeat("p", 32), example},
		{"activate_url of 128", cardID, auto(`"activate_url":"https://a.b/` + strings.Repeat("a", 116) + `"`)},
		{"activate_appid of 32", cardID, auto(`"activate_appid":"` + strings.Repeat("w", 32) + `"`)},
		{"activate_path of 128", cardID, auto(`"activate_path":"` + strings.Repeat("p", 128) + `"`)},
		{"activate_path of 128 Chinese characters", cardID, auto(`"activate_path":"` + strings.Repeat("页", 128) + `"`)},
		{"outer_str of 32 Chinese characters", cardID, auto(`"outer_str":"` + strings.Repeat("店", 32) + `"`)},
		{"outer_str of half-width punctuation", cardID, auto(`"outer_str":"a-1_b.c,d;(e)"`)},
		{"escaped names", cardID, `{"\u0061ctivate_type":"AUTO_ACTIVATE"}`},
	} {
		t.Run(row.rule, func(t *testing.T) { operation.Accepts(t, post(row.card, row.body)) })
	}
	t.Run("in base64", func(t *testing.T) { operation.Accepts(t, gatewaytest.InBase64(post(cardID, example))) })
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, card, body, field, issue string }{
		{"card_id is required", "", example, "/path/card_id", "is required"},
		{"card_id of 33", strings.Repeat("p", 33), example, "/path/card_id", "1 to 32"},
		{"card_id with a slash", "p/../q", example, "/path/card_id", "1 to 32"},
		{"card_id with an escape", "p%2F", example, "/path/card_id", "1 to 32"},
		{"card_id with a query", "p?a=b", example, "/path/card_id", "1 to 32"},
		{"card_id in Chinese", "卡", example, "/path/card_id", "1 to 32"},

		{"activate_type is required", cardID, `{}`, "/body/activate_type", "is required"},
		{"activate_type in lower case", cardID, `{"activate_type":"auto_activate"}`, "/body/activate_type", "AUTO_ACTIVATE or JUMP_ACTIVATE"},
		{"activate_type of another value", cardID, `{"activate_type":"AUTO"}`, "/body/activate_type", "AUTO_ACTIVATE or JUMP_ACTIVATE"},
		{"JUMP_ACTIVATE without a target", cardID, `{"activate_type":"JUMP_ACTIVATE"}`, "/body/activate_url", "activate_appid"},
		{"JUMP_ACTIVATE with a path alone", cardID, `{"activate_type":"JUMP_ACTIVATE","activate_path":"pages/a"}`, "/body/activate_url", "activate_appid"},
		{"navigate_back_previous_page as a text", cardID, auto(`"navigate_back_previous_page":"true"`), "/body/navigate_back_previous_page", "true or false"},
		{"navigate_back_previous_page as a number", cardID, auto(`"navigate_back_previous_page":1`), "/body/navigate_back_previous_page", "true or false"},
		{"activate_url of 129", cardID, auto(`"activate_url":"https://a.b/` + strings.Repeat("a", 117) + `"`), "/body/activate_url", "at most 128"},
		{"a relative activate_url", cardID, auto(`"activate_url":"/s/Ahz3p2C"`), "/body/activate_url", "http or https"},
		{"activate_url without a scheme", cardID, auto(`"activate_url":"w.url.cn/s/Ahz3p2C"`), "/body/activate_url", "http or https"},
		{"activate_url of another scheme", cardID, auto(`"activate_url":"javascript:alert(1)"`), "/body/activate_url", "http or https"},
		{"activate_appid of 33", cardID, auto(`"activate_appid":"` + strings.Repeat("w", 33) + `"`), "/body/activate_appid", "at most 32"},
		{"activate_path of 129", cardID, auto(`"activate_path":"` + strings.Repeat("p", 129) + `"`), "/body/activate_path", "at most 128"},
		{"outer_str of 33", cardID, auto(`"outer_str":"` + strings.Repeat("s", 33) + `"`), "/body/outer_str", "at most 32"},
		{"outer_str with a blank", cardID, auto(`"outer_str":"a b"`), "/body/outer_str", "without blanks"},
		{"outer_str with a full-width letter", cardID, auto(`"outer_str":"Ａ"`), "/body/outer_str", "half-width"},
		{"outer_str with full-width punctuation", cardID, auto(`"outer_str":"门店，"`), "/body/outer_str", "half-width"},
		{"outer_str with an emoji", cardID, auto(`"outer_str":"😀"`), "/body/outer_str", "half-width"},

		{"an unknown field", cardID, auto(`"activate_typ":"x"`), "/body/activate_typ", "not a field"},
		{"a name in another case", cardID, `{"Activate_Type":"AUTO_ACTIVATE"}`, "/body/Activate_Type", "not a field"},
		{"card_id in the body", cardID, auto(`"card_id":"` + cardID + `"`), "/body/card_id", "not a field"},
		{"a duplicate", cardID, auto(`"\u0061ctivate_type":"JUMP_ACTIVATE"`), "/body/activate_type", "twice"},
		{"null", cardID, auto(`"activate_url":null`), "/body/activate_url", "null"},
		{"null for a boolean", cardID, auto(`"navigate_back_previous_page":null`), "/body/navigate_back_previous_page", "null"},
		{"an empty activate_type", cardID, `{"activate_type":""}`, "/body/activate_type", "empty"},
		{"an empty activate_url", cardID, auto(`"activate_url":""`), "/body/activate_url", "empty"},
		{"an empty activate_appid", cardID, auto(`"activate_appid":""`), "/body/activate_appid", "empty"},
		{"an empty activate_path", cardID, auto(`"activate_path":""`), "/body/activate_path", "empty"},
		{"an empty outer_str", cardID, auto(`"outer_str":""`), "/body/outer_str", "empty"},
		{"trailing data", cardID, `{"activate_type":"AUTO_ACTIVATE"}{}`, "/body", "one JSON object"},
		{"an array", cardID, `[]`, "/body", "an object"},
		{"no body", cardID, ``, "/body", "empty"},
		{"over 16 KiB", cardID, `{"activate_type":"AUTO_ACTIVATE"` + strings.Repeat(" ", 16<<10) + `}`, "/body", "16 KiB"},
	} {
		t.Run(row.rule, func(t *testing.T) { operation.Refuses(t, post(row.card, row.body), row.field, row.issue) })
	}
}

func TestTheMessageReadsLikeTheContract(t *testing.T) {
	o := operation.Refuses(t, post(cardID, `{"activate_type":"AUTO"}`), "/body/activate_type", "AUTO_ACTIVATE")
	if o.Error.Message != "activate_type must be AUTO_ACTIVATE or JUMP_ACTIVATE" || o.Error.Detail.Value != "AUTO" {
		t.Errorf("%s", o.Body)
	}
	o = operation.Refuses(t, post(cardID, `{"activate_type":"JUMP_ACTIVATE"}`), "/body/activate_url", "")
	if o.Error.Message != "activate_url or activate_appid is required with JUMP_ACTIVATE" || o.Error.Detail.Value != nil {
		t.Errorf("%s", o.Body)
	}
}

func TestWeChatGetsTheBodyThatItDocuments(t *testing.T) {
	for _, row := range []struct{ rule, body, sent string }{
		{"the document's example", example, `{"activate_type":"AUTO_ACTIVATE","navigate_back_previous_page":true,"activate_url":"https://w.url.cn/s/Ahz3p2C","activate_appid":"wxea9c30a90fs8d3fe","activate_path":"pages/activate/activate","outer_str":"szwxtd"}`},
		{"what was left out stays out", `{"activate_type":"AUTO_ACTIVATE"}`, `{"activate_type":"AUTO_ACTIVATE"}`},
		{"an explicit false is sent", auto(`"navigate_back_previous_page":false`), `{"activate_type":"AUTO_ACTIVATE","navigate_back_previous_page":false}`},
		{"a URL is sent as it came", auto(`"activate_url":"https://a.b/?c=1&d=<e>"`), `{"activate_type":"AUTO_ACTIVATE","activate_url":"https://a.b/?c=1&d=<e>"}`},
	} {
		t.Run(row.rule, func(t *testing.T) {
			operation.Sends(t, post(cardID, row.body), "POST /v3/marketing/membercard-open/cards/"+cardID+"/permission-tokens "+row.sent, minted)
		})
	}
}

func TestAnAnswerWithoutATokenIsInvalid(t *testing.T) {
	operation.RejectsAnswers(t, post(cardID, example), signingtest.WithoutText("permission_token", signingtest.Answers{
		{"a token of another name", `{"token":"x"}`},
	}...))
}

func TestTheDocumentsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, post(cardID, example), signingtest.Errors{
		{403, "NO_AUTH", "商户暂无权限使用此功能", "open this feature"},
		{400, "INVALID_REQUEST", "扫码投放场景不支持实时code模式", "real-time code"},
		{400, "INVALID_REQUEST", "会员卡的创建商户号不等于调用方商户号", "created the card"},
		{400, "INVALID_REQUEST", "请先升级会员卡才能使用此功能", "upgrade the card"},
		{400, "INVALID_REQUEST", "会员卡ID无效", "check card_id"},
		{400, "INVALID_REQUEST", "该商户号不是会员卡的创建商户号", "created the card"},
		{400, "INVALID_REQUEST", "需要上架至少一个积分权益、优惠权益", "benefit"},
		{400, "INVALID_REQUEST", "商户号不属于该卡的创建方", "card's creator"},
		{400, "PARAM_ERROR", "激活类型是JUMP_ACTIVATE时,必须设置activate_url或activate_appid", "activate_url or activate_appid"},
	})
}

// FuzzRequest compares validation with a second implementation of the rules.
func FuzzRequest(f *testing.F) {
	f.Add(cardID, example)
	f.Add("", `{}`)
	f.Add("p/../q", auto(`"outer_str":"a b"`))
	f.Add(cardID, `{"activate_type":"JUMP_ACTIVATE","activate_path":"x"}`)
	f.Add(cardID, auto(`"activate_url":"https://w.url.cn/s/Ahz3p2C","outer_str":"门店"`))
	f.Add(cardID, auto(`"activate_type":"AUTO_ACTIVATE"`))
	f.Add(cardID, auto(`"navigate_back_previous_page":null`))
	f.Fuzz(func(t *testing.T, card, body string) {
		gatewaytest.SkipUnlessUTF8(t, card, body)
		if _, passed := operation.Validate(t, post(card, body), "/body", "/path/card_id"); !passed {
			return
		}
		var sent map[string]any
		if err := json.Unmarshal([]byte(body), &sent); err != nil || len(body) > 16<<10 || len(card) == 0 || len(card) > 32 {
			t.Fatalf("let pass: %q for %q", body, card)
		}
		kind := sent["activate_type"]
		if kind != "AUTO_ACTIVATE" && (kind != "JUMP_ACTIVATE" || sent["activate_url"] == nil && sent["activate_appid"] == nil) {
			t.Fatalf("let pass: %q", body)
		}
		longest := map[string]int{"activate_type": 32, "activate_url": 128, "activate_appid": 32, "activate_path": 128, "outer_str": 32}
		for name, value := range sent {
			if name == "navigate_back_previous_page" {
				if _, is := value.(bool); !is {
					t.Fatalf("let pass: %q", body)
				}
				continue
			}
			if text, _ := value.(string); text == "" || utf8.RuneCountInString(text) > longest[name] {
				t.Fatalf("let pass: %s in %q", name, body)
			}
		}
	})
}
