package awsconfig

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
)

// expired is the error of an attempt that took too long.
type expired struct{}

func (expired) Error() string   { return "Client.Timeout exceeded" }
func (expired) Timeout() bool   { return true }
func (expired) Temporary() bool { return true }

func TestAFailureKeepsTheCodeAndNothingThatWasSent(t *testing.T) {
	const sent = `{"openid":"obLatjnx9gnqzS4myYGmLZ7LgLBA"}`
	for _, row := range []struct {
		failure string
		err     error
		want    string
	}{
		{"a refusal", &smithy.GenericAPIError{Code: "AccessDeniedException", Message: sent}, "SQS answered AccessDeniedException"},
		{"a refusal with a namespace", &smithy.GenericAPIError{Code: "AWS.SimpleQueueService.NonExistentQueue"}, "SQS answered AWS.SimpleQueueService.NonExistentQueue"},
		{"a code that is none", &smithy.GenericAPIError{Code: sent}, "SQS answered with an error"},
		{"a code of 65", &smithy.GenericAPIError{Code: strings.Repeat("E", 65)}, "SQS answered with an error"},
		{"no code", &smithy.GenericAPIError{}, "SQS answered with an error"},
		{"the time is up", fmt.Errorf("canceled: %w", context.DeadlineExceeded), "SQS did not answer in time"},
		{"an attempt's time is up", &url.Error{Op: "Post", Err: expired{}}, "SQS did not answer in time"},
		{"no JSON", &smithy.DeserializationError{Err: errors.New(sent), Snapshot: []byte(sent)}, "the answer of SQS can't be read"},
		{"no connection", errors.New(sent), "SQS could not be reached"},
	} {
		if got := Failure("SQS", fmt.Errorf("operation error: %w", row.err)); got.Error() != row.want {
			t.Errorf("%s: %q, want %q", row.failure, got, row.want)
		}
	}
}
