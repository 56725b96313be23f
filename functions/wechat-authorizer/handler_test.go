package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"membercard/shared/cached"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/officialaccount"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	miniAppID, miniSecret         = "wx5f0c2b8e7d4a9361", "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	officialAppID, officialSecret = "wxea9c30a90fs8d3fe", "9d2b61a7f4c84e0bb35ad7218e60c4f3"
	newSecret                     = "77e1c0a95b3d4f628d14a6f0b92c35e8"

	code       = "0b3HklGa1Zb7tE0_pq-a1hF2Xw3HklGX"
	openid     = "obLatjnx9gnqzS4myYGmLZ7LgLBA"
	sessionKey = "HyVFkGl5F5OQWJZZaNzBBg=="

	mini  = "WeChat-MiniProgram "
	oauth = "WeChat-OAuth "

	// What WeChat answers for a mini program and for an H5 page.
	session = `{"openid":"` + openid + `","session_key":"` + sessionKey + `","unionid":"o6_bmasdasdsad6_2sgVt7hMZOPfL"}`
	access  = `{"access_token":"90_` + sessionKey + `","expires_in":7200,"refresh_token":"r` + sessionKey + `","openid":"` + openid + `","scope":"snsapi_base"}`
)

// private are the values that no log and no error may contain.
var private = []string{miniSecret, officialSecret, newSecret, code, openid, sessionKey, "o6_bmasdasdsad6_2sgVt7hMZOPfL"}

// fake is a source of the apps in a secret. Refresh changes to those in the next
// version, if there is one.
type fake struct {
	mu        sync.Mutex
	text      string
	parsed    *officialaccount.Login
	next      string
	unread    error // of Get
	unreadNow error // of Refresh
	panics    any
	refreshed int
}

func both(secret string) string {
	return `{"mini_program":{"appid":"` + miniAppID + `","secret":"` + secret + `"},"official_account":{"appid":"` + officialAppID + `","secret":"` + officialSecret + `"}}`
}

func (f *fake) Get(context.Context) (*officialaccount.Login, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics != nil {
		panic(f.panics)
	}
	if f.unread != nil {
		return nil, f.unread
	}
	return f.parse()
}

// parse parses the text once, as a cached secret does.
func (f *fake) parse() (login *officialaccount.Login, err error) {
	if f.parsed == nil {
		f.parsed, err = officialaccount.ParseLogin([]byte(f.text))
	}
	return f.parsed, err
}

func (f *fake) Refresh(context.Context, *officialaccount.Login) (*officialaccount.Login, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refreshed++
	if f.unreadNow == nil && f.next != "" {
		f.text, f.next, f.parsed = f.next, "", nil
	}
	held, err := f.parse()
	return held, errors.Join(err, f.unreadNow)
}

// wechat is a WeChat that records the path and the query of each call.
type wechat struct {
	*httptest.Server

	mu    sync.Mutex
	calls []string
}

// reply is an answer. Status 0 means 200, and -1 that the connection is closed.
type reply struct {
	status int
	body   string
}

func startWeChat(t *testing.T, answer func(r *http.Request) reply) *wechat {
	w := &wechat{}
	w.Server = tlsdialtest.Start(t, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodGet || len(body) > 0 || r.Header.Get("Authorization") != "" {
			t.Errorf("%s with %q and Authorization %q", r.Method, body, r.Header.Get("Authorization"))
		}
		w.mu.Lock()
		w.calls = append(w.calls, r.URL.Path+"?"+r.URL.Query().Encode())
		w.mu.Unlock()
		made := answer(r)
		switch {
		case made.status < 0:
			panic(http.ErrAbortHandler)
		case made.status == http.StatusFound:
			out.Header().Set("Location", "https://127.0.0.1:1/")
		}
		if made.status != 0 {
			out.WriteHeader(made.status)
		}
		_, _ = io.WriteString(out, made.body)
	}))
	return w
}

func (w *wechat) came() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.calls...)
}

// always gives every call the same answer.
func always(status int, body string) func(*http.Request) reply {
	return func(*http.Request) reply { return reply{status, body} }
}

// outcome is what API Gateway gets, and what is logged.
type outcome struct {
	answer response
	raw    string
	err    error
	log    string
	record map[string]any
}

