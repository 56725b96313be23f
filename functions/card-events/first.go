package main

import (
	"context"
	"sync"
	"time"

	"membercard/shared/gateway"
)

// leastTimeout is what the first notification has at least.
const leastTimeout = time.Second

// firstInTime is a handler that leaves its first notification less time, because WeChat
// Pay may have waited for init as well. If it did not, because Lambda started the
// instance ahead, that does no harm: what is not done in time comes again.
type firstInTime struct {
	gateway.Handler
	begun time.Time // when init began
	first sync.Once
}

// Invoke implements lambda.Handler.
func (f *firstInTime) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	h := f.Handler
	f.first.Do(func() { h.Timeout = max(timeout-time.Since(f.begun), leastTimeout) })
	return h.Invoke(ctx, event)
}
