package apierror

import "net/http"

// unsigned is the message for every notification without a valid signature, so that
// its sender learns nothing.
const unsigned = "the notification is not signed by WeChat Pay"

// SignatureInvalid returns the error for a notification without a valid signature of
// WeChat Pay.
func SignatureInvalid(cause error) *Error {
	return because(cause, http.StatusUnauthorized, "SIGNATURE_INVALID", unsigned,
		"", "anybody can send this; if WeChat Pay's own notifications are refused, check the clock, and the secret's public key and its ID")
}

// SignatureTest returns the error for a notification that WeChat Pay signed wrongly
// on purpose, to check that it is refused. WeChat Pay then sends it with a valid
// signature.
func SignatureTest(cause error) *Error {
	return &Error{
		Status:   http.StatusUnauthorized,
		Code:     "SIGNATURE_TEST",
		Message:  unsigned,
		Cause:    cause,
		Expected: true,
	}
}

// NotificationMalformed returns the error for a notification that WeChat Pay signed
// but that does not have the documented form.
func NotificationMalformed(cause error) *Error {
	return because(cause, http.StatusBadRequest, "NOTIFICATION_MALFORMED", "the notification does not have the documented form",
		"", "compare the cause with WeChat Pay's document of notifications, which may have changed")
}