// event returns API Gateway's event for a request with an Authorization header.
func event(header string) events.APIGatewayV2CustomAuthorizerV2Request {
	e := events.APIGatewayV2CustomAuthorizerV2Request{
		Version:        "2.0",
		Type:           "REQUEST",
		RouteArn:       "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/test/POST/card/ext",
		IdentitySource: []string{header},
		RouteKey:       "POST /card/ext",
		RawPath:        "/card/ext",
		Headers:        map[string]string{"authorization": header, "content-type": "application/json"},
	}
	e.RequestContext.HTTP.Method = "POST"
	return e
}

// invoke calls the function as Lambda does.
func invoke(t testing.TB, ctx context.Context, from cached.Source[*officialaccount.Login], endpoint string, asked any) outcome {
	t.Helper()
	payload, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	log, records := telemetrytest.New()
	a := authorizer{apps: from, wechat: upstream.New([]string{endpoint}), log: log}
	ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: "8f5a"})
	raw, err := lambda.NewHandler(a.authorize).Invoke(ctx, payload)
	o := outcome{raw: string(raw), err: err, log: records.String()}
	if err == nil {
		if err := json.Unmarshal(raw, &o.answer); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if !o.answer.IsAuthorized && len(o.answer.Context) != 0 {
			t.Errorf("no, with a context: %s", raw)
		}
	}
	all := records.All(t)
	if len(all) != 1 {
		t.Fatalf("not one record:\n%s", o.log)
	}
	o.record = all[0]
	if o.record["requestId"] != "8f5a" || o.record["route"] != "POST /card/ext" {
		t.Errorf("the record is of request %v, route %v", o.record["requestId"], o.record["route"])
	}
	for _, value := range private {
		if strings.Contains(o.log, value) {
			t.Errorf("%s is logged: %s", value, o.log)
		}
		if err != nil && strings.Contains(err.Error(), value) {
			t.Errorf("%s is in the error: %v", value, err)
		}
	}
	return o
}

// says checks the decision and its log record. Code "" is not checked.
func (o outcome) says(t testing.TB, yes bool, level, code string) {
	t.Helper()
	if o.err != nil || o.answer.IsAuthorized != yes {
		t.Fatalf("%s, %v, want isAuthorized %v\n%s", o.raw, o.err, yes, o.log)
	}
	if o.record["level"] != level || code != "" && o.record["Code"] != code {
		t.Errorf("recorded as %v %v, want %s %s", o.record["level"], o.record["Code"], level, code)
	}
}

// fails checks that API Gateway gets an error. It answers the request with 500 and
// does not cache that.
func (o outcome) fails(t testing.TB, code string) {
	t.Helper()
	if o.err == nil || o.raw != "" || o.err.Error() != code {
		t.Fatalf("%s, %v, want the error %s\n%s", o.raw, o.err, code, o.log)
	}
	if o.record["level"] != "ERROR" || o.record["Code"] != code || o.record["cause"] == nil || o.record["cure"] == nil || o.record["cure"] == "" {
		t.Errorf("the record is %s", o.log)
	}
}

func TestTheSchemeChoosesTheApp(t *testing.T) {
	for _, row := range []struct{ what, header, answer, call, appid string }{
		{"a mini program", mini + code, session,
			"/sns/jscode2session?appid=" + miniAppID + "&grant_type=authorization_code&js_code=" + code + "&secret=" + miniSecret, miniAppID},
		{"an H5 page", oauth + code, access,
			"/sns/oauth2/access_token?appid=" + officialAppID + "&code=" + code + "&grant_type=authorization_code&secret=" + officialSecret, officialAppID},
		{"an answer with errcode 0", mini + code, `{"errcode":0,"errmsg":"ok",` + session[1:],
			"/sns/jscode2session?appid=" + miniAppID + "&grant_type=authorization_code&js_code=" + code + "&secret=" + miniSecret, miniAppID},
	} {
		t.Run(row.what, func(t *testing.T) {
			w := startWeChat(t, always(0, row.answer))
			o := invoke(t, t.Context(), &fake{text: both(miniSecret)}, w.URL, event(row.header))
			o.says(t, true, "INFO", "OK")
			if want := map[string]any{"openid": openid, "appid": row.appid}; !reflect.DeepEqual(o.answer.Context, want) {
				t.Errorf("the context is %v, want %v", o.answer.Context, want)
			}
			if came := w.came(); len(came) != 1 || came[0] != row.call {
				t.Errorf("WeChat got %q, want %q", came, row.call)
			}
		})
	}
}

