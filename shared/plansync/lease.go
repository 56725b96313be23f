package plansync

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"membercard/shared/strictjson"
)

const (
	// leaseMargin is how long a lease outlives the deadline of the invocation that holds it.
	leaseMargin = 2 * time.Second
	// longestLease is longer than any invocation. A lease that ends later is spoilt.
	longestLease = 16 * time.Minute
	// acquireAttempts limits the attempts to acquire a lease that others write at the same time.
	acquireAttempts = 3
)

// lease is the content of the object that one sync at a time holds.
type lease struct {
	Holder string    `json:"holder,omitempty"` // random, so that a holder recognizes its own
	Until  time.Time `json:"until,omitzero"`   // free from then on
}

// errHeld reports that another sync holds the lease.
var errHeld = errors.New("another sync is running")

// acquire acquires the lease in an object until a little after the deadline of ctx, and returns
// what releases it. It fails with [errHeld] if another sync holds it. With any other error
// the caller goes on without a lease: two syncs that meet are a smaller harm than none.
func (o Object) acquire(ctx context.Context) (release func(), err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(longestLease / 2)
	}
	mine := lease{Holder: rand.Text(), Until: deadline.Add(leaseMargin).UTC()}
	var tag string
	for range acquireAttempts {
		if tag, err = o.acquireOnce(ctx, mine); !errors.Is(err, ErrChanged) {
			break
		}
	}
	if err != nil {
		return func() {}, err
	}
	return func() { _, _ = o.WriteIf(ctx, []byte("{}"), tag) }, nil // or else it ends by itself
}

// acquireOnce writes a lease unless another sync holds one, and returns its ETag. It fails with
// [ErrChanged] if another sync wrote the object meanwhile.
func (o Object) acquireOnce(ctx context.Context, mine lease) (tag string, err error) {
	text, tag, err := o.ReadIfAny(ctx, 1<<20)
	if err != nil {
		return "", err
	}
	var found lease
	isLease, now := json.Unmarshal(text, &found) == nil, time.Now()
	switch {
	case isLease && found.Holder == mine.Holder:
		// The SDK repeats a request whose answer was lost, so the last attempt wrote it.
		return tag, nil
	case isLease && now.Before(found.Until) && found.Until.Before(now.Add(longestLease)):
		return "", errHeld
	}
	return o.WriteIf(ctx, strictjson.Encode(mine), tag)
}
