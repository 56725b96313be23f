package upstream

import (
	"sync"
	"time"
)

// The budget counts in tenths of a token. A full bucket pays for three retries in
// full: 30 calls that fail from the start are 33 attempts.
const (
	fullBucket  = 100
	failureCost = 10
	successGain = 1
	// firstRecovery is how long nothing may fail until the bucket is full again.
	firstRecovery = 30 * time.Second
)

// budget limits how many attempts a [Client] makes beyond one for each call. It is
// a token bucket like gRPC's retry throttling: a failure costs 1 token, a success
// gives 0.1, and while half or less of the bucket is left there are no retries and
// no hedges. A hedge costs its token when it begins.
//
// The bucket also fills up when nothing failed for 30 s by the wall clock. That
// time doubles until the next success. Otherwise a function that is called once a
// minute would always have a full bucket, however long WeChat is down.
type budget struct {
	mu       sync.Mutex
	tokens   int
	spentAt  time.Time
	recovery time.Duration
}

func newBudget() *budget { return &budget{tokens: fullBucket, recovery: firstRecovery} }

// allows reports whether a retry or a hedge may be made.
func (b *budget) allows(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < fullBucket && now.Sub(b.spentAt) >= b.recovery {
		b.tokens = fullBucket
		b.recovery *= 2
	}
	return b.tokens > fullBucket/2
}

// spend takes the token for a failure or a hedge.
func (b *budget) spend(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = max(b.tokens-failureCost, 0)
	b.spentAt = now
}

// succeeded gives a tenth of a token back.
func (b *budget) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+successGain, fullBucket)
	b.recovery = firstRecovery
}