func TestTheHeader(t *testing.T) {
	long := strings.Repeat("c", 128)
	for _, row := range []struct{ what, header, code string }{ // code "" is no login, and asks nobody
		{"as documented", mini + code, code},
		{"the scheme in small letters", "wechat-miniprogram " + code, code},
		{"the scheme in capitals", "WECHAT-MINIPROGRAM " + code, code},
		{"the other scheme in small letters", "wechat-oauth " + code, code},
		{"the other scheme in capitals", "WECHAT-OAUTH " + code, code},
		{"blanks around", "  " + mini + code + " \t", code},
		{"blanks between", mini + "  \t " + code, code},
		{"a code of 1", mini + "a", "a"},
		{"a code of 128", mini + long, long},
		{"_ and -", oauth + "_-", "_-"},

		{"empty", "", ""},
		{"blank", " \t ", ""},
		{"the scheme alone", "WeChat-MiniProgram", ""},
		{"the scheme and a blank", mini, ""},
		{"the code alone", code, ""},
		{"no blank between", "WeChat-MiniProgram" + code, ""},
		{"a tab instead of a blank", "WeChat-MiniProgram\t" + code, ""},
		{"a colon instead of a blank", "WeChat-MiniProgram:" + code, ""},
		{"another scheme", "Bearer " + code, ""},
		{"AWS's scheme", "AWS4-HMAC-SHA256 Credential=AKID/20261101/eu-central-1/execute-api/aws4_request", ""},
		{"a scheme that begins so", "WeChat-MiniProgramX " + code, ""},
		{"a scheme that is the beginning", "WeChat-Mini " + code, ""},
		{"a scheme of other characters", "WeChat-MiniPrоgram " + code, ""}, // the o is Cyrillic
		{"a code of 129", mini + long + "c", ""},
		{"two codes", mini + code + " " + code, ""},
		{"two codes and a comma", mini + code + "," + code, ""},
		{"a parameter more", mini + code + "&grant_type=x", ""},
		{"a fragment", mini + code + "#", ""},
		{"an escape", mini + code + "%26", ""},
		{"a plus", mini + code + "+", ""},
		{"a slash", mini + "../" + code, ""},
		{"a dot", mini + code + ".", ""},
		{"quoted", mini + `"` + code + `"`, ""},
		{"a line break", mini + code + "\r\nHost: example.com", ""},
		{"a NUL", mini + code + "\x00", ""},
		{"a letter with an accent", mini + "é" + code, ""},
		{"Chinese", oauth + "登录" + code, ""},
		{"full-width", oauth + "ａ" + code, ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := startWeChat(t, always(0, session))
			o := invoke(t, t.Context(), &fake{text: both(miniSecret)}, w.URL, event(row.header))
			came := strings.Join(w.came(), "\n")
			if row.code == "" {
				o.says(t, false, "WARN", "NOT_A_LOGIN")
				if came != "" {
					t.Errorf("WeChat was asked %s", came)
				}
				return
			}
			o.says(t, true, "INFO", "OK")
			if !strings.Contains(came+"&", "code="+row.code+"&") || strings.Contains(came, "\n") {
				t.Errorf("WeChat got %q", came)
			}
		})
	}
}

func TestWhereTheHeaderIs(t *testing.T) {
	for _, row := range []struct {
		what, event string
		yes         bool
	}{
		{"as identity source", `{"routeKey":"POST /card/ext","identitySource":["` + mini + code + `"]}`, true},
		{"not as identity source, as an authorizer without a TTL has it", `{"routeKey":"POST /card/ext","identitySource":null,"headers":{"authorization":"` + mini + code + `"}}`, true},
		{"an empty list of identity sources", `{"routeKey":"POST /card/ext","identitySource":[],"headers":{"authorization":"` + mini + code + `"}}`, true},
		{"the identity source, which is what the answer is kept for, is another", `{"routeKey":"POST /card/ext","identitySource":["Bearer x"],"headers":{"authorization":"` + mini + code + `"}}`, false},
		{"in another header", `{"routeKey":"POST /card/ext","headers":{"x-authorization":"` + mini + code + `"}}`, false},
		{"in the query", `{"routeKey":"POST /card/ext","queryStringParameters":{"authorization":"` + mini + code + `"}}`, false},
		{"nowhere", `{"routeKey":"POST /card/ext"}`, false},
	} {
		t.Run(row.what, func(t *testing.T) {
			w := startWeChat(t, always(0, session))
			o := invoke(t, t.Context(), &fake{text: both(miniSecret)}, w.URL, json.RawMessage(row.event))
			if row.yes {
				o.says(t, true, "INFO", "OK")
				return
			}
			o.says(t, false, "WARN", "NOT_A_LOGIN")
			if came := w.came(); len(came) != 0 {
				t.Errorf("WeChat was asked %q", came)
			}
		})
	}
}

