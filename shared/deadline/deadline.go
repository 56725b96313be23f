// Package deadline divides up the time that an invocation has left.
package deadline

import (
	"context"
	"time"
)

// Reserve is the part of the time that [WithReserve] keeps.
const Reserve = 500 * time.Millisecond

// WithReserve returns ctx with a deadline that is 500 ms earlier, so that there is time for
// what follows, such as the answer, if a call to WeChat or AWS runs into the deadline.
func WithReserve(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-Reserve))
	}
	return context.WithCancel(ctx)
}

// WithHalf returns ctx with a timeout, but with at most half of the time that is left,
// because the caller needs the rest.
func WithHalf(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, timeout)
}

// Leaves reports whether ctx leaves more time than d.
func Leaves(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() == nil && (!ok || time.Until(deadline) > d)
}

// Sleep pauses for d, and reports whether ctx lasted that long.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
