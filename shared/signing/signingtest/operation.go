package signingtest

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"membercard/shared/gateway"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing"
)

// Operation is a signed operation under test. Its methods check the rules of all signed
// operations, so that a function's test needs to have only its own.
type Operation struct{ gatewaytest.Operation }

// Of returns an operation that [gateway.Start] takes.
func Of(operation func(context.Context, *signing.Client, *gateway.Request) (*gateway.Response, error)) Operation {
	return Operation{gatewaytest.Of(Source, Client, operation)}
}

// Sends checks that a request leads to one call of WeChat Pay, such as "POST /path body"
// or "GET /path?query". The caller must get WeChat's answer unchanged, with its
// Request-ID, and no string in the answer may be logged. The answer "" is a 204.
func (f Operation) Sends(t testing.TB, event gatewaytest.Event, call, answer string) gatewaytest.Outcome {
	t.Helper()
	status := http.StatusOK
	if answer == "" {
		status = http.StatusNoContent
	}
	endpoint, received := WeChatPay(t, status, answer)
	o := f.Invoke(t, event, endpoint)
	if o.Status != status || o.Body != answer || o.Headers["X-WeChat-Request-Id"] != RequestID {
		t.Errorf("%d %s %v, want WeChat's answer", o.Status, o.Body, o.Headers)
	}
	if got := received(); got != call {
		t.Errorf("WeChat got %q, want %q", got, call)
	}
	if again := received(); again != "" {
		t.Errorf("WeChat also got %q", again)
	}
	var told any
	if err := json.Unmarshal([]byte(cmp.Or(answer, "null")), &told); err != nil {
		t.Fatal(err)
	}
	o.RequireNotLogged(t, texts(told)...)
	return o
}

// texts returns the strings in a JSON value that are too long to be part of a log record
// by chance.
func texts(value any) (found []string) {
	const minLength = 6
	switch value := value.(type) {
	case string:
		if len(value) >= minLength {
			return []string{value}
		}
	case []any:
		for _, element := range value {
			found = append(found, texts(element)...)
		}
	case map[string]any:
		for _, member := range value {
			found = append(found, texts(member)...)
		}
	}
	return found
}

// Answers are answers of WeChat Pay that do not have the documented shape.
type Answers []struct{ Fault, Body string }

// nonObjects are answers that no operation documents.
var nonObjects = Answers{
	{"null", `null`},
	{"an array", `[]`},
	{"HTML", `<html>`},
	{"a raw control character", "{\"title\":\"\x14\"}"},
	{"a broken byte", "{\"title\":\"\xff\"}"},
}

// WithoutText returns answers that lack a member that is a string, and further ones.
func WithoutText(name string, further ...struct{ Fault, Body string }) Answers {
	return append(Answers{
		{"an empty object", `{}`},
		{"an empty " + name, `{"` + name + `":""}`},
		{name + " null", `{"` + name + `":null}`},
		{name + " as a number", `{"` + name + `":478515832665}`},
		{"cut off", `{"` + name + `":"478515832665"`},
		{"a raw control character", `{"` + name + "\":\"478515832665\",\"title\":\"\x14\"}"},
		{"a broken byte", `{"` + name + "\":\"478515832665\",\"title\":\"\xff\"}"},
	}, further...)
}

// RejectsAnswers checks that the caller gets INVALID_RESPONSE for the given answers, and
// for answers that are not a JSON object. All have status 200 and a valid signature.
func (f Operation) RejectsAnswers(t *testing.T, event gatewaytest.Event, answers Answers) {
	t.Helper()
	f.rejects(t, event, slices.Concat(Answers{{"nothing", ``}}, nonObjects, answers))
}

// RejectsNonObjects is [Operation.RejectsAnswers] for an operation whose answer may have no
// body.
func (f Operation) RejectsNonObjects(t *testing.T, event gatewaytest.Event) {
	t.Helper()
	f.rejects(t, event, nonObjects)
}

func (f Operation) rejects(t *testing.T, event gatewaytest.Event, answers Answers) {
	t.Helper()
	for _, row := range answers {
		t.Run(row.Fault, func(t *testing.T) {
			endpoint, _ := WeChatPay(t, 200, row.Body)
			o := f.Invoke(t, event, endpoint)
			if o.Status != 502 || o.Error.Code != "INVALID_RESPONSE" || o.Error.RequestID != RequestID {
				t.Errorf("%d %s, want INVALID_RESPONSE", o.Status, o.Body)
			}
		})
	}
}

// Errors are error answers of WeChat Pay. Solution is a part of the solution that the
// caller gets.
type Errors []struct {
	Status                  int
	Code, Message, Solution string
}

