// Package upstream makes calls to WeChat survive what networks do: every
// operation has two or more endpoints, each attempt its own time, and what
// fails in passing is tried elsewhere and again.
//
// It knows nothing of signatures or of what an answer means.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/telemetry"
)

const (
	maxAttempts    = 4
	attemptTimeout = 3 * time.Second
	// minAttempt is the least time for which an attempt is worth its while.
	minAttempt = 50 * time.Millisecond
	// firstPause is the longest pause after the first round; it doubles.
	firstPause = 100 * time.Millisecond
)

// ErrNoTime is the cause where nothing was sent, for want of time.
var ErrNoTime = errors.New("no time was left to call WeChat")

// Answer is a whole answer of WeChat, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 1 MiB, unpacked
}

// RequestID is what WeChat's support asks for. It goes into answers and logs, so
// what does not look like one is left out.
func (a *Answer) RequestID() string {
	id := a.Header.Get("Request-ID")
	if len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return ""
	}
	return id
}

// Failed is a failure that this answer is the reason for, with its Request-ID.
func (a *Answer) Failed(e *apierror.Error) error {
	e.RequestID = a.RequestID()
	return e
}

// Invalid is the failure for an answer that can't be used.
func (a *Answer) Invalid(cause error) error { return a.Failed(apierror.InvalidResponse(cause)) }

// Client calls a list of endpoints.
type Client struct {
	endpoints []string
	transport *transport
}

// New returns a Client for endpoints, which are base URLs in order of
// preference; see [Endpoints].
func New(endpoints []string) *Client {
	return &Client{endpoints: endpoints, transport: newTransport()}
}

// Endpoints reads a comma-separated list of base URLs, as the environment has
// it. They are https only, as nothing may be sent in the clear.
func Endpoints(list string) ([]string, error) {
	var endpoints []string
	for entry := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(entry))
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("%q is not a base URL like https://api.mch.weixin.qq.com", entry)
		}
		endpoints = append(endpoints, "https://"+u.Host)
	}
	return endpoints, nil
}

// Open opens a connection to the preferred endpoint for the first request to
// come, and returns when it is there or can't be had.
func (c *Client) Open(ctx context.Context) { c.transport.open(ctx, c.endpoints[0]) }

// HTTP makes single attempts. It follows no redirect, reads whole answers only
// and none over 1 MiB.
func (c *Client) HTTP() *http.Client {
	return &http.Client{Transport: c.transport}
}

// Do has attempt called with one endpoint after the other until it gives an
// answer worth having, for up to 4 attempts in the time that ctx leaves. What
// goes on to the next endpoint are errors of [Client.HTTP] and the statuses 429
// and 5xx; of any other error attempt makes a [apierror.Error], which ends the
// call. After a round through the endpoints it pauses, with exponential backoff
// and full jitter. attempt may be called again while a call of it is under way,
// on a connection that seems dead: the first answer counts.
//
// Where no attempt gave an answer, the error is a [apierror.Error]: timeout or
// unreachable. Where the last answers are 429 or 5xx, the last is returned.
func (c *Client) Do(ctx context.Context, attempt func(ctx context.Context, endpoint string) (*Answer, error)) (*Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of attempts that are still under way
	r := run{client: c, attempt: attempt, outcomes: make(chan outcome, maxAttempts), doubts: make(chan struct{}, maxAttempts)}
	defer func() { telemetry.Called(ctx, r.attempts, r.failed) }()
	for r.underWay > 0 || r.pause(ctx) && r.begin(ctx) {
		select {
		case <-r.doubts:
			r.begin(ctx)
		case o := <-r.outcomes:
			if answer, err, done := r.judge(o); done {
				return answer, err
			}
		}
	}
	switch {
	case r.answered != nil:
		return r.answered, nil
	case r.last == nil:
		return nil, apierror.Timeout(ErrNoTime)
	case timedOut(r.last):
		return nil, apierror.Timeout(r.last)
	}
	return nil, apierror.Unreachable(r.last)
}

