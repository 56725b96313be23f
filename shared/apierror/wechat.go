package apierror

import (
	"cmp"
	"fmt"
	"net/http"
	"time"
)

// An Answer is an error that WeChat answered with, as far as it can be trusted.
type Answer struct {
	Status     int
	Code       string // empty: the body did not have APIv3's shape
	Message    string // empty also where the answer is not verified
	Detail     *Detail
	RequestID  string
	RetryAfter time.Duration
}

// FromWeChat is what a caller gets for an error that WeChat Pay answered with,
// after the retries that it deserves. A 401 is not for here: see [SignatureRefused].
//
//	400, 403, 404 and other 4xx   as it is
//	429                           as it is, with Retry-After
//	5xx                           502 with WeChat's code, or SYSTEM_ERROR
func FromWeChat(a Answer) *Error {
	e := &Error{
		Status:    a.Status,
		Code:      a.Code,
		Message:   a.Message,
		Detail:    a.Detail,
		Solution:  solutions[a.Code],
		RequestID: a.RequestID,
		Cause:     fmt.Errorf("WeChat answered %d %s: %s", a.Status, a.Code, a.Message),
		Cure:      "give WeChat's support the request_id, or see what the document says of this code",
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

// solutions are the advice of both documents' tables of common errors, in our
// words. An operation has its own for the errors that only it can meet.
var solutions = map[string]string{
	"PARAM_ERROR":     "correct the field that detail names",
	"INVALID_REQUEST": "compare the request with the operation's document",
	"SYSTEM_ERROR":    "try again later",
}
