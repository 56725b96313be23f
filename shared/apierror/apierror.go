// Package apierror is the project's one error type, and the one place that
// decides what a caller and an operator are told of a failure, and with which
// HTTP status.
//
// The shape is WeChat Pay APIv3's, whoever found the fault:
//
//	{"code", "message", "detail": {"field", "value", "issue", "location"}, "solution", "request_id"}
package apierror

import (
	"fmt"
	"net/http"
	"runtime"
	"time"
	"unicode/utf8"
)

// Error is a failure with its two audiences: what is tagged for JSON is for the
// caller; Cause and Cure are for the operator's log only.
type Error struct {
	Code      string  `json:"code"`                 // machine code, in capitals
	Message   string  `json:"message"`              // one sentence for a person
	Detail    *Detail `json:"detail,omitempty"`     // the field at fault, if one is
	Solution  string  `json:"solution,omitempty"`   // what the caller can do about it
	RequestID string  `json:"request_id,omitempty"` // WeChat's Request-ID, when a call was made

	Status     int           `json:"-"` // HTTP status of the answer
	RetryAfter time.Duration `json:"-"` // when to try again; 0 says nothing of it
	Errcode    int           `json:"-"` // of the official-account API; 0 is none
	Cause      error         `json:"-"` // what happened
	Cure       string        `json:"-"` // what the operator can do about it
}

// Detail names the field at fault, as APIv3 does.
type Detail struct {
	Field    string `json:"field"`           // JSON pointer into the request: /body/activate_type, /path/card_id
	Value    any    `json:"value,omitempty"` // what was sent; never an openid
	Issue    string `json:"issue"`           // the rule that it breaks
	Location string `json:"location"`        // "body" or "path"

	Foreign bool `json:"-"` // the field's name is the caller's own, and not for a log
}

// Error is for the operator: it has the cause, which no caller is shown.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v", e.Code, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// InvalidParam is a request that breaks a documented rule; it never reached WeChat. Of
// a long value only the beginning is repeated.
func InvalidParam(d Detail) *Error {
	const most = 64
	if text := fmt.Sprint(d.Value); d.Value != nil && utf8.RuneCountInString(text) > most {
		d.Value = string([]rune(text)[:most]) + "…"
	}
	return &Error{
		Status:   http.StatusBadRequest,
		Code:     "PARAM_ERROR",
		Message:  subject(d.Field) + " " + d.Issue,
		Detail:   &d,
		Solution: solutions["PARAM_ERROR"],
	}
}

// NotFound is a request for an operation that this function does not have.
func NotFound() *Error {
	return &Error{
		Status:  http.StatusNotFound,
		Code:    "NOT_FOUND",
		Message: "there is no such operation here",
	}
}

// OpenIDMismatch is a request for another user than the one who is logged in.
func OpenIDMismatch(pointer string) *Error {
	return &Error{
		Status:   http.StatusForbidden,
		Code:     "OPENID_MISMATCH",
		Message:  "openid is not that of the user who is logged in",
		Detail:   &Detail{Field: pointer, Issue: "must be left out, or the openid of the user who is logged in", Location: "body"},
		Solution: "leave openid out",
	}
}

// TicketUnavailable is a card ticket that the refresher has not stored yet.
func TicketUnavailable(cause error) *Error {
	return &Error{
		Status:     http.StatusServiceUnavailable,
		Code:       "TICKET_UNAVAILABLE",
		Message:    "the card ticket is being renewed",
		Solution:   "try again after Retry-After, with jitter",
		RetryAfter: time.Minute,
		Cause:      cause,
		Cure:       "see the records of the action refresh; invoke it by hand with {\"action\": \"refresh\"}",
	}
}

// Config is a secret that is missing, unreadable or malformed. The caller is
// told nothing of it.
func Config(cause error) *Error {
	return &Error{
		Status:  http.StatusInternalServerError,
		Code:    "CONFIG_ERROR",
		Message: "the service is not configured correctly",
		Cause:   cause,
		Cure:    "put a well-formed secret where the function's environment points, and let its role read it",
	}
}

// Timeout is a call that WeChat did not answer in time.
func Timeout(cause error) *Error {
	return &Error{
		Status:   http.StatusGatewayTimeout,
		Code:     "UPSTREAM_TIMEOUT",
		Message:  "WeChat did not answer in time",
		Solution: "try again",
		Cause:    cause,
		Cure:     "if it lasts, compare the latency of the configured endpoints and look at WeChat's service status",
	}
}

// Unreachable is a call for which no endpoint gave a whole answer.
func Unreachable(cause error) *Error {
	return &Error{
		Status:   http.StatusBadGateway,
		Code:     "UPSTREAM_UNREACHABLE",
		Message:  "WeChat could not be reached",
		Solution: "try again",
		Cause:    cause,
		Cure:     "check that the function has a way to the internet and that the configured endpoints resolve",
	}
}

// InvalidResponse is an answer that is not verified, is a redirect, or does not have
// the documented shape. Nothing of it is passed on.
func InvalidResponse(cause error) *Error {
	return &Error{
		Status:   http.StatusBadGateway,
		Code:     "INVALID_RESPONSE",
		Message:  "WeChat's answer could not be trusted",
		Solution: "try again",
		Cause:    cause,
		Cure:     "WeChat Pay now and then sends a wrong signature on purpose; if it lasts, check the endpoints and the clock, and for WeChat Pay the secret's public key and its ID",
	}
}

// SignatureRefused is WeChat Pay refusing our signature: the operator's fault, not the
// caller's.
func SignatureRefused(cause error) *Error {
	return &Error{
		Status:  http.StatusBadGateway,
		Code:    "SIGN_ERROR",
		Message: "WeChat Pay refused the service's signature",
		Cause:   cause,
		Cure:    "check that the secret's mchid, certificate_serial_no and private_key belong together and that the certificate is not revoked",
	}
}

// FromPanic is a defect of ours.
func FromPanic(value any) *Error {
	cause, ok := value.(runtime.Error)
	if !ok {
		// Anything else may have a value in it that is not for a log.
		return defect(fmt.Errorf("panic with a %T", value))
	}
	return defect(cause)
}

func defect(cause error) *Error {
	return &Error{
		Status:   http.StatusInternalServerError,
		Code:     "SYSTEM_ERROR",
		Message:  "the service failed",
		Solution: solutions["SYSTEM_ERROR"],
		Cause:    cause,
		Cure:     "this is a defect: report the record, with its stack",
	}
}

// subject is how a message names the field at a pointer: by its name alone.
func subject(pointer string) string {
	for i := len(pointer) - 1; i > 0; i-- {
		if pointer[i] == '/' {
			return pointer[i+1:]
		}
	}
	return "the " + pointer[1:]
}
