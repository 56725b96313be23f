package main

import (
	"context"
	"sync"
	"time"

	"membercard/shared/gateway"
)

// minTimeout is the minimum timeout of the first notification.
const minTimeout = time.Second

// deductInit is a handler that deducts the duration of init from the timeout of its first
// notification, because WeChat Pay waited for init as well. If Lambda started the instance
// in advance, WeChat Pay did not wait, and the timeout is shorter than necessary. That does
// no harm: WeChat Pay sends a notification again that was not processed in time.
type deductInit struct {
	gateway.Handler
	begun time.Time // when init began
	first sync.Once
}

// Invoke implements lambda.Handler.
func (d *deductInit) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	h := d.Handler
	d.first.Do(func() { h.Timeout = max(timeout-time.Since(d.begun), minTimeout) })
	return h.Invoke(ctx, event)
}
