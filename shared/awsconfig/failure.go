package awsconfig

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/aws/smithy-go"

	"membercard/shared/validation"
)

// Failure returns a short error for the log instead of an error of the SDK. If the
// service refused the request, it contains the error code but not the message, which may
// quote the request.
func Failure(service string, err error) error {
	refused, ok := errors.AsType[smithy.APIError](err)
	if ok {
		return Refused(service, refused.ErrorCode())
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s did not answer in time", service)
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		return fmt.Errorf("the answer of %s can't be read", service)
	}
	return fmt.Errorf("%s could not be reached", service)
}

// Refused returns the error for a request that a service refused with an error code. It
// omits a code that is not 1 to 64 letters, digits, dots and underscores.
func Refused(service, code string) error {
	if code == "" || validation.Alphanumeric(64, "._")(code) != "" {
		return fmt.Errorf("%s answered with an error", service)
	}
	return fmt.Errorf("%s answered %s", service, code)
}
