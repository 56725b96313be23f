package contract

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"

	"membercard/local/template"
	"membercard/shared/validation"
)

// loadOnce loads the contract for all tests, which only read it.
var loadOnce = sync.OnceValues(func() (*Contract, error) { return Load("../openapi.yaml") })

func load(t *testing.T) *Contract {
	t.Helper()
	c, err := loadOnce()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The contract has every route of the template, with its authentication, and no other.
func TestRoutes(t *testing.T) {
	deployed, err := template.Read("../template.yaml", map[string]string{"MerchantSecretArn": "any", "OfficialAccountSecretArn": "any", "FrontendAuth": "WECHAT"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, r := range deployed.Routes {
		want[r.Key] = r.Authorization
	}
	c := load(t)
	if len(want) < 13 || len(c.Routes()) != len(want) {
		t.Errorf("the template has the routes %v, the contract %q", want, c.Routes())
	}
	for _, r := range c.routes {
		got := "CUSTOM" // by FrontendAuth
		if security := r.operation.Security; security != nil {
			got = "NONE"
			if len(*security) == 1 && (*security)[0]["awsSigV4"] != nil {
				got = "AWS_IAM"
			}
		}
		if want[r.key] != got {
			t.Errorf("%s has the authorization %q in the contract, %q in the template", r.key, got, want[r.key])
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, file := range []string{"nowhere.yaml", "contract.go", "../template.yaml"} {
		if _, err := Load(file); err == nil {
			t.Errorf("%s was loaded as a contract", file)
		}
	}
}

// Every example is valid, and every request and response has one.
func TestExamples(t *testing.T) {
	for _, r := range load(t).routes {
		content := func(place string, content openapi3.Content) {
			media := content.Get("application/json")
			if media == nil || len(media.Examples) == 0 {
				t.Errorf("%s: %s has no example", r.key, place)
				return
			}
			for name, example := range media.Examples {
				if err := load(t).checkValue(media.Schema, example.Value.Value); err != nil {
					t.Errorf("%s: %s: %s: %v", r.key, place, name, err)
				}
			}
		}
		for _, parameter := range r.operation.Parameters {
			if err := load(t).checkValue(parameter.Value.Schema, parameter.Value.Example); err != nil {
				t.Errorf("%s: %s: %v", r.key, parameter.Value.Name, err)
			}
		}
		if r.method != "GET" {
			content("request", r.operation.RequestBody.Value.Content)
		}
		for status, response := range r.operation.Responses.Map() {
			if status != "204" {
				content(status, response.Value.Content)
			}
			for name, header := range response.Value.Headers {
				if example := header.Value.Example; example != nil {
					if err := load(t).checkValue(header.Value.Schema, example); err != nil {
						t.Errorf("%s: %s: %s: %v", r.key, status, name, err)
					}
				}
			}
		}
	}
}

// Every operation has the statuses of the table of errors.
func TestStatuses(t *testing.T) {
	for _, r := range load(t).routes {
		want := []string{"200", "400", "401", "403", "404", "429", "4XX", "500", "502", "503", "504"}
		switch {
		case r.key == "POST /card/ext": // which does not call WeChat
			want = []string{"200", "400", "401", "403", "404", "429", "4XX", "500", "503"}
		case r.key == "POST /wechatpay/notifications": // nobody logs in, and WeChat is not called
			want = []string{"204", "400", "401", "404", "429", "4XX", "500", "503"}
		case strings.HasSuffix(r.key, "/activate"):
			want[0] = "204"
		case strings.HasSuffix(r.key, "/codes/{code}/confirm"): // whose answer is not documented
			want = slices.Insert(want, 1, "204")
		}
		got := r.operation.Responses.Keys()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s answers %q", r.key, got)
		}
	}
}

const (
	permissionTokens = "/v3/marketing/membercard-open/cards/pbLatj/permission-tokens"
	preAuthTokens    = "/v3/brand/partner/card-member/pre-auth-tokens"
	cardExt          = "/card/ext"
	cardUpdate       = "/card/update"
	cardCreate       = "/card/create"
	cardCode         = "/card/code/decrypt"
	notifications    = "/wechatpay/notifications"
	brandConfirm     = "/v3/brand/partner/card-member/user-cards/478515832665/confirm"
	merchantConfirm  = "/v3/marketing/membercard-open/cards/p/codes/478515832665/confirm"
	merchantActivate = "/v3/marketing/membercard-open/cards/p/codes/478515832665/activate"
	informations     = "/v3/marketing/membercard-open/activate-informations/"
	decryptCode      = "/v3/marketing/membercard-open/cards/p/decrypt-code"
	brandCards       = "/v3/brand/partner/card-member/user-cards"
	brandCard        = "/v3/brand/partner/card-member/user-cards/478515832665"
	merchantCards    = "/v3/marketing/membercard-open/user/cards"
	merchantCard     = "/v3/marketing/membercard-open/cards/p/codes/478515832665"
)

// The schema of outer_str agrees with the functions for every character.
func TestOuterStr(t *testing.T) {
	allows := compiled(t, "OuterStr")
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if c == unicode.ReplacementChar { // what validation sees in broken UTF-8
			continue
		}
		s := string(c)
		allowed, valid := allows(s), validation.OuterStr(s) == ""
		if allowed != valid {
			t.Errorf("%U: the contract allows it: %v", c, allowed)
		}
	}
}

// The pattern of URLs agrees with the functions.
func TestWebURL(t *testing.T) {
	pattern := compiled(t, "WebURL")
	same := func(s string) {
		if allowed := pattern(s); allowed != (s != "" && validation.WebURL(s) == "") {
			t.Errorf("%q: the contract allows it: %v", s, allowed)
		}
	}
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if c < 0x3100 || c%997 == 0 {
			for _, place := range []string{"http://\x00", "http://a\x00b", "http://a\x00@b", "http://a/\x00", "http://a?\x00", "http://a#\x00", "\x00http://a"} {
				same(strings.Replace(place, "\x00", string(c), 1))
			}
		}
	}
	parts := []string{"http", "HTTPS", "ftp", ":", "//", "/", "a", "b.cn", "微信", "@", "?", "#", "%", "%4", "%41", "%E5", "%25", "%zz", " ", "8", "[::1]", "[", "]", "\\", "|", "\u3000"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		s := []string{"http://", "https://", ""}[random.IntN(3)]
		for range random.IntN(7) {
			s += parts[random.IntN(len(parts))]
		}
		same(s)
	}
}

// compiled returns a schema of strings as a function, without its maxLength; the
// validator is too slow for a million strings.
func compiled(t *testing.T, name string) func(string) bool {
	t.Helper()
	schema := load(t).document.Components.Schemas[name].Value
	pattern, err := regexp.Compile(schema.Pattern)
	if err != nil {
		t.Fatal(err)
	}
	not := func(string) bool { return false }
	if schema.Not != nil {
		forbidden, err := regexp.Compile(schema.Not.Value.Pattern)
		if err != nil {
			t.Fatal(err)
		}
		not = forbidden.MatchString
	}
	return func(s string) bool {
		return uint64(utf8.RuneCountInString(s)) >= schema.MinLength && pattern.MatchString(s) && !not(s)
	}
}

func answered(status int, body string, headers ...string) (*http.Response, []byte) {
	header := http.Header{"Content-Type": {"application/json"}}
	for _, line := range append([]string{"Cache-Control: no-store"}, headers...) {
		name, value, _ := strings.Cut(line, ": ")
		header.Set(name, value)
		if value == "" {
			header.Del(name)
		}
	}
	return &http.Response{StatusCode: status, Header: header}, []byte(body)
}

func TestCheck(t *testing.T) {
	c := load(t)
	const (
		brand       = `{"brand_id":"1004","card_id":"p","openid":"o"}`
		noBrand     = `{"card_id":"p","openid":"o"}`
		token       = `{"token":"t","expire_time":"2026-11-21T20:17:03.120+08:00"}`
		unavailable = `{"code":"TICKET_UNAVAILABLE","message":"m"}`

		success      = `{"user_card_confirm_state":"CREATE_CARD_SUCCESS"}`
		confirmation = `{"brand_id":"1","card_id":"p","openid":"o","user_card_confirm_state":"CREATE_CARD_SUCCESS"}`
		fail         = `{"code":"FAIL","message":"m"}`
	)
	noContent := []string{"Content-Type: "}
	refused := func(field, issue string) string {
		return `{"code":"PARAM_ERROR","message":"m","detail":{"field":"` + field + `","issue":"` + issue + `","location":"body"}}`
	}
	ext := func(text string) string {
		content, _ := json.Marshal(text)
		return `{"cardList":[{"cardId":"p","cardExt":` + string(content) + `}]}`
	}
	const signed = `"timestamp":"1","nonce_str":"n","signature":"0f9f9a1c2b3d4e5f60718293a4b5c6d7e8f90a1b"`
	for _, row := range []struct {
		name, method, path, body string
		status                   int
		answer                   string
		headers                  []string
		violation                string // a part of what is reported; "" is none
	}{
		{"success", "POST", preAuthTokens, brand, 200, token, []string{"X-WeChat-Request-Id: 1"}, ""},
		{"a field more of WeChat's", "POST", preAuthTokens, brand, 200, `{"token":"t","expire_time":"2026-11-21T20:17:03+08:00","more":1}`, nil, ""},
		{"invalid, refused", "POST", preAuthTokens, noBrand, 400, refused("/body/brand_id", "is required"), nil, ""},
		{"invalid, another error", "POST", preAuthTokens, noBrand, 500, `{"code":"CONFIG_ERROR","message":"m"}`, nil, ""},
		{"WeChat's PARAM_ERROR", "POST", preAuthTokens, brand, 400, `{"code":"PARAM_ERROR","message":"OpenID有误","request_id":"1"}`, nil, ""},
		{"WeChat's 4xx", "POST", preAuthTokens, brand, 409, `{"code":"ALREADY_EXISTS","message":"m"}`, nil, ""},
		{"WeChat's 502", "POST", preAuthTokens, brand, 502, `{"code":"BIZ_ERR_NEED_RETRY","message":"m"}`, nil, ""},
		{"busy", "POST", cardUpdate, `{}`, 502, `{"code":"WECHAT_-1","message":"m"}`, nil, ""},
		{"a key twice", "POST", preAuthTokens, `{"brand_id":"1","brand_id":"2","card_id":"p"}`, 400, refused("/body/brand_id", "must not be given twice"), nil, ""},
		{"no openid, no login", "POST", preAuthTokens, `{"brand_id":"1","card_id":"p"}`, 400, refused("/body/openid", "is required"), nil, ""},
		{"1e9", "POST", cardExt, `{"cardList":[{"card_id":"p","fixed_begintimestamp":1e9}]}`, 400, refused("/body/cardList/0/fixed_begintimestamp", "must be a whole number"), nil, ""},
		{"API Gateway's 403", "POST", preAuthTokens, brand, 403, `{"message":"Forbidden"}`, []string{"Cache-Control: "}, ""},
		{"API Gateway's 413", "POST", preAuthTokens, brand, 413, `{"message":"Request Entity Too Large"}`, []string{"Cache-Control: "}, ""},
		{"API Gateway's 429", "POST", preAuthTokens, brand, 429, `{"message":"Too Many Requests"}`, []string{"Cache-Control: "}, ""},
		{"API Gateway's 503", "POST", cardExt, `{"card_id":"p"}`, 503, `{"message":"Service Unavailable"}`, []string{"Cache-Control: "}, ""},
		{"no such route", "GET", preAuthTokens, "", 404, `{"message":"Not Found"}`, nil, ""},
		{"preflight", "OPTIONS", preAuthTokens, "", 204, "", []string{"Cache-Control: "}, ""},
		{"no ticket", "POST", cardExt, `{"card_id":"p"}`, 503, unavailable, []string{"Retry-After: 60"}, ""},
		{"cardExt", "POST", cardExt, `{"card_id":"p"}`, 200, ext(`{` + signed + `}`), nil, ""},
		{"activated", "POST", merchantActivate, "", 204, "", noContent, ""},
		{"confirmed, without a body", "POST", merchantConfirm, success, 204, "", noContent, ""},
		{"confirmed, with a body", "POST", merchantConfirm, success, 200, `{"more":1}`, nil, ""},
		{"a user's card", "POST", brandConfirm, confirmation, 200, `{"user_card_state":"EFFECTIVE","more":1}`, nil, ""},
		{"a form", "GET", informations + "t", "", 200, `{"user_information":{"common_field_list":[{"name":"n","value":"v"}]}}`, nil, ""},
		{"a code", "GET", decryptCode + "?encrypt_code=c", "", 200, `{"code":"1"}`, nil, ""},
		{"a code of the official account", "POST", cardCode, `{"encrypt_code":"c"}`, 200, `{"errcode":0,"errmsg":"ok","code":"1"}`, nil, ""},
		{"a notification without a signature", "POST", notifications, `{}`, 401, fail, nil, ""},
		{"a notification that is no JSON", "POST", notifications, `x`, 400, fail, nil, ""},
		{"a notification that the bus did not take", "POST", notifications, `{}`, 500, fail, nil, ""},
		{"a part of a list", "GET", brandCards + "?openid=o&offset=20&brand_id=1", "", 200, `{"data":[{"user_card_state":"EXPIRED"}],"total_count":21,"offset":20,"limit":20}`, nil, ""},
		{"an empty list", "GET", merchantCards + "?openid=o&limit=1", "", 200, `{"total_count":0,"offset":0,"limit":1}`, nil, ""},
		{"an unknown parameter refused", "GET", merchantCard + "?a=b", "", 400, refused("/query/a", "is not a parameter of this operation"), nil, ""},
		{"a query refused", "GET", decryptCode, "", 400, refused("/query/encrypt_code", "is required"), nil, ""},

		{"a route that there is not", "GET", preAuthTokens, "", 200, token, nil, "no such route"},
		{"a preflight with a token", "OPTIONS", preAuthTokens, "", 204, token, nil, "no such route"},
		{"no card_id", "POST", "/v3/marketing/membercard-open/cards//permission-tokens", `{}`, 200, `{}`, nil, "no such route"},
		{"invalid, answered", "POST", preAuthTokens, noBrand, 200, token, nil, "does not allow the request"},
		{"valid, refused", "POST", preAuthTokens, brand, 400, refused("/body/brand_id", "must be another"), nil, "it is refused: /body/brand_id must be another"},
		{"valid, another field refused", "POST", preAuthTokens, brand, 400, refused("/body/brand_id", "is required"), nil, "it is refused"},
		{"an answer without expire_time", "POST", preAuthTokens, brand, 200, `{"token":"t"}`, nil, "expire_time"},
		{"an expire_time that is none", "POST", preAuthTokens, brand, 200, `{"token":"t","expire_time":"soon"}`, nil, "expire_time"},
		{"an empty token", "POST", permissionTokens, `{"activate_type":"AUTO_ACTIVATE"}`, 200, `{"permission_token":""}`, nil, "permission_token"},
		{"no JSON", "POST", preAuthTokens, brand, 200, `ok`, nil, "not JSON"},
		{"no JSON by its type", "POST", preAuthTokens, brand, 200, token, []string{"Content-Type: text/plain"}, "text/plain"},
		{"to be cached", "POST", preAuthTokens, brand, 200, token, []string{"Cache-Control: max-age=60"}, "Cache-Control"},
		{"cached at will", "POST", preAuthTokens, brand, 200, token, []string{"Cache-Control: "}, "Cache-Control is missing"},
		{"an error cached at will", "POST", preAuthTokens, brand, 403, `{"code":"NO_AUTH","message":"m"}`, []string{"Cache-Control: "}, "Cache-Control is missing"},
		{"an error with a field more", "POST", preAuthTokens, brand, 403, `{"code":"NO_AUTH","message":"m","cause":"c"}`, nil, "cause"},
		{"an error without message", "POST", preAuthTokens, brand, 502, `{"code":"SIGN_ERROR"}`, nil, "message"},
		{"a status that there is not", "POST", preAuthTokens, brand, 302, `{"code":"X","message":"m"}`, nil, "status"},
		{"a code of another status", "POST", preAuthTokens, brand, 500, `{"code":"NO_AUTH","message":"m"}`, nil, "500"},
		{"another timeout", "POST", preAuthTokens, brand, 504, `{"code":"SYSTEM_ERROR","message":"m"}`, nil, "504"},
		{"a ticket for tokens", "POST", preAuthTokens, brand, 503, unavailable, []string{"Retry-After: 60"}, "503"},
		{"API Gateway's 502", "POST", preAuthTokens, brand, 502, `{"message":"Bad Gateway"}`, nil, "502"},
		{"429 without Retry-After", "POST", preAuthTokens, brand, 429, `{"code":"FREQUENCY_LIMITED","message":"m"}`, nil, "Retry-After is missing"},
		{"no ticket, no Retry-After", "POST", cardExt, `{"card_id":"p"}`, 503, unavailable, nil, "Retry-After is missing"},
		{"a Retry-After that is none", "POST", cardExt, `{"card_id":"p"}`, 503, unavailable, []string{"Retry-After: soon"}, "Retry-After"},
		{"an errcode", "POST", cardUpdate, `{"card_id":"p","cash":{"base_info":{"center_title":"x"}}}`, 200, `{"errcode":40053,"errmsg":"no"}`, nil, "errcode"},
		{"a 204 with a body", "POST", merchantActivate, "", 204, "{}", noContent, "no body"},
		{"a 204 with a type", "POST", merchantActivate, "", 204, "", nil, "no body"},
		{"a 204 to be cached", "POST", merchantActivate, "", 204, "", []string{"Content-Type: ", "Cache-Control: "}, "Cache-Control"},
		{"an empty 200", "POST", merchantConfirm, success, 200, "", nil, "not JSON"},
		{"a form that is a list", "GET", informations + "t", "", 200, `[]`, nil, "answered 200"},
		{"a limit of 21 answered", "GET", merchantCards + "?openid=o&limit=21", "", 200, `{}`, nil, "limit"},
		{"a limit with a leading zero answered", "GET", merchantCards + "?openid=o&limit=01", "", 200, `{}`, nil, "limit"},
		{"no openid answered", "GET", merchantCards, "", 200, `{}`, nil, "openid is missing"},
		{"no code", "GET", decryptCode + "?encrypt_code=c", "", 200, `{}`, nil, "code"},
		{"two parameters answered", "GET", decryptCode + "?encrypt_code=c&d=e", "", 200, `{"code":"1"}`, nil, "encrypt_code"},
		{"a notification without a signature, taken", "POST", notifications, `{}`, 204, "", noContent, "Wechatpay-"},
		{"a notification's error in another form", "POST", notifications, `{}`, 401, `{"code":"SIGNATURE_INVALID","message":"m"}`, nil, "401"},
		{"a notification's error with a reason", "POST", notifications, `{}`, 401, `{"code":"FAIL","message":"m","cause":"c"}`, nil, "cause"},
		{"a cardExt that is no JSON", "POST", cardExt, `{"card_id":"p"}`, 200, ext(`{`), nil, "application/json"},
		{"a cardExt with an empty field", "POST", cardExt, `{"card_id":"p"}`, 200, ext(`{"code":"",` + signed + `}`), nil, "code"},
		{"a cardExt with a field more", "POST", cardExt, `{"card_id":"p"}`, 200, ext(`{"api_ticket":"secret",` + signed + `}`), nil, "api_ticket"},
	} {
		t.Run(row.name, func(t *testing.T) {
			request := httptest.NewRequest(row.method, row.path, nil)
			response, answer := answered(row.status, row.answer, row.headers...)
			err := c.Check(request, []byte(row.body), response, answer)
			switch {
			case row.violation == "" && err != nil:
				t.Error(err)
			case row.violation != "" && (err == nil || !strings.Contains(err.Error(), row.violation)):
				t.Errorf("reported %v, want %q", err, row.violation)
			}
		})
	}
}

// The transport does not change exchanges, and reports those that violate the
// contract.
func TestTransport(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Received", string(body))
		io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
	}))
	defer server.Close()
	var reported []error
	client := &http.Client{Transport: Transport(load(t), nil, func(err error) { reported = append(reported, err) })}
	for i, body := range []string{`{"card_id":"p","cash":{"base_info":{"center_title":"x"}}}`, `{"card_id":"p"}`} {
		response, err := client.Post(server.URL+cardUpdate, "application/octet-stream", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(answer) != `{"errcode":0,"errmsg":"ok"}` || response.Header.Get("Received") != body {
			t.Errorf("%s was received, %s answered, %v", response.Header.Get("Received"), answer, err)
		}
		if len(reported) != i {
			t.Errorf("reported after %d exchanges: %v", i+1, reported)
		}
	}
	broken := errors.New("broken")
	client.Transport = Transport(load(t), failing{broken}, func(err error) { t.Error(err) })
	if _, err := client.Get(server.URL); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }
