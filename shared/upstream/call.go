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

// call is one call with its attempts. The rules that it follows are in policy.go.
type call struct {
	client    *Client
	send      func(ctx context.Context, endpoint string) (*Answer, error)
	once      bool     // see [Once]
	endpoints []string // in the order in which this call tries them

	attempts  int      // number of attempts begun
	turn      int      // turn of the next attempt; see [call.endpoint]
	limited   bool     // WeChat answered 429
	failing   []string // endpoints that answered 5xx or incompletely
	overtaken []string // endpoints that were slower than another one; see [ErrUnderWay]

	answer   *Answer  // the last 429 or 5xx
	err      error    // the last error
	failures []string // descriptions of the failed attempts, for the log record
}

func (c *Client) newCall(send func(context.Context, string) (*Answer, error), options []Option) *call {
	once, now := slices.Contains(options, Once), wallclock.Now()
	// The trial of an endpoint is only made if a hedge can limit its cost.
	trial := !once && c.budget.allows(now)
	return &call{client: c, send: send, once: once, endpoints: c.breakers.order(now, trial)}
}

// attempt is the state of one attempt.
type attempt struct {
	endpoint string
	turn     int  // see [call.endpoint]
	hedge    bool // begun while another attempt was under way
	once     bool // see [Once]
	begun    time.Time
	timer    *time.Timer // expires when the first byte is late

	connected atomic.Bool // there is a connection, and its TLS handshake is done
	wasIdle   atomic.Bool // the connection was idle before, and may have died in a freeze
	answering atomic.Bool // the first byte has arrived
	slow      atomic.Bool // the first byte was late
}

type attemptKey struct{}

// gotConnection records that the attempt has a connection, and starts to wait for the
// first byte. It is called again if net/http can't write to the connection and replaces
// it.
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

// try makes an attempt, and hedges while it is slow. It returns the first final outcome.
// If there is none, it returns a failure for the retry policy: a 429 if there was one,
// else the last failure. It returns false if there was no time for an attempt.
func (c *call) try(ctx context.Context) (failure outcome, begun bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the attempts that are still under way
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

// attempt sends the request.
func (c *call) attempt(ctx context.Context, endpoint string) (answer *Answer, err error) {
	defer apierror.Recover(ctx, &err) // a panic in a goroutine would end the process
	answer, err = c.send(ctx, endpoint)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, whose query may contain a token
	}
	return answer, err
}

// endpoint returns the endpoint of the next attempt. Turns count the endpoints from 0
// and go on counting through the rounds.
func (c *call) endpoint() string { return c.endpoints[c.turn%len(c.endpoints)] }

// roundIsOver reports whether each endpoint has had its turn in the current round.
func (c *call) roundIsOver() bool { return c.turn%len(c.endpoints) == 0 }

// timeout returns the timeout of the next attempt. It is 3 s, but at most an equal
// share of the time that is left for each endpoint that has not had its turn in this
// round.
func (c *call) timeout(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return attemptTimeout
	}
	waiting := len(c.endpoints) - c.turn%len(c.endpoints)
	return min(attemptTimeout, time.Until(deadline)/time.Duration(waiting))
}

// wait pauses before the next attempt. If that leaves no time for one, it returns
// false at once.
func wait(ctx context.Context, pause time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause+minAttempt {
		return false
	}
	select {
	case <-time.After(pause):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// note keeps an outcome for the call's result and its log record, and has the client
// learn from it.
func (c *call) note(o outcome, underWay map[int]*attempt) {
	others := slices.Collect(maps.Values(underWay))
	c.learn(o, others)
	host := hostOf(o.endpoint)
	switch {
	case o.result() == final:
		for _, other := range others {
			if other.slow.Load() {
				c.failures = append(c.failures, hostOf(other.endpoint)+": slower than "+host)
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

func hostOf(endpoint string) string { return strings.TrimPrefix(endpoint, "https://") }

// end returns the call's result after a final outcome.
func (o outcome) end() (*Answer, error) {
	if fault, ok := errors.AsType[*apierror.Error](o.err); ok {
		return nil, fault
	}
	if o.err != nil {
		return nil, apierror.InvalidResponse(o.err) // errTooLarge
	}
	return o.answer, nil
}

// end returns the call's result if no outcome was final.
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
