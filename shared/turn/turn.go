// Package turn is a mutex whose waiters give up in time. Who waits for somebody
// else's call to AWS or WeChat has a deadline of his own.
package turn

import (
	"context"
	"fmt"
)

// Turn is held by one at a time.
type Turn struct{ token chan struct{} }

// New returns a Turn that is free.
func New() Turn {
	t := Turn{make(chan struct{}, 1)}
	t.token <- struct{}{}
	return t
}

// Take waits for the turn as long as ctx allows.
func (t Turn) Take(ctx context.Context) error {
	select {
	case <-t.token:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for its turn: %w", context.Cause(ctx))
	}
}

// Give passes the turn on.
func (t Turn) Give() { t.token <- struct{}{} }
