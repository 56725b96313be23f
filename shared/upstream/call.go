package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/wallclock"
)

// call is one call with its attempts. What it does when is decided in policy.go.
type call struct {
	client    *Client
	send      func(ctx context.Context, endpoint string) (*Answer, error)
	once      bool     // see [Once]
	endpoints []string // in the order in which this call tries them

	attempts int      // that were begun
	turn     int      // of the next attempt
	limited  bool     // a 429 was answered
	failing  []string // endpoints that answered 5xx, or not completely
	overdue  []string // endpoints that another one has overtaken; see [ErrUnderWay]

	answer   *Answer  // the last 429 or 5xx
	err      error    // the last error
	failures []string // for the record
}

func (c *Client) newCall(send func(context.Context, string) (*Answer, error), options []Option) *call {
	once, now := slices.Contains(options, Once), wallclock.Now()
	// A trial of an endpoint that failed must not cost more than a hedge's delay.
	trial := !once && c.budget.allows(now)
	return &call{client: c, send: send, once: once, endpoints: c.breakers.order(now, trial)}
}

// attempt is an attempt under way.
type attempt struct {
	endpoint string
	turn     int  // counts endpoints through the rounds, from 0
	hedge    bool // begun beside another one
	once     bool
	begun    time.Time
	timer    *time.Timer // runs out when the first byte is late

	connected atomic.Bool // there is a connection, with its TLS handshake done
	wasIdle   atomic.Bool // it was opened before this attempt, and may have died in a freeze
	answering atomic.Bool // the first byte came
	slow      atomic.Bool // the first byte is late
}

type attemptKey struct{}

// gotConnection is told which connection the attempt has. net/http replaces one
// by itself if it can't write to it.
func (a *attempt) gotConnection(wasIdle bool) {
	a.connected.Store(true)
	a.wasIdle.Store(wasIdle)
	if a.timer == nil || a.slow.Load() {
		return
	}
	delay := hedgeDelay
	if wasIdle {
		delay = idleHedgeDelay
	}
	a.timer.Reset(delay - time.Since(a.begun))
}

func (a *attempt) gotFirstByte() {
	a.answering.Store(true)
	if a.timer != nil {
		a.timer.Stop()
	}
}

// try makes an attempt, and hedges while it is slow. It returns the first final
// outcome, or if there is none, the failure that the policy has to deal with. It
// returns false if there is no time for an attempt.
func (c *call) try(ctx context.Context) (failure outcome, begun bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the losers
	outcomes, slow := make(chan outcome, maxAttempts), make(chan *attempt, maxAttempts)
	underWay := map[int]*attempt{} // by turn
	begin := func(hedge bool) {
		if a := c.begin(ctx, hedge, outcomes, slow); a != nil {
			underWay[a.turn] = a
		}
	}
	begin(false)
	for len(underWay) > 0 {
		select {
		case a := <-slow:
			if underWay[a.turn] == a && c.mayHedge(a) {
				begin(true)
			}
		case o := <-outcomes:
			delete(underWay, o.turn)
			c.note(o, underWay)
			if o.result() == final {
				return o, true
			}
			if failure.attempt == nil || failure.result() != limited {
				failure = o
			}
		}
	}
	return failure, failure.attempt != nil
}

// begin starts the next attempt in its own goroutine, or returns nil if there is
// no time for one.
func (c *call) begin(ctx context.Context, hedge bool, outcomes chan<- outcome, slow chan<- *attempt) *attempt {
	timeout := c.timeout(ctx)
	if timeout < minAttempt {
		return nil
	}
	if hedge {
		c.client.budget.spend(wallclock.Now())
	}
	a := &attempt{endpoint: c.endpoint(), turn: c.turn, hedge: hedge, once: c.once, begun: time.Now()}
	c.attempts++
	c.turn++
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, attemptKey{}, a), timeout)
	a.timer = time.AfterFunc(hedgeDelay, func() {
		if a.slow.CompareAndSwap(false, true) {
			slow <- a
		}
	})
	go func() {
		defer cancel()
		answer, err := c.attempt(ctx, a.endpoint)
		a.timer.Stop()
		outcomes <- outcome{a, answer, err}
	}()
	return a
}

// attempt sends the request. In a goroutine a panic would end the process.
func (c *call) attempt(ctx context.Context, endpoint string) (answer *Answer, err error) {
	defer func() {
		if value := recover(); value != nil {
			answer, err = nil, apierror.FromPanic(value)
		}
	}()
	answer, err = c.send(ctx, endpoint)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL: a query string may hold a token
	}
	return answer, err
}

// endpoint is the one whose turn it is.
func (c *call) endpoint() string { return c.endpoints[c.turn%len(c.endpoints)] }

// roundIsOver reports whether all endpoints had their turn since the last round.
func (c *call) roundIsOver() bool { return c.turn%len(c.endpoints) == 0 }

// timeout is the time for the next attempt: 3 s, or if less is left, an equal
// share for it and each endpoint that has not had its turn in this round.
func (c *call) timeout(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return attemptTimeout
	}
	waiting := len(c.endpoints) - c.turn%len(c.endpoints)
	return min(attemptTimeout, time.Until(deadline)/time.Duration(waiting))
}

// wait pauses before the next attempt. It returns false at once if that leaves no
// time for one.
func (c *call) wait(ctx context.Context, s step) bool {
	c.turn = s.turn
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < s.pause+minAttempt {
		return false
	}
	select {
	case <-time.After(s.pause):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// note keeps an outcome for the record, for the call's own result, and for the
// calls to come.
func (c *call) note(o outcome, underWay map[int]*attempt) {
	others := slices.Collect(maps.Values(underWay))
	c.learn(o, others)
	host := strings.TrimPrefix(o.endpoint, "https://")
	switch {
	case o.result() == final:
		for _, other := range others {
			if other.slow.Load() {
				c.failures = append(c.failures, strings.TrimPrefix(other.endpoint, "https://")+": slower than "+host)
			}
		}
	case o.err == nil:
		c.answer = o.answer
		c.failures = append(c.failures, fmt.Sprintf("%s: status %d", host, o.answer.Status))
	default:
		c.err = o.err
		c.failures = append(c.failures, host+": "+o.err.Error())
	}
}

// end is the call's result after a final outcome.
func (o outcome) end() (*Answer, error) {
	if fault, ok := errors.AsType[*apierror.Error](o.err); ok {
		return nil, fault
	}
	if o.err != nil {
		return nil, apierror.InvalidResponse(o.err) // too large
	}
	return o.answer, nil
}

// end is the call's result without a final outcome.
func (c *call) end() (*Answer, error) {
	switch {
	case c.answer != nil:
		return c.answer, nil
	case c.err == nil:
		return nil, apierror.Timeout(ErrNoTime)
	case timedOut(c.err):
		return nil, apierror.Timeout(c.err)
	}
	return nil, apierror.Unreachable(c.err)
}
