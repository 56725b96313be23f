package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/wallclock"
)

const (
	// maxAttempts limits the attempts of a call, including hedges.
	maxAttempts = 4
	// attemptTimeout limits the duration of an attempt; see [call.timeout].
	attemptTimeout = 3 * time.Second
	// minAttempt is the minimum time for an attempt. With less time left, none is made.
	minAttempt = 50 * time.Millisecond
	// firstBackoff is the maximum pause after the first round of the endpoints. It
	// doubles with each round.
	firstBackoff = 100 * time.Millisecond
	// hedgeDelay is how long an attempt may wait for the first byte of the answer
	// before a hedge begins. idleHedgeDelay is the same for a connection that was
	// idle and may have died while the function was frozen.
	hedgeDelay     = 800 * time.Millisecond
	idleHedgeDelay = 500 * time.Millisecond
)

type kind int

const (
	// success is an answer other than 429 and 5xx. It may be a refusal.
	success kind = iota
	// limited is a 429. WeChat counts per merchant or account, so the other endpoints
	// would answer the same, and the caller knows best when to come again.
	limited
	// untrusted is an answer that was not verified; see [ErrUntrusted].
	untrusted
	// failed is a 5xx, no complete answer, or a timeout that was too short to be the
	// endpoint's fault.
	failed
	// unreachable is an endpoint that hung or could not be connected to.
	unreachable
	// stale is an idle connection that turned out to be closed, for instance after a
	// freeze. If it was used less than minIdle ago, it did not close because it was idle,
	// and the kind is failed.
	stale
	// underWay is [ErrUnderWay].
	underWay
	// canceled is an attempt that ended on our side: the caller gave up, the answer was
	// too large, or send returned an [apierror.Error].
	canceled
)

type consequences struct {
	ends     bool // the call ends, and abandons attempts that are under way
	answered bool // the endpoint works: its breaker closes, and those of endpoints that were slower open
	trips    bool // the endpoint's breaker opens
	fails    bool // the endpoint's breaker opens if that happens often while others answer
	spends   int  // taken from the retry budget, in tenths of a token
}

// table has the consequences of each kind of outcome. An answer that is not trusted costs
// half a failure: WeChat Pay signs a few answers wrongly on purpose, and a whole failure
// would use up the budget if that is a tenth of them.
var table = [...]consequences{
	success:     {ends: true, answered: true, spends: -successGain},
	limited:     {},
	untrusted:   {spends: failureCost / 2},
	failed:      {fails: true, spends: failureCost},
	unreachable: {trips: true, spends: failureCost},
	stale:       {},
	underWay:    {answered: true},
	canceled:    {ends: true},
}

type outcome struct {
	*attempt
	answer *Answer
	err    error
	kind   kind
}

func classify(a *attempt, answer *Answer, err error) kind {
	_, isOurs := errors.AsType[*apierror.Error](err)
	switch {
	case errors.Is(err, ErrUntrusted):
		return untrusted
	case isOurs, errors.Is(err, ErrTooLarge), errors.Is(err, context.Canceled):
		return canceled
	case errors.Is(err, ErrUnderWay):
		return underWay
	case err == nil && answer.Status == http.StatusTooManyRequests:
		return limited
	case err == nil && answer.Status >= http.StatusInternalServerError:
		return failed
	case err == nil:
		return success
	case timedOut(err):
		if time.Since(a.begun) >= hedgeDelay {
			return unreachable
		}
	case !a.connected.Load():
		return unreachable
	case a.wasIdle.Load() && !a.answering.Load():
		return stale
	}
	return failed
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func (o outcome) follows() consequences { return table[o.kind] }

// unsent reports whether it is certain that WeChat did not read the request, because
// there was no connection or its TLS handshake failed.
func (o outcome) unsent() bool { return o.err != nil && !o.connected.Load() }

// next is the retry policy. After an outcome that does not end the call it reports whether
// there is another attempt, at which endpoint, and after which pause. The first rule that
// applies counts.
func (c *call) next(o outcome) (endpoint string, pause time.Duration, again bool) {
	switch {
	case c.once && !o.unsent():
		// WeChat may have done the operation, which must not be done twice.
		return "", 0, false
	case c.limited, c.attempts == maxAttempts:
		return "", 0, false
	case o.kind == stale:
		// The same endpoint again, on a new connection.
		return o.endpoint, 0, true
	case o.kind == untrusted && c.repeated, !c.client.budget.allows(wallclock.Now()):
		return "", 0, false
	case o.kind == untrusted:
		// The same endpoint once more: it is not at fault.
		c.repeated = true
		return o.endpoint, 0, true
	case c.roundIsOver():
		// Exponential backoff with full jitter, then the first endpoint again.
		round := c.turns / len(c.endpoints)
		return c.nextEndpoint(), rand.N(firstBackoff << (round - 1)), true
	default:
		// The next endpoint, at once.
		return c.nextEndpoint(), 0, true
	}
}

// mayHedge is the hedging policy. It reports whether a second attempt may begin beside
// one that is slow to answer.
func (c *call) mayHedge(slow *attempt) bool {
	switch {
	case c.once, c.limited, c.attempts == maxAttempts:
		return false
	case c.roundIsOver() && !(len(c.endpoints) == 1 && slow.wasIdle.Load()):
		// No endpoint is left to hedge with. If there is only one, a hedge on a new
		// connection helps if the old connection may be dead.
		return false
	default:
		return c.client.budget.allows(wallclock.Now())
	}
}

// learn updates the budget and the circuit breakers with an outcome. others are the
// attempts that are still under way.
func (c *call) learn(o outcome, others []*attempt) {
	now, follows, breakers := wallclock.Now(), o.follows(), c.client.breakers
	if follows.spends < 0 || !o.hedge { // that of a hedge was spent when it began
		c.client.budget.spend(follows.spends, now)
	}
	if follows.trips {
		breakers.trip(o.endpoint, now)
	}
	if follows.fails {
		c.failing = append(c.failing, o.endpoint)
	}
	if !follows.answered {
		return
	}
	if !slices.Contains(c.overtaken, o.endpoint) {
		breakers.answered(o.endpoint)
	}
	for _, endpoint := range c.failing {
		if endpoint != o.endpoint {
			breakers.failedOver(endpoint, now)
		}
	}
	c.failing = nil
	for _, other := range others {
		if other.slow.Load() && other.endpoint != o.endpoint {
			c.overtaken = append(c.overtaken, other.endpoint)
			breakers.trip(other.endpoint, now)
		}
	}
}
