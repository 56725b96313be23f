package main

import (
	"strings"
	"testing"

	"membercard/shared/apierror"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

var operation = signingtest.Of(confirmRequest)

const (
	path         = "/v3/brand/partner/card-member/user-cards/"
	openid       = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	userCardCode = "478515832665000000000001"
	phone        = "vvysDQeEaH3I+wRh14St0abIkvQyFgh/fDh3Cvx9Yq0="

	// example has all fields of the document.
	example = `{"brand_id": "1004", "card_id": "pbLatjvWOibDc5-TBnbUk1pD12o0", "openid": "` + openid + `",
		"card_color": "#FFFF00", "card_picture_url": "https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/0", "phone_number": "` + phone + `",
		"user_information": {"common_field_list": [{"name": "USER_FORM_FLAG_SEX", "value": "vvysDQeEaH3I<&>"}], "custom_field_list": []},
		"level": "白银会员",
		"valid_date_information": {"type": "FIX_TIME_RANGE", "available_begin_time": "2020-05-20T13:29:35.120+08:00", "available_end_time": "2030-05-20T13:29:35.120+08:00", "available_day_after_receive": 200},
		"attach": "any", "user_card_confirm_state": "CREATE_CARD_SUCCESS"}`
	// sent is what WeChat Pay gets of it.
	sent = `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"` + openid + `",` +
		`"card_color":"#FFFF00","card_picture_url":"https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/0","phone_number":"` + phone + `",` +
		`"user_information":{"common_field_list":[{"name":"USER_FORM_FLAG_SEX","value":"vvysDQeEaH3I<&>"}],"custom_field_list":[]},` +
		`"level":"白银会员",` +
		`"valid_date_information":{"type":"FIX_TIME_RANGE","available_begin_time":"2020-05-20T13:29:35.120+08:00","available_end_time":"2030-05-20T13:29:35.120+08:00","available_day_after_receive":200},` +
		`"attach":"any","user_card_confirm_state":"CREATE_CARD_SUCCESS"}`
	// card is the document's answer.
	card = `{ "user_card_code" : "` + userCardCode + `", "card_id" : "pbLatjvWOibDc5-TBnbUk1pD12o0", "openid" : "` + openid + `", "user_card_state" : "EFFECTIVE" }`
)

func post(code, body string) gatewaytest.Event {
	return gatewaytest.Request("POST "+path+"{user_card_code}/confirm", body, code)
}

// body is a body with the required fields, one of them replaced or taken out, or with
// one field more.
func body(field, value string) string {
	fields := []string{"brand_id", `"1004"`, "card_id", `"pbLatjvWOibDc5-TBnbUk1pD12o0"`, "openid", `"` + openid + `"`, "user_card_confirm_state", `"CREATE_CARD_SUCCESS"`}
	var members []string
	for i := 0; i < len(fields); i += 2 {
		if fields[i] != field {
			members = append(members, `"`+fields[i]+`":`+fields[i+1])
		}
	}
	if value != "" {
		members = append(members, `"`+field+`":`+value)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func text(s string, n int) string { return `"` + strings.Repeat(s, n) + `"` }

func TestDocumentedRequestsAreAccepted(t *testing.T) {
	for _, row := range []struct{ rule, code, body string }{
		{"all fields", userCardCode, example},
		{"the required fields", userCardCode, body("", "")},
		{"a card that could not be opened", userCardCode, body("user_card_confirm_state", `"CREATE_CARD_FAIL"`)},
		{"user_card_code of 1", "1", body("", "")},
		{"user_card_code of 32", strings.Repeat("c", 32), body("", "")},
		{"user_card_code of the merchant's", "VIP-0001_a", body("", "")},
		{"brand_id of 32", userCardCode, body("brand_id", text("1", 32))},
		{"openid of 128", userCardCode, body("openid", text("o", 128))},
		{"card_color in lower case", userCardCode, body("card_color", `"#ffaa09"`)},
		{"card_picture_url of 256", userCardCode, body("card_picture_url", `"https://a.b/`+strings.Repeat("a", 244)+`"`)},
		{"phone_number of 512", userCardCode, body("phone_number", text("p", 512))},
		{"user_information of any members", userCardCode, body("user_information", `{"a":[1,null,{"b":""}]}`)},
		{"for good", userCardCode, body("valid_date_information", `{"type":"PERMANENT"}`)},
		{"for some days", userCardCode, body("valid_date_information", `{"type":"FIX_TERM","available_day_after_receive":30}`)},
	} {
		t.Run(row.rule, func(t *testing.T) { operation.Accepts(t, post(row.code, row.body)) })
	}
	t.Run("in base64", func(t *testing.T) { operation.Accepts(t, gatewaytest.InBase64(post(userCardCode, example))) })
}

func TestBadInputNeverReachesWeChat(t *testing.T) {
	for _, row := range []struct{ rule, code, body, field, issue string }{
		{"user_card_code is required", "", body("", ""), "/path/user_card_code", "is required"},
		{"user_card_code of 33", strings.Repeat("c", 33), body("", ""), "/path/user_card_code", "1 to 32"},
		{"user_card_code with a slash", "a/b", body("", ""), "/path/user_card_code", "1 to 32"},
		{"user_card_code with a dot", "..", body("", ""), "/path/user_card_code", "1 to 32"},
		{"user_card_code with a question mark", "a?b", body("", ""), "/path/user_card_code", "1 to 32"},
		{"user_card_code with an escape", "a%2Fb", body("", ""), "/path/user_card_code", "1 to 32"},
		{"user_card_code in Chinese", "卡", body("", ""), "/path/user_card_code", "1 to 32"},
		{"brand_id is required", userCardCode, body("brand_id", ""), "/body/brand_id", "is required"},
		{"brand_id of 33", userCardCode, body("brand_id", text("1", 33)), "/body/brand_id", "at most 32"},
		{"brand_id as a number", userCardCode, body("brand_id", "1004"), "/body/brand_id", "a string"},
		{"card_id is required", userCardCode, body("card_id", ""), "/body/card_id", "is required"},
		{"card_id of 33", userCardCode, body("card_id", text("p", 33)), "/body/card_id", "1 to 32"},
		{"openid is required", userCardCode, body("openid", ""), "/body/openid", "is required"},
		{"openid of 129", userCardCode, body("openid", text("o", 129)), "/body/openid", "at most 128"},
		{"user_card_confirm_state is required", userCardCode, body("user_card_confirm_state", ""), "/body/user_card_confirm_state", "is required"},
		{"the state of merchant cards", userCardCode, body("user_card_confirm_state", `"CREATE_CARD_ALREADY_EXISTS"`), "/body/user_card_confirm_state", "CREATE_CARD_SUCCESS or CREATE_CARD_FAIL"},
		{"card_color without #", userCardCode, body("card_color", `"FFFF00"`), "/body/card_color", "#RRGGBB"},
		{"card_color of 3 digits", userCardCode, body("card_color", `"#FF0"`), "/body/card_color", "#RRGGBB"},
		{"card_color by name", userCardCode, body("card_color", `"#yellow"`), "/body/card_color", "#RRGGBB"},
		{"card_picture_url of 257", userCardCode, body("card_picture_url", `"https://a.b/`+strings.Repeat("a", 245)+`"`), "/body/card_picture_url", "at most 256"},
		{"card_picture_url without a scheme", userCardCode, body("card_picture_url", `"wxpaylogo.qpic.cn/0"`), "/body/card_picture_url", "http or https"},
		{"phone_number of 513", userCardCode, body("phone_number", text("p", 513)), "/body/phone_number", "at most 512"},
		{"user_information as a text", userCardCode, body("user_information", `"x"`), "/body/user_information", "an object"},
		{"user_information as an array", userCardCode, body("user_information", `[{}]`), "/body/user_information", "an object"},
		{"user_information as null", userCardCode, body("user_information", `null`), "/body/user_information", "null"},
		{"a duplicate in user_information", userCardCode, body("user_information", `{"a":{"b":1,"b":2}}`), "/body/user_information/a/b", "twice"},
		{"half a character in user_information", userCardCode, body("user_information", `{"a":"\ud800"}`), "/body/user_information/a", "Unicode"},
		{"valid_date_information without a type", userCardCode, body("valid_date_information", `{}`), "/body/valid_date_information/type", "is required"},
		{"another type", userCardCode, body("valid_date_information", `{"type":"FOREVER"}`), "/body/valid_date_information/type", "FIX_TIME_RANGE or FIX_TERM or PERMANENT"},
		{"a time without an offset", userCardCode, body("valid_date_information", `{"type":"FIX_TIME_RANGE","available_begin_time":"2020-05-20T13:29:35"}`), "/body/valid_date_information/available_begin_time", "RFC 3339"},
		{"a date", userCardCode, body("valid_date_information", `{"type":"FIX_TIME_RANGE","available_end_time":"2020-05-20"}`), "/body/valid_date_information/available_end_time", "RFC 3339"},
		{"days as a text", userCardCode, body("valid_date_information", `{"type":"FIX_TERM","available_day_after_receive":"30"}`), "/body/valid_date_information/available_day_after_receive", "a whole number"},
		{"an unknown field", userCardCode, body("fail_reason", `"x"`), "/body/fail_reason", "not a field"},
		{"user_card_code in the body", userCardCode, body("user_card_code", `"1"`), "/body/user_card_code", "not a field"},
		{"a duplicate", userCardCode, strings.Replace(body("", ""), `{`, `{"brand_id":"1",`, 1), "/body/brand_id", "twice"},
		{"null", userCardCode, body("level", "null"), "/body/level", "null"},
		{"an empty text", userCardCode, body("attach", `""`), "/body/attach", "empty"},
		{"no body", userCardCode, "", "/body", "empty"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			o := operation.Refuses(t, post(row.code, row.body), row.field, row.issue)
			o.RequireNotRepeated(t, openid, userCardCode)
		})
	}
}

func TestWeChatGetsTheBodyThatItDocuments(t *testing.T) {
	o := operation.Sends(t, post(userCardCode, example), "POST "+path+userCardCode+"/confirm "+sent, card)
	o.RequireNotLogged(t, openid, userCardCode, phone)
	operation.Sends(t, post(userCardCode, body("", "")), "POST "+path+userCardCode+"/confirm "+body("", ""), card)
}

func TestAnAnswerThatIsNoCardIsInvalid(t *testing.T) {
	operation.RejectsAnswers(t, post(userCardCode, example), signingtest.Answers{
		{"the card in an array", `[` + card + `]`},
		{"a string", `"EFFECTIVE"`},
		{"cut off", card[:len(card)-1]},
	})
}

func TestARefusalAfterAForgedAnswerIsDoubted(t *testing.T) {
	operation.DoubtsRefusals(t, post(userCardCode, example))
}

func TestTheDocumentsErrors(t *testing.T) {
	operation.PassesErrorsOn(t, post(userCardCode, example), signingtest.Errors{})
}

func TestIsConfirmedAlready(t *testing.T) {
	for _, row := range []struct {
		message string
		want    bool
	}{
		{"会员卡已确认", true},
		{"该会员卡已经确认过，请勿重复操作", true},
		{"开卡结果已同步", true},
		{"用户会员卡已生效", true},
		{"用户会员卡已被激活", true},
		{"该卡状态已生效", true},
		{"会员卡已成功激活", true},
		{"品牌已授权,会员卡已确认", true},
		{"会员卡未确认", false},
		{"会员卡已确认失败", false},
		{"该卡已确认不通过", false},
		{"会员卡已同步未成功", false},
		{"会员卡已激活前不能确认", false},
		{"会员卡已失效，无法激活", false},
		{"会员卡已失效无法激活", false},
		{"会员卡已过期不能开卡", false},
		{"会员卡有误，品牌已确认", false}, // another clause
		{"品牌已停用。请确认品牌ID", false},
		{"品牌已下线请确认", false},
		{"品牌已生效", false},
		{"商户号已冻结请确认", false},
		{"商户号已激活其他产品", false},
		{"该商户已被限制激活", false},
		{"用户已拒绝领取", false},
		{"用户已成功开卡", false},
		{"请确认会员卡ID", false},
		{"The user card is already confirmed", false}, // WeChat Pay's messages are Chinese
		{"参数错误", false},
		{"", false},
	} {
		refusal := &apierror.Error{Code: "INVALID_REQUEST", Message: row.message}
		if got := isConfirmedAlready(refusal); got != row.want {
			t.Errorf("%q: %v, want %v", row.message, got, row.want)
		}
	}
}
