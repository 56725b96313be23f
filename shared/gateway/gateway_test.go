package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"membercard/shared/apierror"
	"membercard/shared/telemetry"
)

var _ lambda.Handler = Handler{}

const openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA"

// post returns an event of payload format 2.0, as API Gateway sends it.
func post(body string, isBase64 bool) []byte {
	event := events.APIGatewayV2HTTPRequest{
		Version:         "2.0",
		RouteKey:        "POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens",
		RawPath:         "/v3/marketing/membercard-open/cards/pbLatjvWOibDc5-TBnbUk1pD12o0/permission-tokens",
		Headers:         map[string]string{"content-type": "application/json", "authorization": "AWS4-HMAC-SHA256 Credential=private"},
		PathParameters:  map[string]string{"card_id": "pbLatjvWOibDc5-TBnbUk1pD12o0"},
		Body:            body,
		IsBase64Encoded: isBase64,
	}
	event.RequestContext.HTTP.Method = "POST"
	payload, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	return payload
}

// outcome is what a caller got, and what was logged.
type outcome struct {
	status  int
	headers map[string]string
	body    string
	told    apierror.Error // the body, if it is an error
	log     string
	record  map[string]any
}

// invoke runs an operation for a payload. The answer must be JSON, and the log must
// have one record.
func invoke(t *testing.T, payload []byte, operation func(context.Context, *Request) (*Response, error)) outcome {
	t.Helper()
	var log bytes.Buffer
	h := Handler{Operation: operation, Log: telemetry.New(&log, "MemberCard", "test")}
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8f5a"})
	raw, err := h.Invoke(ctx, payload)
	if err != nil {
		t.Fatalf("the runtime got an error: %v", err)
	}
	var answer events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if !json.Valid([]byte(answer.Body)) || answer.Headers["Content-Type"] != "application/json" {
		t.Errorf("the answer is %q as %q, want JSON", answer.Body, answer.Headers["Content-Type"])
	}
	if answer.Headers["Cache-Control"] != "no-store" {
		t.Errorf("Cache-Control is %q", answer.Headers["Cache-Control"])
	}
	if answer.IsBase64Encoded {
		t.Error("the answer is marked as base64")
	}
	o := outcome{status: answer.StatusCode, headers: answer.Headers, body: answer.Body, log: log.String()}
	if o.status >= 400 {
		if err := json.Unmarshal([]byte(o.body), &o.told); err != nil || o.told.Code == "" || o.told.Message == "" {
			t.Errorf("the error %s has no code or no message: %v", o.body, err)
		}
	}
	if strings.Count(o.log, "\n") != 1 {
		t.Errorf("the log has not one record:\n%s", o.log)
	}
	if err := json.Unmarshal(log.Bytes(), &o.record); err != nil {
		t.Errorf("the log is not JSON: %v", err)
	}
	if o.record["requestId"] != "8f5a" || o.record["status"] != float64(o.status) {
		t.Errorf("the record is of request %v, status %v", o.record["requestId"], o.record["status"])
	}
	return o
}

// text is the body of the tests' operation.
type text struct {
	Text string `json:"text,omitempty"`
}

// echo decodes the body and answers with it.
func echo(_ context.Context, r *Request) (*Response, error) {
	var body text
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	out, err := json.Marshal(body)
	return &Response{Body: out}, err
}

func TestASuccessIsWeChatsOwnBody(t *testing.T) {
	body := `{"permission_token" : "EhhEF0Jt0uDLPK6C", "url":"<&>"}`
	o := invoke(t, post(`{}`, false), func(context.Context, *Request) (*Response, error) {
		return &Response{Body: []byte(body), RequestID: "08F78BB5AF0610D302"}, nil
	})
	if o.status != 200 || o.body != body {
		t.Errorf("%d %s, want WeChat's bytes", o.status, o.body)
	}
	if o.headers["X-WeChat-Request-Id"] != "08F78BB5AF0610D302" {
		t.Errorf("X-WeChat-Request-Id is %q", o.headers["X-WeChat-Request-Id"])
	}
	if o.record["Code"] != "OK" || o.record["level"] != "INFO" || o.record["wechat_request_id"] != "08F78BB5AF0610D302" ||
		o.record["route"] != "POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens" {
		t.Errorf("the record is %s", o.log)
	}
	if strings.Contains(o.log, "EhhEF0Jt0uDLPK6C") || strings.Contains(o.log, "Credential") {
		t.Errorf("a token or a header is in the log: %s", o.log)
	}
}