// run is one call with its attempts.
type run struct {
	client   *Client
	attempt  func(context.Context, string) (*Answer, error)
	outcomes chan outcome
	doubts   chan struct{} // an attempt's connection seems dead

	attempts int
	underWay int
	turn     int // which endpoint's it is, counted on through the rounds

	answered *Answer  // the last 429 or 5xx
	last     error    // of the last attempt without an answer
	failed   []string // what became of the attempts, for the record
}

// outcome is what came of one attempt.
type outcome struct {
	turn     int
	endpoint string
	answer   *Answer
	err      error
}

// pause waits between two rounds, unless that would leave no time for an attempt.
func (r *run) pause(ctx context.Context) bool {
	round := r.turn / len(r.client.endpoints)
	if round == 0 || r.turn%len(r.client.endpoints) != 0 || r.attempts == maxAttempts {
		return true
	}
	d := rand.N(firstPause << (round - 1))
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d+minAttempt {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// begin starts the next attempt, in its own time, if there may be one.
func (r *run) begin(ctx context.Context) bool {
	timeout, enough := r.client.share(ctx, r.turn)
	if r.attempts == maxAttempts || !enough {
		return false
	}
	o := outcome{turn: r.turn, endpoint: r.client.endpoints[r.turn%len(r.client.endpoints)]}
	r.attempts++
	r.underWay++
	r.turn++
	ctx = context.WithValue(ctx, doubtKey{}, func() { r.doubts <- struct{}{} })
	ctx, cancel := context.WithTimeout(ctx, timeout)
	go func() {
		defer cancel()
		o.answer, o.err = r.try(ctx, o.endpoint)
		if wrapped, ok := errors.AsType[*url.Error](o.err); ok {
			o.err = wrapped.Err // without the URL: a query string may hold a token
		}
		r.outcomes <- o
	}()
	return true
}

// try makes an attempt. It has a goroutine of its own, where a panic would end the
// process.
func (r *run) try(ctx context.Context, endpoint string) (answer *Answer, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = apierror.FromPanic(value)
		}
	}()
	return r.attempt(ctx, endpoint)
}

// judge says whether an outcome is that of the call, and notes it if not.
func (r *run) judge(o outcome) (answer *Answer, err error, done bool) {
	r.underWay--
	fault, final := errors.AsType[*apierror.Error](o.err)
	switch {
	case final:
		return nil, fault, true
	case errors.Is(o.err, errTooLarge):
		return nil, apierror.InvalidResponse(o.err), true
	case o.err == nil && o.answer.Status != http.StatusTooManyRequests && o.answer.Status < http.StatusInternalServerError:
		return o.answer, nil, true
	case o.err == nil:
		r.answered = o.answer
		r.failed = append(r.failed, fmt.Sprintf("%s: status %d", host(o.endpoint), o.answer.Status))
		return nil, nil, false
	}
	r.last = o.err
	r.failed = append(r.failed, host(o.endpoint)+": "+o.err.Error())
	if diedUnseen(o.err) && r.underWay == 0 {
		r.turn = o.turn // the same endpoint once more
	}
	return nil, nil, false
}

// share is the time for the attempt at hand: what is left is shared with the
// endpoints that have not had their turn in this round, so that one that hangs
// leaves time for the others.
func (c *Client) share(ctx context.Context, turn int) (timeout time.Duration, enough bool) {
	timeout = attemptTimeout
	if deadline, ok := ctx.Deadline(); ok {
		owed := len(c.endpoints) - turn%len(c.endpoints)
		timeout = min(timeout, time.Until(deadline)/time.Duration(owed))
	}
	return timeout, timeout >= minAttempt
}

// diedUnseen says whether an attempt broke on a connection from before: that
// says nothing of the endpoint. A timeout is not among this: it has cost time
// already, and the next endpoint is the surer way.
func diedUnseen(err error) bool {
	broken, ok := errors.AsType[*brokenError](err)
	return ok && broken.kept && !timedOut(err)
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func host(endpoint string) string { return strings.TrimPrefix(endpoint, "https://") }
