package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/shared/cardfields"
)

// deployed is the stack that requests are sent to, with the functions' own binaries.
type deployed struct {
	*stack.Stack
	t        *testing.T
	contract *Contract
	sent     int
}

// calls returns the number of requests that reached WeChat.
func (d *deployed) calls() int {
	return len(d.WeChatPay.Requests()) + len(d.OfficialAccount.Requests())
}

// try sends a request, and reports whether the contract allows it. The test fails unless
// the function is of the same opinion, and WeChat gets what is allowed, and nothing else.
func (d *deployed) try(method, target string, body []byte) (allowed bool) {
	d.t.Helper()
	d.sent++
	d.WeChatPay.ClearRequests()
	d.OfficialAccount.ClearRequests()
	request, err := http.NewRequest(method, d.URL+target, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	fault, violation := d.contract.check(request, body, response, text)
	if violation != nil {
		d.t.Errorf("%.300s\n%s", body, violation)
	}
	var a answer
	_ = json.Unmarshal(text, &a)                                                         // check reports errors
	refused := a.refusal() || response.StatusCode == http.StatusNotFound && a.Code == "" // no such route
	reached := d.calls() > 0 || target == cardExt && response.StatusCode == http.StatusOK
	switch {
	case fault != nil && (!refused || d.calls() > 0):
		d.t.Errorf("%s %s %.300s: %d %s; the contract does not allow it (%v), and %d requests reached WeChat", method, target, body, response.StatusCode, text, fault, d.calls())
	case fault == nil && refused == reached:
		d.t.Errorf("%s %s %.300s: %d %s, and %d requests reached WeChat", method, target, body, response.StatusCode, text, d.calls())
	}
	return fault == nil && !refused
}

// target returns the URL of a request with the parameters' examples, one of which may be
// replaced.
func target(r route, name, value string) string {
	path, query := r.path, ""
	for _, parameter := range r.operation.Parameters {
		text, _ := parameter.Value.Example.(string)
		if parameter.Value.Name == name {
			text = value
		}
		switch parameter.Value.In {
		case openapi3.ParameterInPath:
			path = strings.Replace(path, "{"+parameter.Value.Name+"}", url.PathEscape(text), 1)
		case openapi3.ParameterInQuery:
			query = "?" + parameter.Value.Name + "=" + url.QueryEscape(text)
		}
	}
	return path + query
}

// documents returns the bodies in which the rules are tried.
func documents(r route) (documents []any) {
	if r.operation.RequestBody == nil {
		return nil
	}
	examples := r.operation.RequestBody.Value.Content.Get("application/json").Examples
	for name, example := range examples {
		if name != "login" { // without an openid
			documents = append(documents, example.Value.Value)
		}
	}
	// A card of each type, with all links, because a user name and its path come together.
	for _, cardType := range cardfields.CardTypes {
		card, baseInfo := map[string]any{}, map[string]any{}
		card["base_info"] = baseInfo
		for _, name := range cardfields.Names {
			object, value := baseInfo, "x"
			if cardfields.OfMemberCard(name) {
				object = card
			}
			switch {
			case strings.HasSuffix(name, "_url"):
				value = "https://example.com/"
			case strings.HasSuffix(name, "_user_name"):
				value = "gh_86a091e50ad4@app"
			}
			if !cardfields.OfMemberCard(name) || cardType == cardfields.MemberCard {
				object[name] = value
			}
		}
		switch r.path {
		case "/card/update":
			documents = append(documents, map[string]any{"card_id": "p", cardType: card})
		case "/card/create":
			made := examples["document"].Value.Value.(map[string]any)["card"].(map[string]any)["member_card"].(map[string]any)
			for name, value := range made["base_info"].(map[string]any) {
				baseInfo[name] = value
			}
			if cardType == cardfields.MemberCard {
				card["prerogative"] = "x"
			}
			documents = append(documents, map[string]any{"card": map[string]any{"card_type": strings.ToUpper(cardType), cardType: card}})
		}
	}
	return documents
}

// combined are requests for rules of more than one value, and for what no schema can say.
func combined() []struct {
	path, body string
	allowed    bool
} {
	card := func(fields string) string { return `{"card_id":"p","member_card":` + fields + `}` }
	info := func(fields string) string { return card(`{"base_info":` + fields + `}`) }
	const needed = `"logo_url":"l","brand_name":"b","code_type":"c","title":"t","color":"c","notice":"n","description":"d","sku":{"quantity":1},"date_info":{}`
	made := func(info, more string) string {
		return `{"card":{"card_type":"MEMBER_CARD","member_card":{"base_info":{` + needed + info + `},"prerogative":"p"` + more + `}}}`
	}
	coupon := func(cardType, key, more string) string {
		return `{"card":{"card_type":"` + cardType + `","` + key + `":{"base_info":{` + needed + `}` + more + `}}}`
	}
	return []struct {
		path, body string
		allowed    bool
	}{
		{permissionTokens, ``, false},
		{permissionTokens, `{"activate_type":"AUTO_ACTIVATE"} {}`, false},
		{permissionTokens, "{\"activate_type\":\"AUTO_ACTIVATE\",\"outer_str\":\"\xff\"}", false},
		{permissionTokens, `{"activate_type":"AUTO_ACTIVATE","activate_path":"\ud800"}`, false},
		{permissionTokens, `{"activate_type":"AUTO_ACTIVATE","activate_type":"AUTO_ACTIVATE"}`, false},
		{permissionTokens, `{"Activate_type":"AUTO_ACTIVATE"}`, false},
		{permissionTokens, `{"activate_type":"AUTO_ACTIVATE"` + strings.Repeat(" ", 16<<10) + `}`, false},
		{permissionTokens, `{"activate_type":"JUMP_ACTIVATE"}`, false},
		{permissionTokens, `{"activate_type":"JUMP_ACTIVATE","activate_path":"p"}`, false},
		{permissionTokens, `{"activate_type":"JUMP_ACTIVATE","activate_url":"https://x.cn"}`, true},
		{permissionTokens, `{"activate_type":"JUMP_ACTIVATE","activate_appid":"wx1"}`, true},
		{permissionTokens, `{"activate_type":"AUTO_ACTIVATE","activate_url":"https://user:password@x.cn"}`, false},
		{permissionTokens, `{"activate_type":"AUTO_ACTIVATE","activate_url":"https://[::ffff:1.2.3.4]"}`, false},

		{preAuthTokens, `{"brand_id":"1","card_id":"p"}`, false}, // without a login

		{cardExt, `{"card_id":"p","fixed_begintimestamp":1e9}`, false},
		{cardExt, `{"cardList":[{"card_id":"p"},{"card_id":"q","code":"1"}]}`, true},
		{cardExt, `{"cardList":[{"card_id":"p"}],"card_id":"p"}`, false},

		{cardUpdate, `{"card_id":"p"}`, false},
		{cardUpdate, `{"card_id":"p","groupon":{"base_info":{}}}`, false},
		{cardUpdate, `{"card_id":"p","groupon":{"activate_url":"http://x.cn"}}`, false},
		{cardUpdate, `{"card_id":"p","groupon":{"base_info":{"center_title":"x"}},"cash":{"base_info":{"center_title":"x"}}}`, false},
		{cardUpdate, `{"card_id":"p","coupon":{"base_info":{"center_title":"x"}}}`, false},
		{cardUpdate, card(`{}`), false},
		{cardUpdate, card(`{"base_info":{}}`), false},
		{cardUpdate, card(`{"activate_url":""}`), true},
		{cardUpdate, card(`{"activate_url":"","base_info":{}}`), true},
		{cardUpdate, card(`{"activate_app_brand_pass":"p"}`), false},
		{cardUpdate, card(`{"activate_app_brand_user_name":"gh_1@app"}`), false},
		{cardUpdate, card(`{"activate_app_brand_user_name":"gh_1@app","activate_app_brand_pass":""}`), false},
		{cardUpdate, card(`{"activate_app_brand_user_name":"","activate_app_brand_pass":""}`), true},
		{cardUpdate, info(`{"activate_url":""}`), false},
		{cardUpdate, info(`{"custom_app_brand_pass":"p"}`), false},
		{cardUpdate, info(`{"custom_app_brand_user_name":"gh_1@app"}`), false},
		{cardUpdate, info(`{"center_app_brand_user_name":"gh_1@app","center_app_brand_pass":""}`), false},
		{cardUpdate, info(`{"center_app_brand_user_name":"","center_app_brand_pass":"p"}`), false},
		{cardUpdate, info(`{"promotion_app_brand_user_name":"gh_1@app","promotion_app_brand_pass":"p"}`), true},
		{cardUpdate, info(`{"promotion_app_brand_user_name":"","promotion_app_brand_pass":""}`), true},

		{cardCreate, `{"card":{"card_type":"MEMBER_CARD"}}`, false},
		{cardCreate, strings.Replace(made("", ""), "MEMBER_CARD", "GROUPON", 1), false},
		{cardCreate, coupon("GROUPON", "groupon", `,"deal_detail":null`), true},
		{cardCreate, coupon("GROUPON", "groupon", `},"cash":{`), false},
		{cardCreate, coupon("GROUPON", "groupon", `},"more":{`), false},
		{cardCreate, coupon("groupon", "groupon", ""), false},
		{cardCreate, coupon("COUPON", "coupon", ""), false},
		{cardCreate, coupon("CASH", "cash", `,"activate_url":"http://x.cn"`), false},
		{cardCreate, coupon("CASH", "cash", `,"center_url":"http://x.cn"`), false},
		{cardCreate, made(`,"use_limit":null,"more":{"a":[1]}`, `,"supply_bonus":true`), true},
		{cardCreate, made(`,"more":{"a":1,"a":1}`, ""), false},
		{cardCreate, made(`,"more":`+strings.Repeat("[", 101)+strings.Repeat("]", 101), ""), false},
		{cardCreate, made(`,"more":"`+strings.Repeat("m", 60<<10)+`"`, ""), true},
		{cardCreate, made(`,"more":"`+strings.Repeat("m", 64<<10)+`"`, ""), false},
		{cardCreate, made(`,"custom_app_brand_user_name":"gh_1@app"`, ""), false},
		{cardCreate, made(`,"custom_app_brand_user_name":"gh_1@app","custom_app_brand_pass":""`, ""), false},
		{cardCreate, made(`,"custom_app_brand_user_name":"","custom_app_brand_pass":""`, ""), true},
		{cardCreate, made(`,"activate_url":""`, ""), false},
		{cardCreate, made("", `,"activate_app_brand_pass":"p"`), false},
		{cardCreate, made("", `,"promotion_url":"http://x.cn"`), false},

		{strings.Replace(brandConfirm, "478515832665", "1%2F2", 1), `{}`, false},

		{merchantConfirm, ``, false},
		{merchantConfirm, `{"user_card_confirm_state":"CREATE_CARD_SUCCESS","fail_reason":"r"}`, false},
		{merchantConfirm, `{"user_card_confirm_state":"CREATE_CARD_ALREADY_EXISTS","fail_reason":"r"}`, false},

		{merchantActivate, ``, true},
		{merchantActivate, ` `, false},

		{informations + "Az09+%2F=-_", "", true},
		{informations + "a%252Fb", "", true}, // encoded twice
		{informations + "a%2525b", "", false},
		{informations + "a%252b%25", "", false},
		{informations + strings.Repeat("%2F", 256), "", true},

		{decryptCode, "", false},
		{decryptCode + "?encrypt_code=Az09+/=-_%2F", "", true},
		{decryptCode + "?encrypt_code=a%252F", "", true},
		{decryptCode + "?encrypt_code=a%26b", "", false},
		{decryptCode + "?encrypt_code=%zz%", "", true},
		{decryptCode + "?encrypt_code=%ff%zz", "", false},
		{decryptCode + "?encrypt_code=" + strings.Repeat("+", 384), "", true},
		{decryptCode + "?encrypt_code=" + strings.Repeat("%2F", 129), "", false}, // 387 bytes
		{decryptCode + "?encrypt_code=a&b=c", "", false},
		{decryptCode + "?b=c&encrypt_code=a", "", false},
		{decryptCode + "?code=a", "", false},
	}
}

// Each rule of the contract is the functions', and each of the functions' rules is in the
// contract.
func TestTheFunctionsAgree(t *testing.T) {
	project, err := stack.Build(t.Context(), "..")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { project.Close() })
	d := &deployed{stacktest.Start(t, project, stack.Config{Unthrottled: true}), t, load(t), 0}
	d.WeChatPay.LimitBrandTokens(0)
	d.WeChatPay.LimitConfirmations(0)
	if err := d.RenewTicket(t.Context()); err != nil {
		t.Fatal(err)
	}
	patterns := map[string]bool{}
	for _, r := range d.contract.routes {
		if r.path == "/wechatpay/notifications" {
			continue
		}
		t.Run(r.key, func(t *testing.T) {
			d.t = t
			before := d.sent
			w := walk{contract: d.contract, verdicts: map[string]map[bool]int{}, patterns: patterns}
			documents := documents(r)
			encode := func(document any) []byte {
				text, err := json.Marshal(document)
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			for _, document := range documents {
				schema := r.operation.RequestBody.Value.Content.Get("application/json").Schema
				if !d.try(r.method, target(r, "", ""), encode(document)) {
					t.Errorf("%s is not allowed", encode(document))
				}
				w.value("", schema, document, func(v any) bool { return d.try(r.method, target(r, "", ""), encode(v)) })
			}
			for _, parameter := range r.operation.Parameters {
				var body []byte
				if len(documents) > 0 {
					body = encode(documents[0])
				}
				p := parameter.Value
				for rule, values := range w.edges(p.Schema.Value) {
					place := p.Name + " " + rule
					w.verdicts[place] = map[bool]int{}
					for _, value := range slices.Concat([]any{p.Example}, values) {
						if value != "" || p.In == openapi3.ParameterInQuery { // else another route
							w.verdicts[place][d.try(r.method, target(r, p.Name, value.(string)), body)]++
						}
					}
				}
			}
			w.requireEdges(t)
			t.Logf("%d requests", d.sent-before)
		})
	}
	d.t = t
	for _, row := range combined() {
		method := http.MethodPost
		if row.body == "" && (strings.HasPrefix(row.path, informations) || strings.HasPrefix(row.path, decryptCode)) {
			method = http.MethodGet
		}
		if d.try(method, row.path, []byte(row.body)) != row.allowed {
			t.Errorf("%s %.300s: is allowed: %v", row.path, row.body, !row.allowed)
		}
	}
}