func TestAnAppThatIsNotConfigured(t *testing.T) {
	for _, row := range []struct{ what, secret, header string }{
		{"no mini program", `{"official_account":{"appid":"` + officialAppID + `","secret":"` + officialSecret + `"}}`, mini + code},
		{"no official account", `{"mini_program":{"appid":"` + miniAppID + `","secret":"` + miniSecret + `"}}`, oauth + code},
	} {
		w := startWeChat(t, always(0, session))
		invoke(t, t.Context(), &fake{text: row.secret}, w.URL, event(row.header)).says(t, false, "WARN", "NOT_A_LOGIN")
		if came := w.came(); len(came) != 0 {
			t.Errorf("%s: WeChat was asked %q", row.what, came)
		}
	}
}

// quoting is an errmsg that repeats everything that was sent to WeChat.
const quoting = `invalid code ` + code + `, secret ` + miniSecret + `, rid: 6548a3b1-1f2e3d4c-5b6a7988`

func TestRefusedCodesAreNotAuthorized(t *testing.T) {
	for _, header := range []string{mini + code, oauth + code} {
		for _, errcode := range []int{40029, 40163, 40226} {
			t.Run(fmt.Sprint(header[:9], errcode), func(t *testing.T) {
				w := startWeChat(t, always(0, fmt.Sprintf(`{"errcode":%d,"errmsg":"invalid code %s, rid: 6548a3b1"}`, errcode, code)))
				from := &fake{text: both(miniSecret), next: both(newSecret)}
				invoke(t, t.Context(), from, w.URL, event(header)).says(t, false, "WARN", fmt.Sprintf("WECHAT_%d", errcode))
				if came := w.came(); len(came) != 1 || from.refreshed != 0 {
					t.Errorf("WeChat was asked %q, and the secret read again %d times", came, from.refreshed)
				}
			})
		}
	}
}

// An answer that says nothing about the user is an error, because API Gateway caches
// decisions.
func TestUndocumentedAnswersAreErrors(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what       string
		status     int
		body, code string
	}{
		{"busy", 0, `{"errcode":-1,"errmsg":"system error"}`, "WECHAT_-1"},
		{"too often", 0, `{"errcode":45011,"errmsg":"api minute-quota reach limit"}`, "WECHAT_45011"},
		{"quota", 0, `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`, "WECHAT_45009"},
		{"our address", 0, `{"errcode":40164,"errmsg":"invalid ip 203.0.113.7"}`, "WECHAT_40164"},
		{"an errcode that we don't know", 0, `{"errcode":61024,"errmsg":"` + quoting + `"}`, "WECHAT_61024"},
		{"busy, and quoting", 0, `{"errcode":-1,"errmsg":"` + quoting + `"}`, "WECHAT_-1"},
		{"unreachable", -1, "", "UPSTREAM_UNREACHABLE"},
		{"500", 500, "", "SYSTEM_ERROR"},
		{"502 with HTML", 502, "<html>", "SYSTEM_ERROR"},
		{"503 with a no", 503, `{"errcode":40029,"errmsg":"invalid code"}`, "SYSTEM_ERROR"},
		{"500 with an openid", 500, session, "SYSTEM_ERROR"},
		{"429", 429, "", "RATELIMIT_EXCEEDED"},
		{"404", 404, session, "INVALID_RESPONSE"},
		{"403", 403, `{"errcode":40029}`, "INVALID_RESPONSE"},
		{"a redirect", 302, session, "INVALID_RESPONSE"},
		{"nothing", 0, ``, "INVALID_RESPONSE"},
		{"HTML", 0, `<html>` + session, "INVALID_RESPONSE"},
		{"an array", 0, `[` + session + `]`, "INVALID_RESPONSE"},
		{"null", 0, `null`, "INVALID_RESPONSE"},
		{"cut short", 0, session[:len(session)-1], "INVALID_RESPONSE"},
		{"trailing data", 0, session + "x", "INVALID_RESPONSE"},
		{"no openid", 0, `{"session_key":"` + sessionKey + `"}`, "INVALID_RESPONSE"},
		{"an empty openid", 0, `{"openid":""}`, "INVALID_RESPONSE"},
		{"openid null", 0, `{"openid":null}`, "INVALID_RESPONSE"},
		{"openid as a number", 0, `{"openid":17}`, "INVALID_RESPONSE"},
		{"openid in another case", 0, `{"OpenID":"` + openid + `"}`, "INVALID_RESPONSE"},
		{"errcode as a string", 0, `{"errcode":"40029","openid":"` + openid + `"}`, "INVALID_RESPONSE"},
		{"bytes that are not UTF-8", 0, "{\"openid\":\"" + openid + "\xff\"}", "INVALID_RESPONSE"},
		{"a control character in the openid", 0, "{\"openid\":\"" + openid + "\x14\"}", "INVALID_RESPONSE"},
		{"over 1 MiB", 0, `{"x":"` + strings.Repeat("x", 1<<20) + `",` + session[1:], "INVALID_RESPONSE"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := startWeChat(t, always(row.status, row.body))
			from := &fake{text: both(miniSecret), next: both(newSecret)}
			invoke(t, t.Context(), from, w.URL, event(mini+code)).fails(t, row.code)
			if from.refreshed != 0 {
				t.Errorf("the secret was read again %d times", from.refreshed)
			}
		})
	}
}

