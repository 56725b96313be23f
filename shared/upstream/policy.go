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
	// maxAttempts is how many attempts a call makes at most, hedges included.
	maxAttempts = 4
	// attemptTimeout limits an attempt; see [call.timeout].
	attemptTimeout = 3 * time.Second
	// minAttempt is the least time in which an attempt is worth making.
	minAttempt = 50 * time.Millisecond
	// firstBackoff is the longest pause after the first round of the endpoints.
	// It doubles with each round.
	firstBackoff = 100 * time.Millisecond
	// defaultRetryAfter is the pause after a 429 without Retry-After.
	defaultRetryAfter = time.Second
	// hedgeDelay is how long an attempt may take to the first byte of the answer
	// until a hedge begins, and idleHedgeDelay the same for a connection that was
	// idle and may have died while the function was frozen.
	hedgeDelay     = 800 * time.Millisecond
	idleHedgeDelay = 500 * time.Millisecond
)

// result is what an attempt came to, as far as the policy is concerned.
type result int

const (
	// final ends the call: an answer other than 429 and 5xx, or an error that no
	// other attempt can cure.
	final result = iota
	// limited is a 429. WeChat counts per merchant or account, so the other
	// endpoints would answer the same.
	limited
	// failed is a 5xx, or no complete answer.
	failed
	// stale is a connection that was idle and turned out to be closed. That is no
	// failure of the endpoint. One that was in use a moment ago did not close of
	// idleness, or in a freeze, so that is a failure as any other.
	stale
)

// A step is the next attempt of a call.
type step struct {
	pause time.Duration // before it
	turn  int           // of the endpoint; see [call.endpoint]
}

// next is the retry policy: what follows an attempt that was not final, if
// anything does. The first rule that applies counts.
func (c *call) next(o outcome) (s step, again bool) {
	result := o.result()
	switch {
	case c.once && !o.unread():
		// It may have been done, and must not be done twice.
		return step{}, false
	case c.attempts == maxAttempts:
		return step{}, false
	case result == stale:
		// The same endpoint again, on a new connection.
		return step{turn: o.turn}, true
	case c.limited:
		// After a 429 there is one further call, whatever comes of it.
		return step{}, false
	case !c.client.budget.allows(wallclock.Now()):
		return step{}, false
	case result == limited:
		c.limited = true
		wait := max(o.answer.RetryAfter(), defaultRetryAfter)
		return step{pause: wait + rand.N(wait/4), turn: o.turn}, true
	case c.roundIsOver():
		// Exponential backoff with full jitter, then the first endpoint again.
		round := c.turn / len(c.endpoints)
		return step{pause: rand.N(firstBackoff << (round - 1)), turn: c.turn}, true
	default:
		// The next endpoint, at once.
		return step{turn: c.turn}, true
	}
}

// mayHedge is the hedging policy: whether an attempt that is slow to answer gets
// another one beside it.
func (c *call) mayHedge(slow *attempt) bool {
	switch {
	case c.once:
		return false
	case c.attempts == maxAttempts:
		return false
	case c.limited:
		// After a 429 there is one further call, not two.
		return false
	case c.roundIsOver() && !(len(c.endpoints) == 1 && slow.wasIdle.Load()):
		// There is no other endpoint. A new connection to the only one helps
		// where the old one may be dead.
		return false
	default:
		return c.client.budget.allows(wallclock.Now())
	}
}

// learn updates the budget and the circuit breakers with an outcome. others are
// the attempts still under way, which lose if the outcome is an answer.
func (c *call) learn(o outcome, others []*attempt) {
	now := wallclock.Now()
	switch result := o.result(); {
	case result == stale, errors.Is(o.err, context.Canceled), result == final && o.err != nil:
		// It says nothing about WeChat.
	case result == final:
		c.client.budget.succeeded()
		if !slices.Contains(c.overdue, o.endpoint) {
			c.client.breakers.answered(o.endpoint)
		}
		for _, endpoint := range c.failing {
			if endpoint != o.endpoint {
				c.client.breakers.outdone(endpoint, now)
			}
		}
		c.overtake(others, o, now)
	case errors.Is(o.err, ErrUnderWay):
		c.client.breakers.answered(o.endpoint)
		c.overtake(others, o, now)
	case result == limited:
		c.spend(o.attempt)
		c.client.breakers.answered(o.endpoint)
	case o.hung(), o.unread() && !timedOut(o.err):
		c.spend(o.attempt)
		c.client.breakers.unavailable(o.endpoint, now)
	default:
		c.spend(o.attempt)
		c.failing = append(c.failing, o.endpoint)
	}
}

// overtake puts the endpoints of slow attempts behind the others, because another
// endpoint has answered first.
func (c *call) overtake(slow []*attempt, first outcome, now time.Time) {
	for _, other := range slow {
		if other.slow.Load() && other.endpoint != first.endpoint {
			c.overdue = append(c.overdue, other.endpoint)
			c.client.breakers.unavailable(other.endpoint, now)
		}
	}
}

// spend takes the token of an attempt that failed. A hedge has paid already.
func (c *call) spend(a *attempt) {
	if !a.hedge {
		c.client.budget.spend(wallclock.Now())
	}
}

// outcome is an attempt with its answer or error.
type outcome struct {
	*attempt
	answer *Answer
	err    error
}

func (o outcome) result() result {
	_, isFinal := errors.AsType[*apierror.Error](o.err)
	switch {
	case isFinal, errors.Is(o.err, errTooLarge):
		return final
	case o.err == nil && o.answer.Status == http.StatusTooManyRequests:
		return limited
	case o.err == nil && o.answer.Status < http.StatusInternalServerError:
		return final
	case o.err != nil && o.wasIdle.Load() && !o.answering.Load() && !timedOut(o.err):
		return stale
	}
	return failed
}

// unread reports whether WeChat surely did not read the request, because there was
// no connection or its TLS handshake failed.
func (o outcome) unread() bool { return o.err != nil && !o.connected.Load() }

// hung reports whether an attempt ran into its timeout. One that had less time
// than a hedge waits for says nothing about the endpoint.
func (o outcome) hung() bool { return timedOut(o.err) && time.Since(o.begun) >= hedgeDelay }

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