func TestHeadersOfAnError(t *testing.T) {
	for _, row := range []struct {
		what                  string
		e                     *apierror.Error
		requestID, retryAfter string
	}{
		{"no call was made", apierror.NotFound(), "", ""},
		{"WeChat's Request-ID", apierror.FromWeChat(apierror.Answer{Status: 400, Code: "PARAM_ERROR", Message: "m", RequestID: "08F7"}), "08F7", ""},
		{"Retry-After", apierror.FromWeChat(apierror.Answer{Status: 429, RetryAfter: 90 * time.Second}), "", "90"},
		{"Retry-After is never 0", apierror.FromWeChat(apierror.Answer{Status: 429}), "", "1"},
	} {
		t.Run(row.what, func(t *testing.T) {
			o := invoke(t, post(`{}`, false), func(context.Context, *Request) (*Response, error) { return nil, row.e })
			if id, ok := o.headers["X-WeChat-Request-Id"]; id != row.requestID || ok != (row.requestID != "") {
				t.Errorf("X-WeChat-Request-Id is %q", id)
			}
			if after, ok := o.headers["Retry-After"]; after != row.retryAfter || ok != (row.retryAfter != "") {
				t.Errorf("Retry-After is %q", after)
			}
			if o.told.RequestID != row.requestID {
				t.Errorf("request_id is %q", o.told.RequestID)
			}
		})
	}
}

func TestAnyErrorIsAnsweredWithJSON(t *testing.T) {
	const private = "private matter"
	var noPointer *text
	for _, row := range []struct {
		what      string
		operation func() (*Response, error)
		status    int
		code      string
		level     string
	}{
		{"ours", func() (*Response, error) { return nil, apierror.NotFound() }, 404, "NOT_FOUND", "WARN"},
		{"ours, wrapped", func() (*Response, error) { return nil, fmt.Errorf("x: %w", apierror.Config(errors.New("y"))) }, 500, "CONFIG_ERROR", "ERROR"},
		{"no answer in time", func() (*Response, error) { return nil, apierror.Timeout(context.DeadlineExceeded) }, 504, "UPSTREAM_TIMEOUT", "ERROR"},
		{"not ours", func() (*Response, error) { return nil, errors.New(private) }, 500, "SYSTEM_ERROR", "ERROR"},
		{"a panic with a text", func() (*Response, error) { panic(private) }, 500, "SYSTEM_ERROR", "ERROR"},
		{"a panic with an error", func() (*Response, error) { panic(errors.New(private)) }, 500, "SYSTEM_ERROR", "ERROR"},
		{"a panic with a failure", func() (*Response, error) { panic(apierror.NotFound()) }, 500, "SYSTEM_ERROR", "ERROR"},
		{"a panic with nil", func() (*Response, error) { panic(any(nil)) }, 500, "SYSTEM_ERROR", "ERROR"},
		{"a nil pointer", func() (*Response, error) { return &Response{Body: []byte(noPointer.Text)}, nil }, 500, "SYSTEM_ERROR", "ERROR"},
		{"neither an answer nor an error", func() (*Response, error) { return nil, nil }, 500, "SYSTEM_ERROR", "ERROR"},
	} {
		t.Run(row.what, func(t *testing.T) {
			defer func() {
				if value := recover(); value != nil {
					t.Fatalf("the runtime got a panic: %v", value)
				}
			}()
			o := invoke(t, post(`{}`, false), func(context.Context, *Request) (*Response, error) { return row.operation() })
			if o.status != row.status || o.told.Code != row.code || o.record["Code"] != row.code || o.record["level"] != row.level {
				t.Errorf("%d %s, recorded as %v %v; want %d %s", o.status, o.told.Code, o.record["level"], o.record["Code"], row.status, row.code)
			}
			if strings.Contains(o.body+o.log, private) {
				t.Errorf("a value that nobody vouches for is told: %s\n%s", o.body, o.log)
			}
			if strings.HasPrefix(row.what, "a panic") {
				if stack, _ := o.record["stack"].(string); !strings.Contains(stack, "gateway_test.go") {
					t.Errorf("the record has the stack %q", stack)
				}
			}
		})
	}
}

