package upstream

import (
	"sync"
	"time"
)

// Amounts are in tenths of a token. A full bucket allows three retries while nothing
// succeeds: if 30 calls fail in a row, they make 33 attempts.
const (
	fullBucket  = 100
	failureCost = 10
	successGain = 1
	// firstRecovery is the time without a failure after which the bucket is full again.
	firstRecovery = 30 * time.Second
)

// budget limits the retries and hedges of a [Client]. It is a token bucket like
// gRPC's retry throttling: it holds 10 tokens, a failure costs 1, a success gives 0.1,
// and while 5 or fewer are left there are no retries and no hedges. A hedge costs its
// token when it begins.
//
// The bucket is also refilled after 30 s of wall-clock time without a failure. Each
// refill doubles that time until the next success. Otherwise a function that is called
// once a minute would find a full bucket each time, however long WeChat is down.
type budget struct {
	mu       sync.Mutex
	tokens   int           // in tenths
	spentAt  time.Time     // of the last failure or hedge
	recovery time.Duration // from spentAt until the bucket is refilled
}

func newBudget() *budget { return &budget{tokens: fullBucket, recovery: firstRecovery} }

func (b *budget) allows(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < fullBucket && now.Sub(b.spentAt) >= b.recovery {
		b.tokens = fullBucket
		b.recovery *= 2
	}
	return b.tokens > fullBucket/2
}

// spend takes an amount for a failure or a hedge, or gives back what a success gains.
func (b *budget) spend(amount int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(max(b.tokens-amount, 0), fullBucket)
	switch {
	case amount > 0:
		b.spentAt = now
	case amount < 0:
		b.recovery = firstRecovery
	}
}
