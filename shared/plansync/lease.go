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
)

// lease is the content of the object that one sync at a time holds.
type lease struct {
	Holder string    `json:"holder,omitempty"` // random, so that a holder recognizes its own
	Until  time.Time `json:"until,omitzero"`   // free from then on
}

// errHeld reports that another sync holds the lease.
var errHeld = errors.New("another sync is running")

// take takes the lease in an object until a little after the deadline of ctx, and returns
// what gives it back. It fails with [errHeld] if another sync holds it. With any other error
// the caller goes on without a lease: two syncs that meet are a smaller harm than none.
func (o Object) take(ctx context.Context) (release func(), err error) {
	release = func() {}
	text, tag, err := o.ReadTagged(ctx, 1<<20)
	if err != nil && !isMissing(err) {
		return release, err
	}
	now := time.Now()
	var found lease
	if json.Unmarshal(text, &found) == nil && now.Before(found.Until) && found.Until.Before(now.Add(longestLease)) {
		return release, errHeld
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(longestLease / 2)
	}
	mine := lease{Holder: rand.Text(), Until: deadline.Add(leaseMargin).UTC()}
	content, err := strictjson.Encode(mine)
	if err != nil {
		return release, err
	}
	tag, err = o.WriteIf(ctx, content, tag)
	if errors.Is(err, ErrChanged) {
		// The SDK repeats a request whose answer was lost, so this may be our own lease.
		var text []byte
		if text, tag, err = o.ReadTagged(ctx, 1<<20); err != nil {
			return release, errHeld
		}
		if found = (lease{}); json.Unmarshal(text, &found) != nil || found.Holder != mine.Holder {
			return release, errHeld
		}
	}
	if err != nil {
		return release, err
	}
	return func() { _, _ = o.WriteIf(ctx, []byte("{}"), tag) }, nil // or else it ends by itself
}
