// Package invocation has what the invocations of all Lambda functions share: an ID and a
// deadline, and actions by name for events that are not HTTP requests.
package invocation

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// reserve is the part of an invocation's time that is kept for its answer.
const reserve = 500 * time.Millisecond

// WithReserve returns ctx with a deadline that is 500 ms earlier, so that the function can
// still answer if a call to WeChat or AWS runs into the deadline.
func WithReserve(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-reserve))
	}
	return context.WithCancel(ctx)
}

// ID returns Lambda's request ID, or "" outside of Lambda.
func ID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}