func TestAnUnreachableWeChatIsAnError(t *testing.T) {
	t.Parallel()
	invoke(t, t.Context(), &fake{text: both(miniSecret)}, gatewaytest.Nowhere, event(mini+code)).fails(t, "UPSTREAM_UNREACHABLE")
}

func TestNoTimeIsLeft(t *testing.T) {
	w := startWeChat(t, always(0, session))
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	invoke(t, ctx, &fake{text: both(miniSecret)}, w.URL, event(mini+code)).fails(t, "UPSTREAM_TIMEOUT")
	if came := w.came(); len(came) != 0 {
		t.Errorf("WeChat was asked %q", came)
	}
}

func TestASecretThatCantBeRead(t *testing.T) {
	for _, row := range []struct {
		what string
		from *fake
	}{
		{"it may not be read", &fake{unread: errors.New("reading it, Secrets Manager answered AccessDeniedException: no")}},
		{"it is malformed", &fake{text: `{"mini_program":{"appid":"` + miniAppID + `","appsecret":"` + miniSecret + `"}}`}},
		{"it is the bare secret", &fake{text: miniSecret}},
	} {
		w := startWeChat(t, always(0, session))
		for _, header := range []string{mini + code, oauth + code, ""} { // whatever is asked
			invoke(t, t.Context(), row.from, w.URL, event(header)).fails(t, "CONFIG_ERROR")
		}
		if came := w.came(); len(came) != 0 {
			t.Errorf("%s: WeChat was asked %q", row.what, came)
		}
	}
}

