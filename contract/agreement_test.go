package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/shared/cardfields"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing"
	"membercard/shared/signing/wechatpaytest"
)

// deployed is the stack that requests are sent to, with the functions' own binaries.
type deployed struct {
	*stack.Stack
	t        *testing.T
	contract *Contract
	sent     int
}

// calls returns the number of requests that reach WeChat when ask sends a request. A call has
// at most four attempts, of which three may arrive late, while others are sent. So what is
// refused is sent again until nothing reached WeChat, five times at the most.
func (d *deployed) calls(ask func() (refused bool)) (n int) {
	for range 5 {
		d.WeChatPay.ClearRequests()
		d.OfficialAccount.ClearRequests()
		refused := ask()
		if n = len(d.WeChatPay.Requests()) + len(d.OfficialAccount.Requests()); !refused || n == 0 {
			break
		}
	}
	return n
}

// try sends a request, and reports whether it is allowed. The test fails unless the
// contract and the function are of the same opinion, and WeChat gets what is allowed, and
// nothing else.
func (d *deployed) try(method, target string, body []byte) (allowed bool) {
	d.t.Helper()
	d.sent++
	var status int
	var text []byte
	var fault, violation error
	var refused bool
	reached := d.calls(func() bool {
		request, err := http.NewRequest(method, d.URL+target, bytes.NewReader(body))
		if err != nil {
			d.t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			d.t.Fatal(err)
		}
		defer response.Body.Close()
		if text, err = io.ReadAll(response.Body); err != nil {
			d.t.Fatal(err)
		}
		fault, violation = d.contract.check(request, body, response, text)
		var a answer
		_ = json.Unmarshal(text, &a) // check reports errors
		status = response.StatusCode
		refused = a.refusal() || status == http.StatusNotFound && a.Code == "" // there is no such route
		return refused
	})
	if violation != nil {
		d.t.Errorf("%.300s\n%s", body, violation)
	}
	needsNone := target == cardExt && status == http.StatusOK
	if fault != nil && !refused || refused == (reached > 0 || needsNone) {
		d.t.Errorf("%s %s %.300s: %d %s, and %d requests reached WeChat; the contract says %v", method, target, body, status, text, reached, fault)
	}
	return !refused
}

