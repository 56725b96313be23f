package awsconfig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/smithy-go"
)

// Failure shortens an error of the SDK for the log. Of a refusal it keeps only the
// code, because a service's message may quote what it was sent.
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

// Refused is the error for a refusal with a code. What does not look like a code is
// left out.
func Refused(service, code string) error {
	foreign := func(c rune) bool {
		return !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_')
	}
	if code == "" || len(code) > 64 || strings.ContainsFunc(code, foreign) {
		return fmt.Errorf("%s answered with an error", service)
	}
	return fmt.Errorf("%s answered %s", service, code)
}
