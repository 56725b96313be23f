package apierror

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"membercard/shared/telemetry"
)

func TestFromWeChat(t *testing.T) {
	for _, row := range []struct {
		cause      string
		answer     Answer
		status     int
		code       string
		retryAfter time.Duration
	}{
		{"400 PARAM_ERROR", Answer{Status: 400, Code: "PARAM_ERROR"}, 400, "PARAM_ERROR", 0},
		{"400 INVALID_REQUEST", Answer{Status: 400, Code: "INVALID_REQUEST"}, 400, "INVALID_REQUEST", 0},
		{"403 NO_AUTH", Answer{Status: 403, Code: "NO_AUTH"}, 403, "NO_AUTH", 0},
		{"403 of another code", Answer{Status: 403, Code: "RULE_LIMIT"}, 403, "RULE_LIMIT", 0},
		{"404", Answer{Status: 404, Code: "RESOURCE_NOT_EXISTS"}, 404, "RESOURCE_NOT_EXISTS", 0},
		{"another 4xx", Answer{Status: 409, Code: "CONFLICT"}, 409, "CONFLICT", 0},
		{"the last 4xx", Answer{Status: 499, Code: "ODD"}, 499, "ODD", 0},
		{"a 4xx says nothing of when", Answer{Status: 400, Code: "PARAM_ERROR", RetryAfter: time.Minute}, 400, "PARAM_ERROR", 0},
		{"429 with Retry-After", Answer{Status: 429, Code: "FREQUENCY_LIMITED", RetryAfter: 5 * time.Second}, 429, "FREQUENCY_LIMITED", 5 * time.Second},
		{"429 without Retry-After", Answer{Status: 429, Code: "RATELIMIT_EXCEEDED"}, 429, "RATELIMIT_EXCEEDED", time.Second},
		{"429 without a code", Answer{Status: 429}, 429, "RATELIMIT_EXCEEDED", time.Second},
		{"500 SYSTEM_ERROR", Answer{Status: 500, Code: "SYSTEM_ERROR"}, 502, "SYSTEM_ERROR", 0},
		{"500 without a code", Answer{Status: 500}, 502, "SYSTEM_ERROR", 0},
		{"503 of another code", Answer{Status: 503, Code: "SERVICE_UNAVAILABLE"}, 502, "SERVICE_UNAVAILABLE", 0},
		{"504 is no timeout of ours", Answer{Status: 504}, 502, "SYSTEM_ERROR", 0},
	} {
		t.Run(row.cause, func(t *testing.T) {
			row.answer.RequestID = "08F78BB5AF0610D302"
			row.answer.Message = "WeChat's words"
			e := FromWeChat(row.answer)
			if e.Status != row.status || e.Code != row.code || e.RetryAfter != row.retryAfter {
				t.Errorf("%d %s, again after %v; want %d %s, %v", e.Status, e.Code, e.RetryAfter, row.status, row.code, row.retryAfter)
			}
			if e.Message != "WeChat's words" || e.RequestID != "08F78BB5AF0610D302" {
				t.Errorf("message %q, Request-ID %q: not WeChat's", e.Message, e.RequestID)
			}
			if e.Cause == nil || !strings.Contains(e.Cause.Error(), fmt.Sprint(row.answer.Status)) || e.Cure == "" {
				t.Errorf("cause %v, cure %q: the operator needs the status that WeChat gave, and a cure", e.Cause, e.Cure)
			}
		})
	}
}

func TestFromWeChatAlwaysHasAMessageWhereTheAnswerIsNotVerified(t *testing.T) {
	for _, status := range []int{429, 500, 502, 503, 504} {
		if e := FromWeChat(Answer{Status: status}); e.Message == "" || e.Solution == "" || e.Code == "" {
			t.Errorf("%d: %+v, want code, message and solution", status, e)
		}
	}
}

func TestFromWeChatPassesTheDetailOn(t *testing.T) {
	detail := &Detail{Field: "/body/card_id", Value: "x", Issue: "源参数不合法", Location: "body"}
	if e := FromWeChat(Answer{Status: 400, Code: "PARAM_ERROR", Detail: detail}); e.Detail != detail || !strings.Contains(e.Solution, "detail") {
		t.Errorf("detail %+v, want WeChat's; solution %q", e.Detail, e.Solution)
	}
	if e := FromWeChat(Answer{Status: 400, Code: "PARAM_ERROR"}); strings.Contains(e.Solution, "detail") || strings.Contains(e.Solution, "field") {
		t.Errorf("the solution is %q, and there is no detail", e.Solution)
	}
}