// target returns the URL of a request with the parameters' examples, one of which may be
// replaced, or left out if value is nil.
func target(r route, name string, value any) string {
	path, query := r.path, []string(nil)
	for _, parameter := range r.operation.Parameters {
		sent := parameter.Value.Example
		if parameter.Value.Name == name {
			sent = value
		}
		text := url.QueryEscape(fmt.Sprint(sent))
		switch {
		case parameter.Value.In == openapi3.ParameterInPath:
			path = strings.Replace(path, "{"+parameter.Value.Name+"}", url.PathEscape(fmt.Sprint(sent)), 1)
		case sent != nil:
			query = append(query, parameter.Value.Name+"="+text)
		}
	}
	if query == nil {
		return path
	}
	return path + "?" + strings.Join(query, "&")
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
			object := cardfields.Object(name)
			switch {
			case !cardfields.OfMemberCard(name):
				baseInfo[name] = linkValue(name)
			case cardType == cardfields.MemberCard && object != "":
				if card[object] == nil {
					card[object] = map[string]any{}
				}
				card[object].(map[string]any)[name[len(object)+1:]] = linkValue(name)
			case cardType == cardfields.MemberCard:
				card[name] = linkValue(name)
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

// linkValue returns a value of a field of a card.
func linkValue(name string) string {
	switch {
	case strings.HasSuffix(name, "_url"), strings.HasSuffix(name, ".url"):
		return "https://example.com/"
	case strings.HasSuffix(name, "_user_name"):
		return "gh_86a091e50ad4@app"
	case strings.HasSuffix(name, ".name_type"):
		return "FIELD_NAME_TYPE_LEVEL"
	}
	return "x"
}

func encode(document any) []byte {
	text, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return text
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
	confirmed := func(state, validDate string) string {
		return `{"brand_id":"1004","card_id":"p","openid":"o","user_card_confirm_state":"CREATE_CARD_` + state + `","valid_date_information":` + validDate + `}`
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
		{cardUpdate, card(`{"custom_cell1":{},"activate_url":""}`), false},
		{cardUpdate, card(`{"custom_cell1":{"app_brand_user_name":"gh_1@app","app_brand_pass":""}}`), false},
		{cardUpdate, card(`{"custom_field3":{"app_brand_user_name":"","app_brand_pass":""}}`), true},
		{cardUpdate, card(`{"bonus_app_brand_pass":"p"}`), false},
		{cardUpdate, `{"card_id":"p","cash":{"base_info":{"center_title":"x"},"custom_cell1":{"url":""}}}`, false},
		{cardUpdate, info(`{"custom_cell1.url":""}`), false},
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
		{cardCreate, made("", `,"custom_cell2":{"app_brand_pass":"p"}`), false},
		{cardCreate, made("", `,"custom_cell2":{"name":"1234567890123456"}`), false},
		{cardCreate, made("", `,"custom_cell2":[]`), false},
		{cardCreate, made("", `,"custom_field1":{"more":null,"url":""}`), true},
		{cardCreate, coupon("CASH", "cash", `,"bonus_url":"http://x.cn"`), false},
		{cardCreate, coupon("CASH", "cash", `,"custom_cell1":{"url":""}`), false},
		{cardCreate, made(`,"custom_cell1":{"more":""}`, ""), false},

		{strings.Replace(brandConfirm, "478515832665", "1%2F2", 1), `{}`, false},
		{brandConfirm, confirmed("FAIL", `{"type":"FIX_TERM"}`), true},
		{brandConfirm, confirmed("SUCCESS", `{"type":"PERMANENT"}`), true},

		{merchantConfirm, ``, false},
		{merchantConfirm, `{"user_card_confirm_state":"CREATE_CARD_SUCCESS","fail_reason":"r"}`, false},
		{merchantConfirm, `{"user_card_confirm_state":"CREATE_CARD_ALREADY_EXISTS","fail_reason":"r"}`, false},

		{merchantConfirm, `{"user_card_confirm_state":"CREATE_CARD_FAIL"}`, true},
		{merchantConfirm, `{"user_card_confirm_state":"CREATE_CARD_ALREADY_EXISTS"}`, true},

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

		{brandCard + "?brand_id=1004&card_id=p&openid=o", "", true},
		{brandCard + "?openid=%E5%8D%A1+o&brand%5Fid=1004&card_id=p", "", true},
		{brandCard + "?brand_id=1004&card_id=p&openid=o&openid=o", "", false},
		{brandCard + "?brand_id=1004&card_id=p&openid=o&offset=0", "", false},
		{brandCard + "?brand_id=1004&card_id=p&openid=%ff", "", false},
		{brandCard + "?brand_id=1004&card_id=p&openid=%zz", "", false},
		{brandCard + "?brand_id=1004&card_id=p&openid", "", false},
		{brandCards + "?brand_id=1004&openid=o&", "", false},
		{brandCards + "?brand_id=1004&openid=o&offset=01", "", false},
		{brandCards + "?brand_id=1004&openid=o&limit=%2B1", "", false},
		{brandCards + "?brand_id=1004&openid=o&user_card_state=UNACTIVATED", "", true},
		{brandCards + "?brand_id=1004&openid=o&user_card_state=EXPIRED", "", true},
		{brandCards + "?brand_id=1004&openid=o&user_card_state=INVALID", "", true},
		{merchantCard + "?openid=o", "", false},
		{merchantCards + "?openid=o&card_id=p", "", false},
	}
}

// hasGET reports whether a URL is one of an operation that reads.
func hasGET(c *Contract, u *url.URL) bool {
	r, _ := c.find(http.MethodGet, u)
	return r != nil
}

var project *stack.Project

func TestMain(m *testing.M) { stacktest.Main(m, "..", &project) }

func deploy(t *testing.T) *deployed {
	t.Helper()
	return &deployed{Stack: stacktest.Start(t, project, stack.Config{Unthrottled: true}), t: t, contract: load(t)}
}

// Each rule of the contract is the functions', and each of the functions' rules is in the
// contract.
func TestTheFunctionsAgree(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.WeChatPay.LimitBrandTokens(0)
	d.WeChatPay.LimitConfirmations(0)
	d.WeChatPay.LimitQueries(0)
	if err := d.RenewTicket(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range d.contract.routes { // an instance that starts may call WeChat by itself
		if documents := documents(r); len(documents) > 0 && r.path != notifications {
			d.try(r.method, target(r, "", nil), encode(documents[0]))
		}
	}
	patterns := map[string]bool{}
	for _, r := range d.contract.routes {
		if r.path == "/wechatpay/notifications" {
			continue
		}
		t.Run(r.key, func(t *testing.T) {
			d.t = t
			before := d.sent
			w := walk{contract: d.contract, verdicts: map[string]map[bool]int{}, without: map[string]bool{}, patterns: patterns}
			documents := documents(r)
			for _, document := range documents {
				schema := r.operation.RequestBody.Value.Content.Get("application/json").Schema
				if !d.try(r.method, target(r, "", nil), encode(document)) {
					t.Errorf("%s is not allowed", encode(document))
				}
				w.value("", schema, document, func(v any) bool { return d.try(r.method, target(r, "", nil), encode(v)) })
			}
			for _, parameter := range r.operation.Parameters {
				var body []byte
				if len(documents) > 0 {
					body = encode(documents[0])
				}
				p := parameter.Value
				if p.In == openapi3.ParameterInQuery && d.try(r.method, target(r, p.Name, nil), body) == p.Required {
					t.Errorf("%s may be left out: %v", p.Name, p.Required)
				}
				for rule, values := range w.edges(p.Schema.Value) {
					place := p.Name + " " + rule
					w.verdicts[place] = map[bool]int{}
					for _, value := range slices.Concat([]any{p.Example}, values) {
						if value != "" || p.In == openapi3.ParameterInQuery { // else another route
							w.verdicts[place][d.try(r.method, target(r, p.Name, value), body)]++
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
		if u, err := url.Parse(row.path); err == nil && hasGET(d.contract, u) {
			method = http.MethodGet
		}
		if d.try(method, row.path, []byte(row.body)) != row.allowed {
			t.Errorf("%s %.300s: is allowed: %v", row.path, row.body, !row.allowed)
		}
	}
}

// TestNotificationsAgree walks the notifications of WeChat Pay, signed by the merchant's own
// WeChat Pay, which the binary of card-events gets without API Gateway.
func TestNotificationsAgree(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	const secretName, apiv3Key = "test/merchant", "Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0A"
	_, wechatpay := wechatpaytest.Keys()
	d.Secrets.Put(secretName, wechatpaytest.Secret("apiv3_key", apiv3Key))
	config := d.Configs["functions/card-events"]
	config.Environment = maps.Clone(config.Environment)
	config.Environment["MERCHANT_SECRET_ID"] = secretName
	function := lambda.New(config)
	t.Cleanup(func() { function.Close() })
	send := func(document any) (allowed bool) {
		body := string(encode(document))
		request := httptest.NewRequest(http.MethodPost, notifications, nil)
		wechatpaytest.Sign(request.Header, body, wechatpaytest.PublicKeyID, wechatpay, time.Now())
		event := gatewaytest.Request("POST "+notifications, body)
		event.Headers = map[string]string{}
		for name := range request.Header {
			event.Headers[strings.ToLower(name)] = request.Header.Get(name)
		}
		result, err := function.Invoke(t.Context(), encode(event))
		if err != nil {
			t.Fatal(err)
		}
		var answered struct {
			StatusCode int    `json:"statusCode"`
			Body       string `json:"body"`
		}
		_ = json.Unmarshal(result.Payload, &answered)
		r, _ := d.contract.find(http.MethodPost, request.URL)
		fault := d.contract.checkRequest(r.operation, request, nil, []byte(body))
		// What can't be decrypted is answered 500.
		if taken := answered.StatusCode == 204 || answered.StatusCode == 500; taken != (fault == nil) {
			t.Errorf("%.300s: %d %s; the contract says %v", body, answered.StatusCode, answered.Body, fault)
		}
		return fault == nil
	}
	w := walk{contract: d.contract, verdicts: map[string]map[bool]int{}, without: map[string]bool{}, patterns: map[string]bool{}}
	document, _ := wechatpaytest.Document("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", wechatpaytest.Created, apiv3Key)
	w.value("", d.contract.document.Components.Schemas["Notification"], document, send)
	w.requireEdges(t)

	// Each header alone, for another value of one makes the signature wrong.
	r, _ := d.contract.find(http.MethodPost, &url.URL{Path: notifications})
	for _, parameter := range r.operation.Parameters {
		p := parameter.Value
		for _, values := range w.edges(p.Schema.Value) {
			for _, value := range values {
				header := http.Header{}
				wechatpaytest.Sign(header, "", wechatpaytest.PublicKeyID, wechatpay, time.Now())
				header.Set(p.Name, value.(string))
				fault := d.contract.checkValue(p.Schema, value)
				if p.Name == "Wechatpay-Timestamp" && fault == nil || value == "" { // another time, or no header
					continue
				}
				if err := signing.CheckHeaders(header); (err == nil) != (fault == nil) {
					t.Errorf("%s: %q: %v; the contract says %v", p.Name, value, err, fault)
				}
			}
		}
	}
}

// unstatedInPlans are rules of plans that a schema cannot express.
var unstatedInPlans = []string{"is required together with", "must not be empty unless", "is already planned at", "must be after from", "must not be given twice", "must be valid Unicode"}

// TestPlansAgree walks the schema of card plans, with dry runs of card-sync.
func TestPlansAgree(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	contract, schema := planContract(t)
	try := func(plan string) (allowed bool) {
		var text []byte
		var refused, stated bool // stated: for a rule of the schema
		reached := d.calls(func() bool {
			var err error
			text, err = d.Invoke(t.Context(), "functions/card-sync", []byte(`{"action":"sync","dry_run":true,"plan":`+plan+`}`))
			var report struct {
				Error struct {
					Code   string
					Faults []struct{ Issue string }
				}
			}
			if err != nil || json.Unmarshal(text, &report) != nil {
				t.Errorf("%.300s: %s %v", plan, text, err)
			}
			for _, fault := range report.Error.Faults {
				stated = stated || !slices.ContainsFunc(unstatedInPlans, func(issue string) bool { return strings.HasPrefix(fault.Issue, issue) })
			}
			refused = report.Error.Code == "INVALID_PLAN"
			return refused
		})
		if fault := contract.checkJSON(schema, []byte(plan)); stated != (fault != nil) || refused && reached > 0 {
			t.Errorf("%.300s: %.300s, and %d requests reached WeChat; the schema says %v", plan, text, reached, fault)
		}
		return !refused
	}
	fields := map[string]any{}
	for _, name := range cardfields.Names {
		fields[name] = linkValue(name)
	}
	modules := map[string]any{"666": map[string]any{"appid": "wx37178d097a6851d8", "path": "pages/offers"}}
	w := walk{contract: contract, verdicts: map[string]map[bool]int{}, without: map[string]bool{}, patterns: map[string]bool{}}
	w.value("", schema, map[string]any{"cards": []any{map[string]any{
		"card_id": "pbLatjvWOibDc5-TBnbUk1pD12o0", "fields": fields, "service_modules": modules,
		"campaigns": []any{map[string]any{"name": "新年", "from": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59+08:00", "fields": fields, "service_modules": modules}},
	}}}, func(document any) bool { return try(string(encode(document))) })
	w.requireEdges(t)

	local, err := os.ReadFile("../local/plan.json")
	if err != nil {
		t.Fatal(err)
	}
	card := func(members string) string { return `{"cards":[{"card_id":"p"` + members + `}]}` }
	for _, row := range []struct {
		plan    string
		allowed bool
	}{
		{string(local), true},
		{`{"cards":[]}`, true},
		{card(``), false},
		{card(`,"campaigns":[]`), false},
		{card(`,"campaigns":[{}]`), false},
		{card(`,"campaigns":[],"fields":{}`), true},
		{card(`,"campaigns":[{"service_modules":{}}]`), true},
		{card(`,"service_modules":{"7":null}`), true},
		{card(`,"service_modules":{"":null}`), false},
		{card(`,"fields":{"center_app_brand_user_name":"","center_app_brand_pass":""}`), true},
		{card(`,"fields":{"center_app_brand_pass":"p"}`), false},
		{card(`,"fields":{"custom_url":"","custom_url":""}`), false},
		{card(`,"fields":{}},{"card_id":"p","fields":{}`), false},
		{card(`,"campaigns":[{"fields":{},"from":"2027-01-02T00:00:00Z","until":"2027-01-01T00:00:00Z"}]`), false},
		{card(`,"campaigns":[{"fields":{},"from":"2027-01-01T00:00:00.1234567891234-11:45"}]`), true},
	} {
		if try(row.plan) != row.allowed {
			t.Errorf("%s: is allowed: %v", row.plan, !row.allowed)
		}
	}
}

// planContract returns plan.schema.json as a contract, and its schema.
func planContract(t *testing.T) (*Contract, *openapi3.SchemaRef) {
	t.Helper()
	text, err := os.ReadFile("../functions/card-sync/plan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var plan map[string]any
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte("#/$defs/"), []byte("#/components/schemas/")), &plan); err != nil {
		t.Fatal(err)
	}
	schemas := plan["$defs"].(map[string]any)
	delete(plan, "$defs")
	schemas["Plan"] = plan
	file := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(file, encode(map[string]any{
		"openapi": "3.1.0", "info": map[string]any{"title": "plan", "version": "1"}, "paths": map[string]any{}, "components": map[string]any{"schemas": schemas},
	}), 0o600); err != nil {
		t.Fatal(err)
	}
	contract, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return contract, contract.document.Components.Schemas["Plan"]
}
