// Package apierror has the error type of all functions. It decides what the caller
// and the operator learn about an error, and which HTTP status the caller gets.
//
// Callers get errors in the format of WeChat Pay APIv3, whether WeChat or a
// function found them:
//
//	{"code", "message", "detail": {"field", "value", "issue", "location"}, "solution", "request_id"}
package apierror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"membercard/shared/telemetry"
)

// Error is an error with a part for the caller and a part for the operator. The
// caller gets the fields with a JSON tag as the body of the answer. Cause and Cure
// are for the log only. Message and Detail may be WeChat's, and quote personal data of the
// request, so they must not be logged.
type Error struct {
	Code      string  `json:"code"`                 // machine-readable, such as PARAM_ERROR
	Message   string  `json:"message"`              // what went wrong, in one sentence
	Detail    *Detail `json:"detail,omitempty"`     // the field at fault, if any
	Solution  string  `json:"solution,omitempty"`   // what the caller can do
	RequestID string  `json:"request_id,omitempty"` // WeChat's Request-ID, if WeChat answered

	Status     int           `json:"-"` // HTTP status of the answer
	RetryAfter time.Duration `json:"-"` // how long the caller should wait; 0 if unknown
	Errcode    int           `json:"-"` // of the official-account API; 0 if none
	Cause      error         `json:"-"` // what happened
	Cure       string        `json:"-"` // what the operator can do
	Expected   bool          `json:"-"` // part of normal operation, and logged as INFO
}

// Detail names the field at fault in the format of APIv3.
type Detail struct {
	Field    string `json:"field"`           // JSON pointer into the request: /body/activate_type, /path/card_id, /query/encrypt_code
	Value    any    `json:"value,omitempty"` // the value sent; never an openid or a card's code
	Issue    string `json:"issue"`           // what is wrong, as the predicate of a sentence about the field
	Location string `json:"location"`        // the first part of Field: "body", "path" or "query"

	// Undocumented is the number of names at the end of Field that are in no document,
	// because the caller or WeChat chose them. They must not be logged.
	Undocumented int `json:"-"`
}

// Error returns the code and the cause, or the message if there is no cause. It is for
// the operator: callers must not see the cause. Errors that WeChat answered have a cause.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v", e.Code, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Metric returns the name of the metric that counts the error, or "" for errors of
// the caller, which are not counted.
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

// From returns the *Error in err's chain. Any other error is a bug in this code,
// because functions return *Error for everything that they expect. Its text may
// contain private data, so only its type is kept.
func From(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return e
	}
	return defect(fmt.Errorf("unexpected error of type %T", err))
}

// Transient reports whether another attempt may succeed after an answer with this
// HTTP status, which is true for 429 and 5xx.
func Transient(status int) bool {
	return status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
}