func TestTheCauseIsForTheLogOnly(t *testing.T) {
	o := invoke(t, post(`{}`, false), func(context.Context, *Request) (*Response, error) {
		return nil, apierror.Config(errors.New("the merchant's secret: mchid is missing"))
	})
	if strings.Contains(o.body, "mchid") || strings.Contains(o.body, "secret") {
		t.Errorf("the caller is told %s", o.body)
	}
	if o.record["cause"] != "the merchant's secret: mchid is missing" || o.record["cure"] == nil {
		t.Errorf("the operator is told %s", o.log)
	}
}

// TestWeChatsWordsAreNotLogged: they may quote the request. The caller gets them, and the
// record has the code, the field as far as it is in a document, and our own cause.
func TestWeChatsWordsAreNotLogged(t *testing.T) {
	pay := func(field, message string) *apierror.Error {
		return apierror.FromWeChat(apierror.Answer{Status: 400, Code: "PARAM_ERROR", Message: message,
			Detail: &apierror.Detail{Field: field, Value: map[string]any{"openid": openid}, Issue: "无效" + openid, Location: "body"}})
	}
	for _, row := range []struct {
		what  string
		err   *apierror.Error
		field any // in the record
		cause string
	}{
		{"a message", apierror.FromWeChat(apierror.Answer{Status: 400, Code: "PARAM_ERROR", Message: "OpenID有误: " + openid}), nil, "WeChat answered 400 PARAM_ERROR"},
		{"an answer of 5xx", apierror.FromWeChat(apierror.Answer{Status: 500, Message: openid}), nil, "WeChat answered 500"},
		{"a field of a document", pay("/body/valid_date_information/type", openid), "/body/valid_date_information/type", "WeChat answered 400 PARAM_ERROR"},
		{"a field without a slash", pay("openid", openid), "openid", "WeChat answered 400 PARAM_ERROR"},
		{"a field that is the value", pay(openid, openid), "…", "WeChat answered 400 PARAM_ERROR"},
		{"a field with the value in it", pay("/body/openid/"+openid+"/type", openid), "/body/openid/…", "WeChat answered 400 PARAM_ERROR"},
		{"a field that is too deep", pay(strings.Repeat("/body", 9), openid), strings.Repeat("/body", 8) + "/…", "WeChat answered 400 PARAM_ERROR"},
		{"an errmsg", apierror.FromErrcode(40053, "invalid card id "+openid), nil, "WeChat answered errcode 40053"},
		{"an errmsg with our address", apierror.FromErrcode(40164, "invalid ip 203.0.113.7, not in whitelist "+openid), nil, "WeChat answered errcode 40164 for the IP address 203.0.113.7"},
	} {
		t.Run(row.what, func(t *testing.T) {
			o := invoke(t, post(`{}`, false), func(context.Context, *Request) (*Response, error) { return nil, row.err })
			if own := row.err.Errcode == 40164; strings.Contains(o.told.Message, openid) == own {
				t.Errorf("the caller is told %s", o.body)
			}
			if o.record["field"] != row.field || o.record["cause"] != row.cause || o.record["Code"] != row.err.Code || strings.Contains(o.log, openid) || strings.Contains(o.log, "无效") {
				t.Errorf("the record is %s", o.log)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	const limit = 16 << 10
	frame := len(`{"text":""}`)
	encode := base64.StdEncoding.EncodeToString
	exactly := `{"text":"` + strings.Repeat("a", limit-frame) + `"}`
	over := `{"text":"` + strings.Repeat("a", limit-frame+1) + `"}`
	for _, row := range []struct {
		what   string
		body   string
		base64 bool
		field  string // of the fault; "" for success
		issue  string
	}{
		{"plain", `{"text":"会员"}`, false, "", ""},
		{"base64", encode([]byte(`{"text":"会员"}`)), true, "", ""},
		{"16 KiB", exactly, false, "", ""},
		{"16 KiB in base64", encode([]byte(exactly)), true, "", ""},
		{"16 KiB and one byte", over, false, "/body", "must have at most 16 KiB"},
		{"16 KiB and one byte in base64", encode([]byte(over)), true, "/body", "must have at most 16 KiB"},
		{"16 KiB and blanks", exactly + " ", false, "/body", "must have at most 16 KiB"},
		{"a megabyte", strings.Repeat("[", 1<<20), false, "/body", "must have at most 16 KiB"},
		{"no body", "", false, "/body", "must be a JSON object, and is empty"},
		{"no body in base64", "", true, "/body", "must be a JSON object, and is empty"},
		{"not base64", `{"text":"x"}`, true, "/body", "is marked as base64 but is not"},
		{"base64 that is not marked", encode([]byte(`{"text":"x"}`)), false, "/body", ""},
		{"bytes that are not UTF-8", encode([]byte("{\"text\":\"\xff\"}")), true, "/body", "must be UTF-8"},
		{"an unknown field", `{"txet":"x"}`, false, "/body/txet", "is not a field of this document"},
		{"an unknown field with a slash", `{"a/b":"x"}`, false, "/body/a~1b", "is not a field of this document"},
		{"a duplicate", `{"text":"x","\u0074ext":"y"}`, false, "/body/text", "must not be given twice"},
		{"null", `{"text":null}`, false, "/body/text", "must not be null"},
		{"an empty string", `{"text":""}`, false, "/body/text", "must not be empty"},
		{"another type", `{"text":17}`, false, "/body/text", "must be a string"},
		{"the first of two faults", `{"text":17,"more":1}`, false, "/body/text", "must be a string"},
		{"not an object", `["x"]`, false, "/body", "must be an object"},
		{"trailing data", `{"text":"x"}{}`, false, "/body", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			o := invoke(t, post(row.body, row.base64), echo)
			if row.field == "" {
				if o.status != 200 {
					t.Errorf("%d %s", o.status, o.body)
				}
				return
			}
			if o.status != 400 || o.told.Code != "PARAM_ERROR" || o.told.Detail == nil {
				t.Fatalf("%d %s, want a PARAM_ERROR with detail", o.status, o.body)
			}
			if o.told.Detail.Field != row.field || o.told.Detail.Location != "body" || row.issue != "" && o.told.Detail.Issue != row.issue {
				t.Errorf("detail %+v, want %s %q", *o.told.Detail, row.field, row.issue)
			}
			logged := row.field
			if row.issue == "is not a field of this document" {
				logged = "/body/…" // the name is the caller's, and may be anything
			}
			if o.record["field"] != logged || o.record["level"] != "WARN" {
				t.Errorf("the record is %s", o.log)
			}
		})
	}
}

// TestNamesThatTheCallerChoseAreNotLogged: they may be anything, such as an openid.
func TestNamesThatTheCallerChoseAreNotLogged(t *testing.T) {
	for _, row := range []struct{ where, body, field, logged string }{
		{"an unknown field", `{"` + openid + `":1}`, "/body/" + openid, "/body/…"},
		{"a map", `{"fields":{"` + openid + `":1}}`, "/body/fields/" + openid, "/body/fields/…"},
		{"any value", `{"any":{"` + openid + `":{"x":1,"x":2}}}`, "/body/any/" + openid + "/x", "/body/any/…"},
	} {
		t.Run(row.where, func(t *testing.T) {
			o := invoke(t, post(row.body, false), func(_ context.Context, r *Request) (*Response, error) {
				var body struct {
					Fields map[string]string `json:"fields"`
					Any    json.RawMessage   `json:"any"`
				}
				return nil, r.Decode(&body)
			})
			if o.told.Detail == nil || o.told.Detail.Field != row.field {
				t.Errorf("%s, want the field %s", o.body, row.field)
			}
			if o.record["field"] != row.logged || strings.Contains(o.log, openid) {
				t.Errorf("the record is %s", o.log)
			}
		})
	}
}

func TestALongValueIsNotRepeated(t *testing.T) {
	for _, body := range []string{`{"text":` + strings.Repeat("1", 16_000) + `}`, `{"text":-0.` + strings.Repeat("1", 16_000) + `}`} {
		if o := invoke(t, post(body, false), echo); o.status != 400 || len(o.body) > 1000 {
			t.Errorf("%d with %d bytes", o.status, len(o.body))
		}
	}
}

func TestPath(t *testing.T) {
	for _, row := range []struct{ routeKey, stage, rawPath, want string }{
		{"POST /v3/brand/partner/card-member/pre-auth-tokens", "prod", "/prod/v3/brand/partner/card-member/pre-auth-tokens", "/v3/brand/partner/card-member/pre-auth-tokens"},
		{"POST /cards/{card_id}/confirm", "$default", "/cards/p/confirm", "/cards/{card_id}/confirm"},
		{"$default", "$default", "/v3/brand/partner/card-member/pre-auth-tokens", "/v3/brand/partner/card-member/pre-auth-tokens"},
		{"$default", "prod", "/prod/card/update", "/card/update"},
		{"$default", "prod", "/product/card/update", "/product/card/update"},
		{"", "", "/card/update", "/card/update"},
	} {
		var event events.APIGatewayV2HTTPRequest
		event.RouteKey, event.RawPath, event.RequestContext.HTTP.Method = row.routeKey, row.rawPath, "POST"
		event.RequestContext.Stage = row.stage
		payload, _ := json.Marshal(event)
		var got string
		invoke(t, payload, func(_ context.Context, r *Request) (*Response, error) {
			got = r.Path()
			return &Response{Body: []byte(`{}`)}, nil
		})
		if got != row.want {
			t.Errorf("%q %q: %q, want %q", row.routeKey, row.rawPath, got, row.want)
		}
	}
}

func TestPathParameter(t *testing.T) {
	invoke(t, post(`{}`, false), func(_ context.Context, r *Request) (*Response, error) {
		if got := r.PathParameter("card_id"); got != "pbLatjvWOibDc5-TBnbUk1pD12o0" {
			t.Errorf("card_id is %q", got)
		}
		if got := r.PathParameter("other"); got != "" {
			t.Errorf("other is %q", got)
		}
		return &Response{Body: []byte(`{}`)}, nil
	})
}

// foreign are payloads that are not HTTP requests of payload format 2.0.
var foreign = []string{
	``, ` `, `null`, `{}`, `[]`, `"x"`, `17`, `{`, "\xff",
	`{"Records":[{"eventSource":"aws:s3"}]}`,
	`{"version":"0","source":"aws.events","detail-type":"Scheduled Event","detail":{}}`,
	`{"resource":"/x","httpMethod":"POST","path":"/x","requestContext":{"httpMethod":"POST"},"body":"{}"}`,
	`{"routeKey":17}`, `{"action":"sync"}`,
}

// malformed are HTTP requests with a member that does not have its documented type.
var malformed = []string{
	`{"routeKey":"POST /x","body":{}}`,
	`{"requestContext":{"http":{"method":"POST"}},"headers":{"host":1}}`,
	`{"routeKey":"POST /x","requestContext":{"authorizer":"x"}}`,
}

func TestAMalformedRequestIsAnsweredWithJSON(t *testing.T) {
	for _, payload := range malformed {
		t.Run(payload, func(t *testing.T) {
			o := invoke(t, []byte(payload), func(context.Context, *Request) (*Response, error) {
				t.Error("it came to the operation")
				return nil, io.EOF
			})
			if o.status != 500 || o.told.Code != "SYSTEM_ERROR" {
				t.Errorf("%d %s", o.status, o.body)
			}
		})
	}
}

func TestAnotherEventIsAnErrorOfTheRuntime(t *testing.T) {
	for _, payload := range foreign {
		var log bytes.Buffer
		h := Handler{Log: telemetry.New(&log, "MemberCard", "test"), Operation: func(context.Context, *Request) (*Response, error) {
			t.Errorf("%q came to the operation", payload)
			return nil, io.EOF
		}}
		if out, err := h.Invoke(t.Context(), []byte(payload)); err == nil || out != nil {
			t.Errorf("%q: %s, %v, want an error", payload, out, err)
		}
	}
}

func FuzzInvoke(f *testing.F) {
	for _, payload := range append(foreign, malformed...) {
		f.Add([]byte(payload))
	}
	f.Add(post(`{"text":"x"}`, false))
	f.Add(post(`eyJ0ZXh0IjoieCJ9`, true))
	f.Add(post(`{"txet":"x"}`, true))
	f.Add([]byte(`{"routeKey":"$default","body":"{\"text\":\"panic\"}"}`))
	f.Add([]byte(`{"requestContext":{"http":{"method":"GET"}}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var log bytes.Buffer
		h := Handler{Log: telemetry.New(&log, "MemberCard", "test"), Operation: func(ctx context.Context, r *Request) (*Response, error) {
			var body text
			if err := r.Decode(&body); err != nil {
				return nil, err
			}
			if body.Text == "panic" {
				panic(body.Text)
			}
			out, err := json.Marshal(body)
			return &Response{Body: out}, err
		}}
		raw, err := h.Invoke(t.Context(), payload)
		if err != nil {
			if raw != nil || log.Len() != 0 {
				t.Fatalf("an error beside an answer or a record: %s, %s", raw, log.String())
			}
			return
		}
		var answer events.APIGatewayV2HTTPResponse
		if err := json.Unmarshal(raw, &answer); err != nil {
			t.Fatal(err)
		}
		var told struct{ Code, Message string }
		if err := json.Unmarshal([]byte(answer.Body), &told); err != nil {
			t.Fatalf("%s: %v", answer.Body, err)
		}
		if answer.StatusCode != 200 && (told.Code == "" || told.Message == "" || answer.StatusCode < 400) {
			t.Fatalf("%d %s has no code or no message", answer.StatusCode, answer.Body)
		}
		if strings.Count(log.String(), "\n") != 1 || !json.Valid(log.Bytes()) {
			t.Fatalf("not one record: %s", log.String())
		}
	})
}

// An operation has half a second less than its invocation, and no more than API
// Gateway waits.
func TestTheTimeOfAnOperation(t *testing.T) {
	payload := post(`{"text":"x"}`, false)
	for _, row := range []struct{ invocation, operation time.Duration }{
		{10 * time.Second, 9500 * time.Millisecond},
		{10 * time.Minute, timeout},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), row.invocation)
		begin := time.Now()
		var got time.Time
		h := Handler{Log: telemetry.New(io.Discard, "n", "f"), Operation: func(ctx context.Context, _ *Request) (*Response, error) {
			got, _ = ctx.Deadline()
			return &Response{Body: []byte("{}")}, nil
		}}
		if _, err := h.Invoke(ctx, payload); err != nil {
			t.Error(err)
		}
		cancel()
		if d := got.Sub(begin).Round(100 * time.Millisecond); d != row.operation {
			t.Errorf("of %v an operation has %v, want %v", row.invocation, d, row.operation)
		}
	}
}