func TestErrorsOfThisCode(t *testing.T) {
	cause := fmt.Errorf("private matter: %w", io.ErrUnexpectedEOF)
	for _, row := range []struct {
		cause  string
		e      *Error
		status int
		code   string
	}{
		{"no such operation", NotFound(), 404, "NOT_FOUND"},
		{"the secret", Config(cause), 500, "CONFIG_ERROR"},
		{"no answer in time", Timeout(cause), 504, "UPSTREAM_TIMEOUT"},
		{"not reachable", Unreachable(cause), 502, "UPSTREAM_UNREACHABLE"},
		{"an answer that can't be trusted", InvalidResponse(cause), 502, "INVALID_RESPONSE"},
		{"an answer of the wrong form", WrongForm(cause), 502, "INVALID_RESPONSE"},
		{"401 after the secret was read again", SignatureRefused(cause), 502, "SIGN_ERROR"},
		{"a panic", fromPanic("private matter"), 500, "SYSTEM_ERROR"},
		{"a panic with an error", fromPanic(cause), 500, "SYSTEM_ERROR"},
		{"an unexpected error", From(cause), 500, "SYSTEM_ERROR"},
	} {
		t.Run(row.cause, func(t *testing.T) {
			if row.e.Status != row.status || row.e.Code != row.code || row.e.Message == "" {
				t.Errorf("%d %s %q, want %d %s", row.e.Status, row.e.Code, row.e.Message, row.status, row.code)
			}
			told, err := json.Marshal(row.e)
			if err != nil || strings.Contains(string(told), "private matter") || strings.Contains(string(told), "Cure") || row.e.Cure != "" && strings.Contains(string(told), row.e.Cure) {
				t.Errorf("the caller is told %s, %v", told, err)
			}
			if row.status >= 500 {
				if row.e.Cause == nil || row.e.Cure == "" {
					t.Error("the operator is told nothing")
				}
				if !strings.HasPrefix(row.e.Code, "SYSTEM") && !errors.Is(row.e, io.ErrUnexpectedEOF) {
					t.Error("the cause is lost")
				}
			}
		})
	}
}

func TestFrom(t *testing.T) {
	var none *Error
	known := NotFound()
	for _, row := range []struct {
		what string
		err  error
		code string
	}{
		{"an *Error", known, "NOT_FOUND"},
		{"a wrapped *Error", fmt.Errorf("wrapped: %w", known), "NOT_FOUND"},
		{"another error", io.EOF, "SYSTEM_ERROR"},
		{"a nil *Error", none, "SYSTEM_ERROR"},
	} {
		if e := From(row.err); e.Code != row.code || row.code == known.Code && e != known {
			t.Errorf("%s: %+v, want %s", row.what, e, row.code)
		}
	}
}

func TestTransient(t *testing.T) {
	for status, want := range map[int]bool{200: false, 302: false, 400: false, 404: false, 428: false, 429: true, 430: false, 499: false, 500: true, 503: true} {
		if got := Transient(status); got != want {
			t.Errorf("%d: %v, want %v", status, got, want)
		}
	}
}