// InvalidParam returns the error for a request that violates a documented rule and
// was not sent to WeChat. It sets the detail's location and cuts its value after 64
// characters.
func InvalidParam(d Detail) *Error {
	const maxLength = 64
	d.Location, _, _ = strings.Cut(d.Field[1:], "/")
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

// NotFound returns the error for a request for an operation that the function does
// not have.
func NotFound() *Error {
	return &Error{
		Status:  http.StatusNotFound,
		Code:    "NOT_FOUND",
		Message: "there is no such operation here",
	}
}

// because returns the error for a cause. The solution is for the caller, the cure for the
// operator.
func because(cause error, status int, code, message, solution, cure string) *Error {
	return &Error{Status: status, Code: code, Message: message, Solution: solution, Cure: cure, Cause: cause}
}

func (e *Error) withCure(cure string) *Error {
	e.Cure = cure
	return e
}

// pageRefused returns the error for a value, at a JSON pointer, that the operator's system
// may choose but a page may not.
func pageRefused(code, pointer, issue, solution, cure string) *Error {
	return &Error{
		Status:   http.StatusForbidden,
		Code:     code,
		Message:  subject(pointer) + " " + issue,
		Detail:   &Detail{Field: pointer, Issue: issue, Location: "body"},
		Solution: solution,
		Cure:     cure,
	}
}

// JumpNotAllowed returns the error for a page that wants to send its customers to a page
// or a mini program, named by the field at a JSON pointer, that parameter does not list.
func JumpNotAllowed(pointer, parameter string) *Error {
	return pageRefused("JUMP_NOT_ALLOWED", pointer, "is not one that a page may send customers to",
		"have the operator allow it, or leave it out",
		"if it is the merchant's own, add it to the template's parameter "+parameter)
}

// CodeNotAllowed returns the error for a page that wants a card's code, at a JSON pointer,
// to be signed.
func CodeNotAllowed(pointer string) *Error {
	return pageRefused("CODE_NOT_ALLOWED", pointer, "must be left out by a page",
		"have the merchant's backend ask for cards with a code of its own", "")
}

// OpenIDMismatch returns the error for a request whose openid, at a JSON pointer, is
// not that of the user who is logged in.
func OpenIDMismatch(pointer string) *Error {
	return pageRefused("OPENID_MISMATCH", pointer, "is not that of the user who is logged in", "leave openid out", "")
}

// TicketUnavailable returns the error for a request that needs a card ticket while
// none is stored.
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

// Config returns the error for a secret that is missing, unreadable or malformed. The
// caller learns no details.
func Config(cause error) *Error {
	return because(cause, http.StatusInternalServerError, "CONFIG_ERROR", "the service is not configured correctly",
		"", "put a well-formed secret (membercard secret makes it) where the function's environment points, and let its role read it")
}

// Timeout returns the error for a call that WeChat did not answer in time.
func Timeout(cause error) *Error {
	return because(cause, http.StatusGatewayTimeout, "UPSTREAM_TIMEOUT", "WeChat did not answer in time",
		tryAgain, "if it lasts, compare the latency of the configured endpoints and look at WeChat's service status")
}

// Unreachable returns the error for a call that got no complete answer from any
// endpoint.
func Unreachable(cause error) *Error {
	return because(cause, http.StatusBadGateway, "UPSTREAM_UNREACHABLE", "WeChat could not be reached",
		tryAgain, "check that the function has a way to the internet and that the configured endpoints resolve")
}

// InvalidResponse returns the error for an answer that can't be verified. Nothing of it
// reaches the caller.
func InvalidResponse(cause error) *Error {
	return because(cause, http.StatusBadGateway, "INVALID_RESPONSE", "WeChat's answer could not be trusted",
		tryAgain, "WeChat Pay now and then sends a wrong signature on purpose; if it lasts, check the endpoints and the clock, and for WeChat Pay the secret's public key and its ID")
}

// publicKeyCure is the cure if the secret lacks the key that WeChat Pay signs with.
const publicKeyCure = "put WeChat Pay's current public key and its ID (账户中心 → API安全 → 微信支付公钥) into the secret as wechatpay_public_key and wechatpay_public_key_id"

// WrongForm returns the [InvalidResponse] for an answer that is a redirect or does not have
// the documented form: it has no signature to blame.
func WrongForm(cause error) *Error {
	return InvalidResponse(cause).withCure("check the endpoints and what is between them and the function; if they are right, give WeChat's support the wechat_request_id: the operation's document may have changed")
}

// UnknownKey returns the error for an answer that WeChat Pay signed with a key that
// the secret does not have.
func UnknownKey(cause error) *Error { return InvalidResponse(cause).withCure(publicKeyCure) }

// NoCertificates returns the error for a merchant whose secret has no public key, and
// for whom WeChat Pay has no platform certificates.
func NoCertificates(cause error) *Error { return Config(cause).withCure(publicKeyCure) }

// APIv3KeyUnusable returns the error for a notification, or a list of platform
// certificates, that can't be decrypted because the secret's apiv3_key is missing or
// wrong.
func APIv3KeyUnusable(cause error) *Error {
	return Config(cause).withCure("put the merchant's APIv3 key (账户中心 → API安全 → APIv3密钥) into the secret as apiv3_key; the merchant platform does not show it again, but lets you set a new one")
}

// SignatureRefused returns the error for a call whose signature WeChat Pay does not
// accept. The operator has to correct that, not the caller.
func SignatureRefused(cause error) *Error {
	return because(cause, http.StatusBadGateway, "SIGN_ERROR", "WeChat Pay refused the service's signature",
		"", "check that mchid, certificate_serial_no and private_key are of one merchant certificate, and that it is in force (账户中心 → API安全 → 商户API证书); if it was revoked or replaced, put the new one into the secret")
}

// Recover turns a panic into an error and adds its stack to the invocation's record. It
// must be deferred itself:
//
//	defer apierror.Recover(ctx, &err)
func Recover(ctx context.Context, err *error) {
	if value := recover(); value != nil {
		telemetry.Panicked(ctx, debug.Stack())
		*err = fromPanic(value)
	}
}

// Catch calls f, and returns the error of [Recover] if f panics.
func Catch(ctx context.Context, f func()) (err error) {
	defer Recover(ctx, &err)
	f()
	return nil
}

func fromPanic(value any) *Error {
	cause, ok := value.(runtime.Error)
	if !ok {
		// Other values may contain data that must not be logged.
		return defect(fmt.Errorf("panic with a %T", value))
	}
	return defect(cause)
}

func defect(cause error) *Error {
	return because(cause, http.StatusInternalServerError, "SYSTEM_ERROR", "the service failed",
		solutions["SYSTEM_ERROR"], "this is a bug: report the record with its stack")
}

// subject returns the subject of a message about the field at a pointer: its name, or
// "the body" for /body.
func subject(pointer string) string {
	if i := strings.LastIndexByte(pointer, '/'); i > 0 {
		if pointer[i+1:] == "" {
			return `""`
		}
		return strings.NewReplacer("~1", "/", "~0", "~").Replace(pointer[i+1:]) // as in RFC 6901
	}
	return "the " + pointer[1:]
}
