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
	Code       string // empty if the body is not in APIv3's format
	Message    string // empty if the answer is not verified
	Detail     *Detail
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
		Message:   a.Message,
		Detail:    a.Detail,
		Solution:  solutions[a.Code],
		RequestID: a.RequestID,
		Cause:     a.cause(),
		Cure:      lookUp,
	}
	if a.Detail != nil && strings.Contains(a.Detail.Field, "Wechatpay-Serial") { // the key that the request names
		e.Cure = publicKeyCure
	}
	switch {
	case a.Status == http.StatusTooManyRequests:
		e.Code = cmp.Or(e.Code, "RATELIMIT_EXCEEDED")
		e.Message = cmp.Or(e.Message, "WeChat allows no more requests at the moment")
		e.Solution = "try again after Retry-After, with jitter; keep a token as long as it lives"
		e.RetryAfter = max(a.RetryAfter, time.Second)
		e.Cure = "the limit is WeChat's, per merchant: spread the calls, keep brand tokens until shortly before expire_time"
	case a.Status >= http.StatusInternalServerError:
		e.Status = http.StatusBadGateway
		e.Code = cmp.Or(e.Code, "SYSTEM_ERROR")
		e.Message = cmp.Or(e.Message, "WeChat failed to answer the request")
		e.Solution = cmp.Or(e.Solution, solutions["SYSTEM_ERROR"])
	}
	return e
}

// cause returns what WeChat answered, as far as it is known.
func (a Answer) cause() error {
	text := fmt.Sprintf("WeChat answered %d", a.Status)
	if a.Code != "" {
		text += " " + a.Code
	}
	if a.Message != "" {
		text += ": " + a.Message
	}
	return errors.New(text)
}

// lookUp is the cure for a code without a more specific one.
const lookUp = "look the code up in the operation's document, or give WeChat's support the request_id"

// solutions are the documented solutions for the error codes of all operations
// (公共错误码). Those of a single operation are in its [Advice].
var solutions = map[string]string{
	"PARAM_ERROR":     "correct the field that detail names",
	"INVALID_REQUEST": "compare the request with the operation's document",
	"SYSTEM_ERROR":    "try again later",
}
