package apierror

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// FromErrcode returns the error that the caller gets for an errcode of the
// official-account API, after the retries and an attempt with a new access token. The
// code is WECHAT_<errcode> except for the first row. The statuses are:
//
//	40013, 40125         500 CONFIG_ERROR: wrong appid or secret
//	40164                502: the IP address is not on the account's allow-list
//	40001, 40014, 42001  502: even a new access token is invalid
//	−1                   502: WeChat is busy
//	45009                429: the daily quota is used up
//	45011, 45061         429: the rate limit is exceeded
//	others               400
func FromErrcode(errcode int, errmsg string) *Error {
	e := &Error{
		Status:   http.StatusBadRequest,
		Errcode:  errcode,
		Code:     "WECHAT_" + strconv.Itoa(errcode),
		Message:  errmsg,
		Solution: errcodeSolutions[errcode],
		Cause:    fmt.Errorf("WeChat answered errcode %d: %s", errcode, errmsg),
		Cure:     "look the errcode up in WeChat's list of return codes",
	}
	switch errcode {
	case 40013, 40125:
		e = Config(e.Cause)
		e.Errcode = errcode
		e.Cure = "correct the official account's AppID and AppSecret in its secret; WeChat refuses them"
	case 40164:
		e.Status = http.StatusBadGateway
		e.Message = "WeChat does not allow calls from this service's IP address"
		e.Cure = "add the IP address that the cause names to the official account's IP allow-list (微信公众平台 → 设置与开发 → 安全中心 → IP 白名单)"
		if ip := addressIn(errmsg); ip != "" {
			e.Message += "; add " + ip + " to the official account's IP allow-list"
		}
	case 40001, 40014, 42001:
		e.Status = http.StatusBadGateway
		e.Solution = "try again"
		e.Cure = "WeChat refuses even a new access token: check whether another system forces refreshes of this account's token"
	case -1:
		e.Status = http.StatusBadGateway
		e.Solution = "try again later"
		e.Cure = "WeChat is busy; if it lasts, look at WeChat's service status"
	case 45009:
		e.Status = http.StatusTooManyRequests
		e.Solution = "try again tomorrow, or have the quota reset in the official account's settings"
		e.RetryAfter = time.Hour
		e.Cure = "the quota is WeChat's, per account and day: make the schedule slower, or reset the quota"
	case 45011, 45061:
		e.Status = http.StatusTooManyRequests
		e.Solution = "try again after Retry-After, with jitter"
		e.RetryAfter = time.Minute
		e.Cure = "the limit is WeChat's, per account and minute: spread the calls"
	}
	return e
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
			return address.Unmap().String()
		}
	}
	return ""
}
