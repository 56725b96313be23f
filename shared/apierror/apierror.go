// Package apierror has the error type of all functions. It decides what the caller
// and the operator learn about an error, and which HTTP status it has.
//
// Callers get errors in the format of WeChat Pay APIv3, whether WeChat or a
// function found them:
//
//	{"code", "message", "detail": {"field", "value", "issue", "location"}, "solution", "request_id"}
package apierror

import (
	"fmt"
	"net/http"
	"runtime"
	"time"
	"unicode/utf8"

	"membercard/shared/telemetry"
)

// Error is an error for two readers: the caller gets the fields with a JSON tag,
// the operator's log also has Cause and Cure.
type Error struct {
	Code      string  `json:"code"`                 // machine code, in capitals
	Message   string  `json:"message"`              // one sentence
	Detail    *Detail `json:"detail,omitempty"`     // the field at fault, if any
	Solution  string  `json:"solution,omitempty"`   // what the caller can do
	RequestID string  `json:"request_id,omitempty"` // WeChat's Request-ID, when a call was made

	Status     int           `json:"-"` // HTTP status of the answer
	RetryAfter time.Duration `json:"-"` // when to retry; 0 if unknown
	Errcode    int           `json:"-"` // of the official-account API; 0 if none
	Cause      error         `json:"-"` // what happened
	Cure       string        `json:"-"` // what the operator can do
	Expected   bool          `json:"-"` // part of normal operation: logged as INFO
}

// Detail names the field at fault, as APIv3 does.
type Detail struct {
	Field    string `json:"field"`           // JSON pointer into the request: /body/activate_type, /path/card_id, /query/encrypt_code
	Value    any    `json:"value,omitempty"` // the value sent; never an openid or a card's code
	Issue    string `json:"issue"`           // what is wrong
	Location string `json:"location"`        // "body", "path" or "query", as Field begins

	Foreign bool `json:"-"` // the caller chose the field's name, so it must not be logged
}

// Error returns a text for the operator. It contains the cause, which callers must
// not see.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v", e.Code, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Metric returns the metric that counts the error, or "" for the caller's errors,
// which are not counted.
func (e *Error) Metric() string {
	switch {
	case e.Status == http.StatusTooManyRequests:
		return telemetry.Throttled
	case e.Status < http.StatusInternalServerError:
		return ""
	case e.Status == http.StatusInternalServerError, e.Status == http.StatusServiceUnavailable, e.Code == "SIGN_ERROR", e.Errcode == 40164:
		return telemetry.OperatorErrors
	}
	return telemetry.UpstreamErrors
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// InvalidParam is a request that violates a documented rule. It was not sent to
// WeChat. Values are cut after 64 characters.
func InvalidParam(d Detail) *Error {
	const maxLength = 64
	if text := fmt.Sprint(d.Value); d.Value != nil && utf8.RuneCountInString(text) > maxLength {
		d.Value = string([]rune(text)[:maxLength]) + "…"
	}
	return &Error{
		Status:   http.StatusBadRequest,
		Code:     "PARAM_ERROR",
		Message:  subject(d.Field) + " " + d.Issue,
		Detail:   &d,
		Solution: solutions["PARAM_ERROR"],
	}
}

// NotFound is a request for an operation that the function does not have.
func NotFound() *Error {
	return &Error{
		Status:  http.StatusNotFound,
		Code:    "NOT_FOUND",
		Message: "there is no such operation here",
	}
}

// OpenIDMismatch is a request for another user than the one logged in.
func OpenIDMismatch(pointer string) *Error {
	return &Error{
		Status:   http.StatusForbidden,
		Code:     "OPENID_MISMATCH",
		Message:  "openid is not that of the user who is logged in",
		Detail:   &Detail{Field: pointer, Issue: "must be left out, or the openid of the user who is logged in", Location: "body"},
		Solution: "leave openid out",
	}
}

// TicketUnavailable is a request that needs a card ticket while none is stored.
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

// Config is a secret that is missing, unreadable or malformed. The caller learns no
// details.
func Config(cause error) *Error {
	return &Error{
		Status:  http.StatusInternalServerError,
		Code:    "CONFIG_ERROR",
		Message: "the service is not configured correctly",
		Cause:   cause,
		Cure:    "put a well-formed secret (membercard secret makes it) where the function's environment points, and let its role read it",
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

// Unreachable is a call that got no complete answer from any endpoint.
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

// InvalidResponse is an answer that can't be verified, is a redirect, or does not
// have the documented shape. Nothing of it reaches the caller.
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

// publicKeyCure is the cure where the secret does not have WeChat Pay's key.
const publicKeyCure = "put WeChat Pay's current public key and its ID (账户中心 → API安全 → 微信支付公钥) into the secret as wechatpay_public_key and wechatpay_public_key_id"

// UnknownKey is an answer that WeChat Pay has signed with a key that the secret does
// not have.
func UnknownKey(cause error) *Error {
	e := InvalidResponse(cause)
	e.Cure = publicKeyCure
	return e
}

// NoCertificates is a merchant without a public key for whom WeChat Pay has no platform
// certificates either.
func NoCertificates(cause error) *Error {
	e := Config(cause)
	e.Cure = publicKeyCure
	return e
}

// APIv3KeyUnusable is a notification, or a list of platform certificates, that the
// merchant's apiv3_key, or the lack of it, keeps from being read. WeChat Pay sends a
// notification again.
func APIv3KeyUnusable(cause error) *Error {
	e := Config(cause)
	e.Cure = "put the merchant's APIv3 key (账户中心 → API安全 → APIv3密钥) into the secret as apiv3_key; the merchant platform does not show it again, but lets you set a new one"
	return e
}

// SignatureRefused is a request whose signature WeChat Pay does not accept. That is
// the operator's fault, not the caller's.
func SignatureRefused(cause error) *Error {
	return &Error{
		Status:  http.StatusBadGateway,
		Code:    "SIGN_ERROR",
		Message: "WeChat Pay refused the service's signature",
		Cause:   cause,
		Cure:    "check that mchid, certificate_serial_no and private_key are of one merchant certificate, and that it is in force (账户中心 → API安全 → 商户API证书); if it was revoked or replaced, put the new one into the secret",
	}
}

// FromPanic is a bug in this code.
func FromPanic(value any) *Error {
	cause, ok := value.(runtime.Error)
	if !ok {
		// Other values may contain data that must not be logged.
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
		Cure:     "this is a bug: report the record with its stack",
	}
}

// subject returns the name of the field at a pointer, for a message.
func subject(pointer string) string {
	for i := len(pointer) - 1; i > 0; i-- {
		if pointer[i] == '/' {
			return pointer[i+1:]
		}
	}
	return "the " + pointer[1:]
}