// TestFromWeChatCause: the operator sees status and code, but not the message, which may
// quote the request.
func TestFromWeChatCause(t *testing.T) {
	for _, row := range []struct {
		answer Answer
		want   string
	}{
		{Answer{Status: 400, Code: "PARAM_ERROR", Message: "m"}, "WeChat answered 400 PARAM_ERROR"},
		{Answer{Status: 429, Code: "FREQUENCY_LIMITED"}, "WeChat answered 429 FREQUENCY_LIMITED"},
		{Answer{Status: 502}, "WeChat answered 502"},
	} {
		if got := FromWeChat(row.answer).Cause.Error(); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
}

func TestPanicNamesNoValue(t *testing.T) {
	for _, value := range []any{"obLatjnx9gnqzS4myYGmLZ7LgLBA", errors.New("obLatjnx9gnqzS4myYGmLZ7LgLBA"), []string{"obLatjnx9gnqzS4myYGmLZ7LgLBA"}} {
		if e := fromPanic(value); strings.Contains(e.Error(), "obLatjnx9") {
			t.Errorf("fromPanic(%T): %v", value, e)
		}
	}
	defer func() {
		if e := fromPanic(recover()); !strings.Contains(e.Error(), "index out of range") {
			t.Errorf("%v, want what the runtime says", e)
		}
	}()
	var none []int
	_ = none[len(none)]
}

func TestJSON(t *testing.T) {
	for _, row := range []struct {
		what string
		e    *Error
		want string
	}{
		{"all of it", &Error{
			Code: "PARAM_ERROR", Message: "m", Detail: &Detail{Field: "/body/activate_type", Value: "AUTO", Issue: "i", Location: "body"}, Solution: "s", RequestID: "r",
			Status: 400, RetryAfter: time.Second, Cause: io.EOF, Cure: "c",
		}, `{"code":"PARAM_ERROR","message":"m","detail":{"field":"/body/activate_type","value":"AUTO","issue":"i","location":"body"},"solution":"s","request_id":"r"}`},
		{"what is not there is left out", &Error{Code: "NOT_FOUND", Message: "m", Status: 404}, `{"code":"NOT_FOUND","message":"m"}`},
		{"a detail without a value", &Error{Code: "C", Message: "m", Detail: &Detail{Field: "/body", Issue: "i", Location: "body"}},
			`{"code":"C","message":"m","detail":{"field":"/body","issue":"i","location":"body"}}`},
	} {
		if got, err := json.Marshal(row.e); err != nil || string(got) != row.want {
			t.Errorf("%s:\n%s, %v, want\n%s", row.what, got, err, row.want)
		}
	}
}

func TestACureOfAWrongFormBlamesNoSignature(t *testing.T) {
	if cure := WrongForm(io.EOF).Cure; cure == "" || strings.Contains(cure, "signature") || strings.Contains(cure, "key") {
		t.Errorf("the cure is %q", cure)
	}
}

func TestInvalidParam(t *testing.T) {
	for _, row := range []struct{ field, issue, message, location string }{
		{"/body/activate_type", "must be AUTO_ACTIVATE or JUMP_ACTIVATE", "activate_type must be AUTO_ACTIVATE or JUMP_ACTIVATE", "body"},
		{"/path/card_id", "is required", "card_id is required", "path"},
		{"/query/encrypt_code", "is required", "encrypt_code is required", "query"},
		{"/body", "must have at most 16 KiB", "the body must have at most 16 KiB", "body"},
		{"/body/member_card/activate_url", "is required", "activate_url is required", "body"},
		{"/query/", "is not a parameter of this operation", `"" is not a parameter of this operation`, "query"},
		{"/body/a~1b~01", "is not a field of this document", "a/b~1 is not a field of this document", "body"},
	} {
		e := InvalidParam(Detail{Field: row.field, Issue: row.issue})
		if e.Status != 400 || e.Code != "PARAM_ERROR" || e.Message != row.message || e.Solution == "" {
			t.Errorf("%s: %+v, want the message %q", row.field, e, row.message)
		}
		if e.Detail.Field != row.field || e.Detail.Location != row.location {
			t.Errorf("%s: detail %+v, want the location %s", row.field, *e.Detail, row.location)
		}
	}
}

func TestInvalidParamCutsLongValues(t *testing.T) {
	for _, row := range []struct {
		what  string
		value any
		want  string
	}{
		{"64 characters", strings.Repeat("卡", 64), strings.Repeat("卡", 64)},
		{"65 characters", strings.Repeat("卡", 65), strings.Repeat("卡", 64) + "…"},
		{"a short number", json.Number("17"), "17"},
		{"a long number", json.Number(strings.Repeat("1", 1000)), strings.Repeat("1", 64) + "…"},
		{"a boolean", true, "true"},
	} {
		e := InvalidParam(Detail{Field: "/body/x", Value: row.value, Issue: "i"})
		if got := fmt.Sprint(e.Detail.Value); got != row.want {
			t.Errorf("%s: %s, want %s", row.what, got, row.want)
		}
	}
}

func TestErrorIsForTheOperator(t *testing.T) {
	if got := Timeout(io.EOF).Error(); got != "UPSTREAM_TIMEOUT: EOF" {
		t.Error(got)
	}
	if got := NotFound().Error(); got != "NOT_FOUND: there is no such operation here" {
		t.Error(got)
	}
}

func TestAdvice(t *testing.T) {
	advice := Advice{
		{"NO_AUTH", "", "have it opened"},
		{"INVALID_REQUEST", "会员卡ID无效", "check card_id"},
		{"INVALID_REQUEST", "请先升级会员卡才能使用此功能", "upgrade first"},
		{"INVALID_REQUEST", "会员卡", "never: the rows above match first"},
	}
	for _, row := range []struct{ what, code, message, want string }{
		{"the code alone", "NO_AUTH", "商户暂无权限使用此功能", "have it opened"},
		{"code and description", "INVALID_REQUEST", "会员卡ID无效", "check card_id"},
		{"a description with more around it", "INVALID_REQUEST", "错误: 请先升级会员卡才能使用此功能!", "upgrade first"},
		{"another description", "INVALID_REQUEST", "other", "compare the request with the operation's document"},
		{"the description of another code", "PARAM_ERROR", "会员卡ID无效", "compare the request with the operation's document"},
		{"another code", "FREQUENCY_LIMITED", "会员卡ID无效", ""},
	} {
		err := advice.Apply(FromWeChat(Answer{Status: 400, Code: row.code, Message: row.message}))
		if e, ok := errors.AsType[*Error](err); !ok || e.Solution != row.want {
			t.Errorf("%s: %+v, want the solution %q", row.what, err, row.want)
		}
	}
	// The operator's cure is only replaced if it is no more than to look the code up.
	for code, want := range map[string]string{"NO_AUTH": "have it opened", "OTHER": cureOf("OTHER")} {
		if e := FromWeChat(Answer{Status: 403, Code: code}); advice.Apply(e) != e || e.Cure != want {
			t.Errorf("%s: the cure is %q, want %q", code, e.Cure, want)
		}
	}
	if e := Timeout(io.EOF); (Advice{{e.Code, "", "look first"}}).Apply(e) != e || e.Solution != "look first" || e.Cure == "look first" {
		t.Errorf("%+v", e)
	}
	if err := advice.Apply(io.EOF); err != io.EOF {
		t.Errorf("an error of another kind became %v", err)
	}
}

func TestMetric(t *testing.T) {
	for _, row := range []struct {
		what string
		err  *Error
		want string
	}{
		{"a caller's error", InvalidParam(Detail{Field: "/body", Issue: "i"}), ""},
		{"WeChat's 403", &Error{Status: 403, Code: "NO_AUTH"}, ""},
		{"WeChat's 429", &Error{Status: 429, Code: "FREQUENCY_LIMITED"}, telemetry.Throttled},
		{"a quota of the account", FromErrcode(45009, "m"), telemetry.Throttled},
		{"a secret", Config(errors.New("c")), telemetry.OperatorErrors},
		{"the signature", SignatureRefused(errors.New("c")), telemetry.OperatorErrors},
		{"the allow-list", FromErrcode(40164, "m"), telemetry.OperatorErrors},
		{"no card ticket", TicketUnavailable(errors.New("c")), telemetry.OperatorErrors},
		{"a defect", fromPanic("p"), telemetry.OperatorErrors},
		{"no answer", Timeout(errors.New("c")), telemetry.UpstreamErrors},
		{"no way", Unreachable(errors.New("c")), telemetry.UpstreamErrors},
		{"an answer that is not trusted", InvalidResponse(errors.New("c")), telemetry.UpstreamErrors},
		{"WeChat's 5xx", &Error{Status: 502, Code: "SYSTEM_ERROR"}, telemetry.UpstreamErrors},
		{"WeChat is busy", FromErrcode(-1, "m"), telemetry.UpstreamErrors},
	} {
		if got := row.err.Metric(); got != row.want {
			t.Errorf("%s counts %q, want %q", row.what, got, row.want)
		}
	}
}
