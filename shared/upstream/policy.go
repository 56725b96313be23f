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
	// defaultRetryAfter is the pause after a 429 without Retry-After.
	defaultRetryAfter = time.Second
	// hedgeDelay is how long an attempt may wait for the first byte of the answer
	// before a hedge begins. idleHedgeDelay is the same for a connection that was
	// idle and may have died while the function was frozen.
	hedgeDelay     = 800 * time.Millisecond
	idleHedgeDelay = 500 * time.Millisecond
)

// result classifies the outcome of an attempt for the policy.
type result int

const (
	// final ends the call: it is an answer other than 429 and 5xx, or an error that
	// another attempt can't cure.
	final result = iota
	// limited is a 429. WeChat counts per merchant or account, so the other
	// endpoints would answer the same.
	limited
	// failed is a 5xx, or no complete answer.
	failed
	// stale is an idle connection that turned out to be closed, for instance after a
	// freeze. That is not a failure of the endpoint. If the connection was used less
	// than minIdle ago, it did not close because it was idle, and the result is failed.
	stale
)

// next is the retry policy. After an outcome that is not final it reports whether there
// is another attempt, and after which pause, and gives the turn to its endpoint. The
// first rule that applies counts.
func (c *call) next(o outcome) (pause time.Duration, again bool) {
	result := o.result()
	switch {
	case c.once && !o.unread():
		// WeChat may have done the operation, which must not be done twice.
		return 0, false
	case c.attempts == maxAttempts:
		return 0, false
	case c.limited:
		// After a 429 there is one further attempt, whatever its outcome.
		return 0, false
	case result == stale:
		// The same endpoint again, on a new connection.
		c.turn = o.turn
		return 0, true
	case !c.client.budget.allows(wallclock.Now()):
		return 0, false
	case result == limited:
		// The same endpoint again, after Retry-After and some jitter.
		c.limited, c.turn = true, o.turn
		retryAfter := max(o.answer.RetryAfter(), defaultRetryAfter)
		return retryAfter + rand.N(retryAfter/4), true
	case c.roundIsOver():
		// Exponential backoff with full jitter, then the first endpoint again.
		round := c.turn / len(c.endpoints)
		return rand.N(firstBackoff << (round - 1)), true
	default:
		// The next endpoint, at once.
		return 0, true
	}
}

// mayHedge is the hedging policy. It reports whether a second attempt may begin beside
// one that is slow to answer.
func (c *call) mayHedge(slow *attempt) bool {
	switch {
	case c.once:
		return false
	case c.attempts == maxAttempts:
		return false
	case c.limited:
		// After a 429 there is one further attempt, not two.
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
// attempts that are still under way. If the outcome is an answer, they are abandoned.
func (c *call) learn(o outcome, others []*attempt) {
	now := wallclock.Now()
	switch result := o.result(); {
	case result == stale, errors.Is(o.err, context.Canceled), result == final && o.err != nil:
		// It says nothing about WeChat.
	case result == final:
		c.client.budget.succeeded()
		if !slices.Contains(c.overtaken, o.endpoint) {
			c.client.breakers.answered(o.endpoint)
		}
		for _, endpoint := range c.failing {
			if endpoint != o.endpoint {
				c.client.breakers.failedOver(endpoint, now)
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
		c.client.breakers.trip(o.endpoint, now)
	default:
		c.spend(o.attempt)
		c.failing = append(c.failing, o.endpoint)
	}
}

// overtake opens the breakers of the endpoints of slow attempts, because another
// endpoint answered first.
func (c *call) overtake(slow []*attempt, first outcome, now time.Time) {
	for _, other := range slow {
		if other.slow.Load() && other.endpoint != first.endpoint {
			c.overtaken = append(c.overtaken, other.endpoint)
			c.client.breakers.trip(other.endpoint, now)
		}
	}
}

// spend takes the token for an attempt that failed. That of a hedge was taken when it
// began.
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

// unread reports whether it is certain that WeChat did not read the request, because
// there was no connection or its TLS handshake failed.
func (o outcome) unread() bool { return o.err != nil && !o.connected.Load() }

// hung reports whether an attempt timed out after at least hedgeDelay. A shorter
// timeout says nothing about the endpoint.
func (o outcome) hung() bool { return timedOut(o.err) && time.Since(o.begun) >= hedgeDelay }

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
