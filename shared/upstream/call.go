package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/goroutine"
	"membercard/shared/wallclock"
)

// call is one call with its attempts. The rules that it follows are in policy.go.
type call struct {
	client    *Client
	send      func(ctx context.Context, endpoint string) (*Answer, error)
	once      bool     // see [Client.Do]
	endpoints []string // in the order in which this call tries them

	attempts  int      // number of attempts begun
	turns     int      // number of endpoints that had their turn, counted through the rounds
	limited   bool     // WeChat answered 429
	repeated  bool     // an attempt was repeated because its answer was not trusted
	failing   []string // endpoints that answered 5xx or incompletely
	overtaken []string // endpoints that were slower than another one; see [ErrUnderWay]

	answer   *Answer  // the result so far; see [call.note]
	err      error    // the last error, if there is no answer
	failures []string // descriptions of the failed attempts, for the log record
}

func (c *Client) newCall(once bool, send func(context.Context, string) (*Answer, error)) *call {
	now := wallclock.Now()
	// The trial of an endpoint is only made if a hedge can limit its cost.
	trial := !once && c.budget.allows(now)
	return &call{client: c, send: send, once: once, endpoints: c.breakers.order(now, trial)}
}

type attempt struct {
	endpoint string
	hedge    bool // begun because another attempt was slow
	once     bool // see [Client.Do]
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
	if a.slow.Load() {
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
	a.timer.Stop()
}

// try makes an attempt at an endpoint, and hedges while it is slow. It returns the first
// outcome that ends the call. If there is none, it returns the last one, from which the
// retry policy goes on. It returns false if there was no time for an attempt.
func (c *call) try(ctx context.Context, endpoint string) (last outcome, begun bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the attempts that are still under way
	outcomes, slow := make(chan outcome, maxAttempts), make(chan *attempt, maxAttempts)
	underWay := map[*attempt]bool{}
	begin := func(endpoint string, hedge bool) {
		if a := c.begin(ctx, endpoint, hedge, outcomes, slow); a != nil {
			underWay[a] = true
		}
	}
	begin(endpoint, false)
	for len(underWay) > 0 {
		select {
		case a := <-slow:
			if underWay[a] && c.mayHedge(a) {
				begin(c.nextEndpoint(), true)
			}
		case o := <-outcomes:
			last, begun = o, true
			delete(underWay, o.attempt)
			c.note(o, slices.Collect(maps.Keys(underWay)))
			if o.follows().ends {
				return last, begun
			}
			if o.kind == untrusted && len(underWay) > 0 {
				// The further attempt does not wait for a slow one.
				if endpoint, _, again := c.next(o); again {
					begin(endpoint, false)
				}
			}
		}
	}
	return last, begun
}

// begin starts an attempt in its own goroutine, or returns nil if there is no time for
// one.
func (c *call) begin(ctx context.Context, endpoint string, hedge bool, outcomes chan<- outcome, slow chan<- *attempt) *attempt {
	timeout := c.timeout(ctx)
	if timeout < minAttempt {
		return nil
	}
	if hedge {
		c.client.budget.spend(failureCost, wallclock.Now())
	}
	a := &attempt{endpoint: endpoint, hedge: hedge, once: c.once, begun: time.Now()}
	c.attempts++
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, attemptKey{}, a), timeout)
	a.timer = time.AfterFunc(hedgeDelay, func() {
		if a.slow.CompareAndSwap(false, true) {
			slow <- a
		}
	})
	go func() {
		defer cancel()
		goroutine.GrowStack()
		answer, err := c.attempt(ctx, endpoint)
		a.timer.Stop()
		outcomes <- outcome{a, answer, err, classify(a, answer, err)}
	}()
	return a
}

func (c *call) attempt(ctx context.Context, endpoint string) (answer *Answer, err error) {
	defer apierror.Recover(ctx, &err) // a panic in a goroutine would end the process
	return c.send(ctx, endpoint)
}

func (c *call) nextEndpoint() string {
	c.turns++
	return c.endpoints[(c.turns-1)%len(c.endpoints)]
}

func (c *call) roundIsOver() bool { return c.turns%len(c.endpoints) == 0 }

// timeout returns the timeout of the next attempt. It is 3 s, but leaves an equal share
// of the time that is left for each endpoint that has not had its turn in this round.
func (c *call) timeout(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return attemptTimeout
	}
	waiting := (len(c.endpoints) - c.turns%len(c.endpoints)) % len(c.endpoints)
	return min(attemptTimeout, time.Until(deadline)/time.Duration(1+waiting))
}

// note keeps an outcome for the call's result and its log record, and has the client
// learn from it. others are the attempts that are still under way.
func (c *call) note(o outcome, others []*attempt) {
	c.learn(o, others)
	switch {
	case o.follows().ends:
		c.answer, c.err = o.answer, o.err
	case c.limited:
		// The 429 is the result, unless another attempt ends the call.
	case o.kind == limited:
		c.answer, c.limited = o.answer, true
	case o.kind == untrusted:
		c.answer, c.err = nil, o.err
	case o.err == nil:
		c.answer = o.answer
	default:
		c.err = o.err // an answer of another attempt is worth more
	}
	host := strings.TrimPrefix(o.endpoint, "https://")
	switch {
	case o.kind == success:
		for _, other := range others {
			if other.slow.Load() {
				c.failures = append(c.failures, strings.TrimPrefix(other.endpoint, "https://")+": slower than "+host)
			}
		}
	case o.err == nil:
		c.failures = append(c.failures, fmt.Sprintf("%s: status %d", host, o.answer.Status))
	default:
		c.failures = append(c.failures, host+": "+o.err.Error())
	}
}

func (c *call) end() (*Answer, error) {
	fault, isOurs := errors.AsType[*apierror.Error](c.err)
	switch {
	case c.answer != nil:
		return c.answer, nil
	case isOurs:
		return nil, fault
	case c.err == nil:
		return nil, apierror.Timeout(ErrNoTime)
	case errors.Is(c.err, ErrTooLarge):
		return nil, apierror.WrongForm(c.err)
	case timedOut(c.err):
		return nil, apierror.Timeout(c.err)
	}
	return nil, apierror.Unreachable(c.err)
}