// commonErrors are those of every operation (公共错误码).
var commonErrors = Errors{
	{400, "INVALID_REQUEST", "HTTP 请求不符合微信支付 APIv3 接口规则", "compare the request"},
	{400, "PARAM_ERROR", "参数错误", "the request"},
	{403, "RULE_LIMIT", "业务规则限制", ""},
	{404, "NOT_FOUND", "请求的资源不存在", ""},
	{400, "PARAM_ERROR", "用户标识obLatjnx9gnqzS4myYGm不合法", "the request"}, // cut, so that no search for the openid finds it
}

// PassesErrorsOn checks that the caller gets WeChat's errors with their solutions: those of
// the operation's document and those of all operations. WeChat's messages, which may quote
// the request, must not be logged. A refused signature is not the
// caller's fault, so the caller gets a 502 without WeChat's message.
func (f Operation) PassesErrorsOn(t *testing.T, event gatewaytest.Event, documented Errors) {
	t.Helper()
	for _, row := range slices.Concat(documented, commonErrors) {
		t.Run(row.Code+" "+row.Message, func(t *testing.T) {
			o := f.fail(t, event, row.Status, row.Code, row.Message)
			if o.Status != row.Status || o.Error.Code != row.Code || o.Error.Message != row.Message || !strings.Contains(o.Error.Solution, row.Solution) {
				t.Errorf("%d %s, want %d and a solution with %q", o.Status, o.Body, row.Status, row.Solution)
			}
		})
	}
	t.Run("SIGN_ERROR", func(t *testing.T) {
		const message = "签名错误"
		if o := f.fail(t, event, 401, "SIGN_ERROR", message); o.Status != 502 || o.Error.Code != "SIGN_ERROR" || strings.Contains(o.Body, message) {
			t.Errorf("%d %s, want 502 SIGN_ERROR", o.Status, o.Body)
		}
	})
}

// LogsNoQuotes checks that values of a request, which WeChat Pay's error quotes in its
// message and in its detail, get to the caller and not into the log.
func (f Operation) LogsNoQuotes(t *testing.T, event gatewaytest.Event, values ...string) {
	t.Helper()
	for _, value := range values {
		for _, quote := range gatewaytest.Quotes(value) {
			answer, err := json.Marshal(map[string]any{"code": "PARAM_ERROR", "message": "值" + quote, "detail": map[string]string{
				"field": "/body/card_id/" + quote, "value": quote, "issue": "不支持" + quote, "location": "body",
			}})
			if err != nil {
				t.Fatal(err)
			}
			endpoint, _ := WeChatPay(t, 400, string(answer))
			o := f.Invoke(t, event, endpoint)
			if d := o.Error.Detail; o.Status != 400 || o.Error.Message != "值"+quote || d == nil || d.Field != "/body/card_id/"+quote || d.Value != quote || d.Issue != "不支持"+quote {
				t.Errorf("%d %s, want WeChat's words", o.Status, o.Body)
			}
			if !strings.Contains(o.Log, `"field":"/body/card_id/…"`) {
				t.Errorf("%s, want the known part of the field", o.Log)
			}
			o.RequireNotLogged(t, quote, "不支持")
		}
	}
}

// DoubtsRefusals checks that a refusal after an answer that was not trusted is
// INVALID_RESPONSE, because the operation may have been carried out before.
func (f Operation) DoubtsRefusals(t *testing.T, event gatewaytest.Event) {
	t.Helper()
	const refusal = `{"code":"INVALID_REQUEST","message":"m"}`
	forged := false
	endpoint, received := Serve(t, func(string, http.Header) (int, string, string) {
		if !forged {
			forged = true
			return 200, "{}", refusal
		}
		return 400, refusal, refusal
	})
	o := f.Invoke(t, event, endpoint)
	if o.Status != 502 || o.Error.Code != "INVALID_RESPONSE" {
		t.Errorf("%d %s, want INVALID_RESPONSE", o.Status, o.Body)
	}
	calls := 0
	for received() != "" {
		calls++
	}
	if calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
}

// fail sends a request that WeChat Pay answers with the given error.
func (f Operation) fail(t *testing.T, event gatewaytest.Event, status int, code, message string) gatewaytest.Outcome {
	t.Helper()
	answer, err := json.Marshal(map[string]string{"code": code, "message": message})
	if err != nil {
		t.Fatal(err)
	}
	endpoint, _ := WeChatPay(t, status, string(answer))
	o := f.Invoke(t, event, endpoint)
	if o.Error.RequestID != RequestID {
		t.Errorf("%s, want WeChat's Request-ID", o.Body)
	}
	o.RequireNotLogged(t, message)
	return o
}