// If WeChat refuses the secret, it is read again once, and WeChat is asked once more
// if it has changed.
func TestASecretThatWeChatRefuses(t *testing.T) {
	without := `{"official_account":{"appid":"` + officialAppID + `","secret":"` + officialSecret + `"}}`
	for _, errcode := range []int{40013, 40125} {
		for _, row := range []struct {
			what     string
			from     *fake
			accepts  string // the secret that WeChat takes
			secrets  string // of the calls
			code     string // of the error; "" is a yes
			declines bool   // a no
		}{
			{"it was rotated", &fake{next: both(newSecret)}, newSecret, miniSecret + " " + newSecret, "", false},
			{"it was rotated, to a wrong one", &fake{next: both(newSecret)}, "", miniSecret + " " + newSecret, "CONFIG_ERROR", false},
			{"it is the same", &fake{}, "", miniSecret, "CONFIG_ERROR", false},
			{"it can't be read", &fake{next: both(newSecret), unreadNow: errors.New("AccessDeniedException")}, newSecret, miniSecret, "CONFIG_ERROR", false},
			{"the app is gone from it", &fake{next: without}, "", miniSecret, "", true},
		} {
			t.Run(fmt.Sprint(errcode, " ", row.what), func(t *testing.T) {
				w := startWeChat(t, func(r *http.Request) reply {
					if r.URL.Query().Get("secret") == row.accepts {
						return reply{0, session}
					}
					return reply{0, fmt.Sprintf(`{"errcode":%d,"errmsg":"invalid appsecret %s, %s"}`, errcode, r.URL.Query().Get("secret"), code)}
				})
				from := row.from
				from.text = both(miniSecret)
				o := invoke(t, t.Context(), from, w.URL, event(mini+code))
				switch {
				case row.declines:
					o.says(t, false, "WARN", "NOT_A_LOGIN")
				case row.code != "":
					o.fails(t, row.code)
				default:
					o.says(t, true, "INFO", "OK")
				}
				var secrets []string
				for _, call := range w.came() {
					_, secret, _ := strings.Cut(call, "&secret=")
					secrets = append(secrets, secret)
					if !strings.Contains(call, "&js_code="+code+"&") {
						t.Errorf("WeChat got %s", call)
					}
				}
				if got := strings.Join(secrets, " "); got != row.secrets || from.refreshed != 1 {
					t.Errorf("WeChat was asked with %q, and the secret read again %d times; want %q, once", got, from.refreshed, row.secrets)
				}
			})
		}
	}
}

func TestARotatedSecretAndAUsedCode(t *testing.T) {
	w := startWeChat(t, func(r *http.Request) reply {
		if r.URL.Query().Get("secret") == newSecret {
			return reply{0, `{"errcode":40163,"errmsg":"code been used"}`}
		}
		return reply{0, `{"errcode":40125,"errmsg":"invalid appsecret"}`}
	})
	invoke(t, t.Context(), &fake{text: both(miniSecret), next: both(newSecret)}, w.URL, event(mini+code)).says(t, false, "WARN", "WECHAT_40163")
}

func TestAPanicIsAnError(t *testing.T) {
	for _, value := range []any{miniSecret, errors.New(miniSecret), struct{ s string }{openid}} {
		o := invoke(t, t.Context(), &fake{panics: value}, gatewaytest.Nowhere, event(mini+code))
		o.fails(t, "SYSTEM_ERROR")
		// The cure asks for the record with its stack.
		if stack, _ := o.record["stack"].(string); !strings.Contains(stack, "handler_test.go") {
			t.Errorf("the record has the stack %q", stack)
		}
	}
}

func TestConcurrentLogins(t *testing.T) {
	w := startWeChat(t, func(r *http.Request) reply {
		return reply{0, `{"openid":"of-` + r.URL.Query().Get("js_code") + `"}`}
	})
	log, _ := telemetrytest.New()
	a := authorizer{apps: &fake{text: both(miniSecret)}, wechat: upstream.New([]string{w.URL}), log: log}
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			mine := fmt.Sprintf("code%d", n)
			answer, err := a.authorize(context.Background(), request{IdentitySource: []string{mini + mine}})
			if err != nil || answer.Context["openid"] != "of-"+mine {
				t.Errorf("%s: %v, %v", mine, answer, err)
			}
		})
	}
	all.Wait()
}

func FuzzHeader(f *testing.F) {
	for _, header := range []string{mini + code, oauth + code, "", mini, "Bearer x", mini + "a&b", mini + "é"} {
		f.Add(header)
	}
	held, err := officialaccount.ParseLogin([]byte(both(miniSecret)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header string) {
		l, err := readLogin(held, header)
		if err != nil {
			if l != (login{}) || len(header) >= 20 && strings.Contains(err.Error(), header) {
				t.Fatalf("%q: %+v, %v", header, l, err)
			}
			return
		}
		scheme := map[string]string{"/sns/jscode2session": "wechat-miniprogram", "/sns/oauth2/access_token": "wechat-oauth"}[l.path]
		words := strings.Fields(header)
		if len(words) != 2 || strings.ToLower(words[0]) != scheme || words[1] != l.code || len(l.code) > 128 || l.app == nil {
			t.Fatalf("%q became %+v", header, l)
		}
		for _, c := range l.code {
			if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", c) {
				t.Fatalf("let pass: %q", l.code)
			}
		}
	})
}
