// Package invocation has what all invocations of a Lambda function share: an ID,
// a deadline, and, for events that are not HTTP requests, an action by name.
package invocation

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// reserve is the part of an invocation's time that is left for its own answer.
const reserve = 500 * time.Millisecond

// WithReserve returns ctx with its deadline moved 500 ms forward, so that the
// function can still answer when a call to WeChat or AWS uses up its time.
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
