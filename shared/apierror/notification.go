package apierror

import "net/http"

// unsigned is what the sender of a notification without a valid signature learns,
// whatever is wrong with it.
const unsigned = "the notification is not signed by WeChat Pay"

// SignatureInvalid is a notification that nothing proves to be WeChat Pay's.
func SignatureInvalid(cause error) *Error {
	return &Error{
		Status:  http.StatusUnauthorized,
		Code:    "SIGNATURE_INVALID",
		Message: unsigned,
		Cause:   cause,
		Cure:    "anybody can send this; if WeChat Pay's own notifications are refused, check the clock, and the secret's public key and its ID",
	}
}

// SignatureTest is a notification that WeChat Pay has signed wrongly on purpose, to
// see that it is refused. The same notification follows with a valid signature.
func SignatureTest(cause error) *Error {
	return &Error{
		Status:   http.StatusUnauthorized,
		Code:     "SIGNATURE_TEST",
		Message:  unsigned,
		Cause:    cause,
		Expected: true,
	}
}

// NotificationMalformed is a notification that WeChat Pay has signed and that does
// not have the documented form.
func NotificationMalformed(cause error) *Error {
	return &Error{
		Status:  http.StatusBadRequest,
		Code:    "NOTIFICATION_MALFORMED",
		Message: "the notification does not have the documented form",
		Cause:   cause,
		Cure:    "compare the cause with WeChat Pay's document of notifications, which may have changed",
	}
}
