package apierror

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The errcodes that have a meaning here.
const (
	Busy           = -1
	AddressRefused = 40164 // our IP address is not on the account's allow-list
	QuotaUsedUp    = 45009 // of the day
	LoginCodeUsed  = 40163
)

// Groups of errcodes.
var (
	AccountRefused = []int{40013, 40125}                // the AppID or the AppSecret is wrong
	TokenInvalid   = []int{40001, 40014, 42001}         // the access token
	RateLimited    = []int{45011, 45061}                // too many calls a minute
	LoginRefused   = []int{40029, LoginCodeUsed, 40226} // the login code is invalid or used, or the user is high-risk
)

// FromErrcode returns the error that the caller gets for an errcode of the
// official-account API, after the retries and an attempt with a new access token. The
// code is WECHAT_<errcode>, or CONFIG_ERROR if WeChat refuses the account. The message is
// WeChat's errmsg, unless the service's own credentials or IP address are refused.
func FromErrcode(errcode int, errmsg string) *Error {
	e := &Error{
		Status:   http.StatusBadRequest,
		Errcode:  errcode,
		Code:     "WECHAT_" + strconv.Itoa(errcode),
		Message:  cmp.Or(errmsg, refused),
		Solution: errcodeSolutions[errcode],
		Cause:    fmt.Errorf("WeChat answered errcode %d", errcode),
		Cure:     cmp.Or(errcodeSolutions[errcode], "look the errcode up in WeChat's list of return codes; the caller has WeChat's message"),
	}
	switch {
	case slices.Contains(AccountRefused, errcode):
		e = Config(e.Cause)
		e.Errcode = errcode
		e.Cure = "correct the official account's AppID and AppSecret in its secret; WeChat refuses them"
	case errcode == AddressRefused:
		e.Status = http.StatusBadGateway
		e.Message = "WeChat does not allow calls from this service's IP address"
		e.Cure = "add the IP address that the cause names to the official account's IP allow-list (微信公众平台 → 设置与开发 → 安全中心 → IP 白名单)"
		if ip := addressIn(errmsg); ip != "" {
			e.Message += "; add " + ip + " to the official account's IP allow-list"
			e.Cause = fmt.Errorf("%w for the IP address %s", e.Cause, ip)
		}
	case slices.Contains(TokenInvalid, errcode):
		e.Status = http.StatusBadGateway
		e.Message = "WeChat refuses the service's access token"
		e.Solution = tryAgain
		e.Cure = "WeChat refuses even a new access token: check whether another system forces refreshes of this account's token"
	case errcode == Busy:
		e.Status = http.StatusBadGateway
		e.Solution = "try again later"
		e.Cure = "WeChat is busy; if it lasts, look at WeChat's service status"
	case errcode == QuotaUsedUp:
		e.Status = http.StatusTooManyRequests
		e.Solution = "try again tomorrow, or have the quota reset in the official account's settings"
		e.RetryAfter = time.Hour
		e.Cure = "the quota is WeChat's, per account and day: make the schedule slower, or reset the quota"
	case slices.Contains(RateLimited, errcode):
		e.Status = http.StatusTooManyRequests
		e.Solution = "try again after Retry-After, with jitter"
		e.RetryAfter = time.Minute
		e.Cure = "the limit is WeChat's, per account and minute: spread the calls"
	}
	return e
}

// WithoutErrmsg returns the error of an answer without WeChat's errmsg, which may quote a
// credential that the call sent. A message in our own words stays.
func (e *Error) WithoutErrmsg() *Error {
	own := FromErrcode(e.Errcode, "")
	if e.Errcode == AddressRefused {
		own.Message = e.Message
	}
	own.Cause, own.RequestID = e.Cause, e.RequestID
	return own
}

var errcodeSolutions = map[int]string{
	40053: "check card_id: the official account has no such card",
	47001: "send only documented fields; a field that can't be changed gives this as well",
	48001: "have the card feature opened for the official account; a card that was upgraded to the new membership card is changed by PATCH /v3/marketing/membercard-open/cards/{card_id}",
}

// addressIn returns the first IP address in a text, or "".
func addressIn(text string) string {
	for word := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ' ' || c == ',' }) {
		if address, err := netip.ParseAddr(word); err == nil {
			return address.Unmap().WithZone("").String() // a zone may be any text
		}
	}
	return ""
}
