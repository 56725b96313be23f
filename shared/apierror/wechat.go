package apierror

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// An Answer is an error answer of WeChat Pay.
type Answer struct {
	Status     int
	Code       string  // empty if the body is not in APIv3's format
	Message    string  // empty if the answer is not verified
	Detail     *Detail // nil if it names no field
	RequestID  string
	RetryAfter time.Duration
}

// FromWeChat returns the error that the caller gets for an error answer of WeChat Pay
// after the retries. For a 401 see [SignatureRefused].
//
//	400, 403, 404 and other 4xx   the same status
//	429                           429, with Retry-After
//	5xx                           502 with WeChat's code, or SYSTEM_ERROR
func FromWeChat(a Answer) *Error {
	e := &Error{
		Status:    a.Status,
		Code:      a.Code,
		Message:   cmp.Or(a.Message, refused),
		Detail:    a.Detail,
		Solution:  solutions[a.Code],
		RequestID: a.RequestID,
		Cause:     errors.New(strings.TrimSpace(fmt.Sprintf("WeChat answered %d %s", a.Status, a.Code))), // not WeChat's message, for it is logged
		Cure:      cureOf(a.Code),
	}
	switch {
	case a.Detail != nil:
		a.Detail.Undocumented = undocumented(a.Detail.Field)
		if strings.Contains(a.Detail.Field, "Wechatpay-Serial") { // the key that the request names
			e.Cure = publicKeyCure
		}
	case a.Code == "PARAM_ERROR":
		e.Solution = solutions["INVALID_REQUEST"] // there is no detail to look at
	}
	switch {
	case a.Status == http.StatusTooManyRequests:
		e.Code = cmp.Or(e.Code, "RATELIMIT_EXCEEDED")
		e.Message = cmp.Or(a.Message, "WeChat allows no more requests at the moment")
		e.Solution = "try again after Retry-After, with jitter; keep a token as long as it lives"
		e.RetryAfter = max(a.RetryAfter, time.Second)
		e.Cure = "the limit is WeChat's, per merchant: spread the calls, keep brand tokens until shortly before expire_time"
	case a.Status >= http.StatusInternalServerError:
		e.Status = http.StatusBadGateway
		e.Code = cmp.Or(e.Code, "SYSTEM_ERROR")
		e.Message = cmp.Or(a.Message, "WeChat failed to answer the request")
		e.Solution = cmp.Or(e.Solution, solutions["SYSTEM_ERROR"])
	}
	return e
}

// refused is the message if WeChat sent none.
const refused = "WeChat refused the request"

// cureOf returns the cure for a code, for the operator, who does not have WeChat's message.
// [Advice] has more specific ones.
func cureOf(code string) string {
	switch code {
	case "PARAM_ERROR":
		return "the caller has WeChat's message; if correct requests are refused, compare the field with the operation's document, which may have changed"
	case "INVALID_REQUEST":
		return "a rule of WeChat Pay forbids this request, or card and merchant number don't belong together; the caller has WeChat's message, and WeChat's support explains a refusal by the wechat_request_id"
	case "NO_AUTH":
		return "have WeChat Pay open the feature for the merchant number"
	case "RULE_LIMIT":
		return "a rule of WeChat Pay forbids it; the caller has WeChat's message, and WeChat's support explains a refusal by the wechat_request_id"
	case "RESOURCE_NOT_EXISTS":
		return "the caller has sent an ID that WeChat Pay does not know; if it is right, the card is another merchant number's"
	case "NOT_FOUND":
		return "if every call is refused, check that the endpoints are WeChat Pay's"
	}
	return "look the code up in the operation's document, or give WeChat's support the wechat_request_id; the caller has WeChat's message"
}

// solutions are the documented solutions for the error codes of all operations
// (公共错误码). Those of a single operation are in its [Advice].
var solutions = map[string]string{
	"PARAM_ERROR":     "correct the field that detail names",
	"INVALID_REQUEST": "compare the request with the operation's document",
	"SYSTEM_ERROR":    "try again later",
}

const tryAgain = "try again"
