package upstream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/telemetry"
)

// script is an endpoint that does one thing after the other, and the last one from
// then on. The words are
//
//	200, 400, 429, 500   an answer with that status, after 10 ms
//	429/5                a 429 with Retry-After: 5
//	slow:900, slow500:9  200 after 900 ms, 500 after 9 ms
//	body:900             200 whose first byte comes after 10 ms, and the rest 900 ms later
//	forged               an answer that is not trusted, after 10 ms
//	forged:900           the same after 900 ms
//	hang                 a connection, and then nothing
//	blackhole            no connection, and no error
//	refused              no connection
//	broken               the connection breaks after the request
//	underway             ErrUnderWay, after 10 ms
//	closed               an idle connection turns out to be closed
//	silent               an idle connection is dead, and does not say so
type script []string

// play is what the endpoint does with one attempt. It tells the attempt about its
// connection, as the transport would.
func play(ctx context.Context, word string) (*Answer, error) {
	a := ctx.Value(attemptKey{}).(*attempt)
	answer := func(after time.Duration, status int, header http.Header) (*Answer, error) {
		a.gotConnection(false)
		select {
		case <-time.After(after):
			a.gotFirstByte()
			return &Answer{Status: status, Header: header}, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	wait := func() (*Answer, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	word, value, _ := strings.Cut(word, ":")
	word, retryAfter, _ := strings.Cut(word, "/")
	switch word {
	case "slow", "slow429", "slow500":
		ms, _ := strconv.Atoi(value)
		status, _ := strconv.Atoi(cmp.Or(strings.TrimPrefix(word, "slow"), "200"))
		return answer(time.Duration(ms)*time.Millisecond, status, nil)
	case "forged":
		ms, _ := strconv.Atoi(cmp.Or(value, "10"))
		if _, err := answer(time.Duration(ms)*time.Millisecond, 200, nil); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, apierror.InvalidResponse(io.EOF))
	case "body":
		if _, err := answer(10*time.Millisecond, 200, nil); err != nil {
			return nil, err
		}
		ms, _ := strconv.Atoi(value)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return &Answer{Status: 200}, nil
	case "hang":
		a.gotConnection(false)
		return wait()
	case "silent":
		a.gotConnection(true)
		return wait()
	case "blackhole":
		return wait()
	case "refused":
		return nil, errors.New("connection refused")
	case "broken":
		a.gotConnection(false)
		return nil, errors.New("connection reset by peer")
	case "underway":
		if _, err := answer(10*time.Millisecond, 200, nil); err != nil {
			return nil, err
		}
		return nil, ErrUnderWay
	case "closed":
		a.gotConnection(true)
		return nil, errors.New("EOF")
	}
	status, err := strconv.Atoi(word)
	if err != nil {
		panic(word)
	}
	return answer(10*time.Millisecond, status, http.Header{"Retry-After": {retryAfter}})
}

// scripted is a client for endpoints a, b, … with scripts.
type scripted struct {
	*Client
	mu      sync.Mutex
	scripts map[string]script
	asked   []string // the endpoints of the attempts
}

func newScripted(scripts ...string) *scripted {
	s := &scripted{scripts: map[string]script{}}
	var endpoints []string
	for i, words := range scripts {
		endpoint := string(rune('a' + i))
		endpoints = append(endpoints, endpoint)
		s.scripts[endpoint] = strings.Fields(words)
	}
	s.Client = New(endpoints)
	return s
}

// call makes a call, and says what came of it, and which endpoints were tried.
func (s *scripted) call(ctx context.Context, once bool) (result, asked string) {
	s.asked = nil
	answer, err := s.Do(ctx, once, func(ctx context.Context, endpoint string) (*Answer, error) {
		s.mu.Lock()
		s.asked = append(s.asked, endpoint)
		words := s.scripts[endpoint]
		if len(words) > 1 {
			s.scripts[endpoint] = words[1:]
		}
		s.mu.Unlock()
		return play(ctx, words[0])
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return code(err), strings.Join(s.asked, " ")
	}
	return fmt.Sprint(answer.Status), strings.Join(s.asked, " ")
}

const (
	noAnswer     = "UPSTREAM_TIMEOUT"
	noConnection = "UPSTREAM_UNREACHABLE"
	notTrusted   = "INVALID_RESPONSE"
)

// TestPolicy has a row for each rule: what the endpoints a and b do with the first
// call of an instance, which attempts that leads to, and how long it takes.
func TestPolicy(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, row := range []struct {
		rule     string
		a, b     string
		left     time.Duration // until the deadline; 0: no deadline
		once     bool
		result   string
		attempts string
		min, max time.Duration // how long the call takes
	}{
		// Answers are not tried again.
		{"a success", "200", "200", 0, false, "200", "a", ms(10), ms(10)},
		{"a redirect", "302", "200", 0, false, "302", "a", ms(10), ms(10)},
		{"400", "400", "200", 0, false, "400", "a", ms(10), ms(10)},
		{"401", "401", "200", 0, false, "401", "a", ms(10), ms(10)},
		{"404", "404", "200", 0, false, "404", "a", ms(10), ms(10)},
		{"408", "408", "200", 0, false, "408", "a", ms(10), ms(10)},

		// Failover: the next endpoint at once.
		{"500", "500", "200", 0, false, "200", "a b", ms(20), ms(20)},
		{"503", "503", "200", 0, false, "200", "a b", ms(20), ms(20)},
		{"refused", "refused", "200", 0, false, "200", "a b", ms(10), ms(10)},
		{"broken", "broken", "200", 0, false, "200", "a b", ms(10), ms(10)},
		{"a 4xx ends the call at the next endpoint too", "500", "403", 0, false, "403", "a b", ms(20), ms(20)},

		// Then round again after a backoff, at most 4 attempts.
		{"500 everywhere", "500", "500", 0, false, "500", "a b a b", ms(40), ms(140)},
		{"refused everywhere", "refused", "refused", 0, false, noConnection, "a b a b", 0, ms(100)},
		{"broken everywhere", "broken", "broken", 0, false, noConnection, "a b a b", 0, ms(100)},
		{"the fourth attempt succeeds", "500", "500 200", 0, false, "200", "a b a b", ms(40), ms(140)},
		{"one endpoint", "500", "", 0, false, "500", "a a a a", ms(40), ms(740)},
		{"an answer is worth more than an error", "500", "refused", 0, false, "500", "a b a b", ms(20), ms(120)},

		// 429: passed on at once.
		{"429", "429 200", "200", 0, false, "429", "a", ms(10), ms(10)},
		{"429 with Retry-After", "429/4 200", "200", 0, false, "429", "a", ms(10), ms(10)},
		{"429 after a failover", "500", "429 200", 0, false, "429", "a b", ms(20), ms(20)},
		{"429 of a hedge, and the slow one succeeds", "slow:900", "429", 0, false, "200", "a b", ms(900), ms(900)},
		{"429 of the slow one, and the hedge succeeds", "slow429:900", "slow:500", 0, false, "200", "a b", ms(1300), ms(1300)},
		{"429 of a hedge, and the slow one fails", "slow500:900", "429", 0, false, "429", "a b", ms(900), ms(900)},
		{"429 of a hedge, and the slow one is forged", "forged:900 200", "429", 0, false, "429", "a b", ms(900), ms(900)},
		{"429 of a hedge, and the slow one hangs", "hang", "429", 0, false, "429", "a b", ms(3000), ms(3000)},

		// An answer that is not trusted: once more, at the same endpoint.
		{"forged", "forged 200", "500", 0, false, "200", "a a", ms(20), ms(20)},
		{"forged twice", "forged", "200", 0, false, notTrusted, "a a", ms(20), ms(20)},
		{"forged, then 404", "forged 404", "200", 0, false, "404", "a a", ms(20), ms(20)},
		{"forged, then 429", "forged 429", "200", 0, false, "429", "a a", ms(20), ms(20)},
		{"forged, then 500", "forged 500", "200", 0, false, "200", "a a b", ms(30), ms(30)},
		{"forged, then 500, then forged", "forged 500", "forged", 0, false, notTrusted, "a a b", ms(30), ms(30)},
		{"500, then forged", "500", "forged 200", 0, false, "200", "a b b", ms(30), ms(30)},
		{"500, then forged twice", "500", "forged", 0, false, notTrusted, "a b b", ms(30), ms(30)},
		{"forged as the fourth", "500", "500 forged 200", 0, false, notTrusted, "a b a b", ms(40), ms(140)},
		{"forged, at the only endpoint", "forged 200", "", 0, false, "200", "a a", ms(20), ms(20)},
		{"forged does not beat a good answer", "slow:900", "forged", 0, false, "200", "a b b", ms(900), ms(900)},
		{"a forged hedge does not wait for the slow one", "hang", "forged 200", 0, false, "200", "a b b", ms(820), ms(820)},
		{"a forged slow one does not wait for the hedge", "forged:900 200", "hang", 0, false, "200", "a b a", ms(910), ms(910)},
		{"forged, and the further attempt is slow, which is hedged", "forged slow:2000", "200", 0, false, "200", "a a b", ms(820), ms(820)},
		{"forged, and no time for another attempt", "forged:60 200", "", ms(100), false, notTrusted, "a", ms(60), ms(60)},

		// A slow first byte is hedged.
		{"fast enough", "slow:799", "200", 0, false, "200", "a", ms(799), ms(799)},
		{"slow, and the hedge is first", "slow:900", "200", 0, false, "200", "a b", ms(810), ms(810)},
		{"slow, and the hedge is slower", "slow:900", "slow:500", 0, false, "200", "a b", ms(900), ms(900)},
		{"slow, and the hedge is refused", "slow:900", "refused", 0, false, "200", "a b", ms(900), ms(900)},
		{"slow, and the hedge answers 500", "slow:900", "500", 0, false, "200", "a b", ms(900), ms(900)},
		{"a fast first byte, and the rest is slow", "body:900", "200", 0, false, "200", "a", ms(910), ms(910)},
		{"hangs", "hang", "200", 0, false, "200", "a b", ms(810), ms(810)},
		{"hangs without a connection", "blackhole", "200", 0, false, "200", "a b", ms(810), ms(810)},
		{"an idle connection is silent", "silent", "200", 0, false, "200", "a b", ms(510), ms(510)},
		{"an idle connection to the only endpoint is silent", "silent 200", "", 0, false, "200", "a a", ms(510), ms(510)},
		{"the only endpoint is slow", "slow:900", "", 0, false, "200", "a", ms(900), ms(900)},

		// Timeouts: 3 s an attempt, and a deadline is shared.
		{"all hang", "hang", "hang", 0, false, noAnswer, "a b a b", ms(7600), ms(7700)},
		{"all hang, with a deadline", "hang", "hang", ms(5000), false, noAnswer, "a b a b", ms(4900), ms(5000)},
		{"the only endpoint hangs", "hang", "", ms(1000), false, noAnswer, "a", ms(1000), ms(1000)},
		{"no time", "200", "200", minAttempt / 2, false, noAnswer, "", 0, 0},
		{"no time for a third attempt, so no pause before it", "slow500:45", "slow500:45", ms(120), false, "500", "a b", ms(90), ms(90)},

		// An idle connection that was closed says nothing about its endpoint.
		{"closed", "closed 200", "200", 0, false, "200", "a a", ms(10), ms(10)},
		{"closed, then 500", "closed 500", "200", 0, false, "200", "a a b", ms(20), ms(20)},

		// Once: again only where the request was not read, and no hedge.
		{"once, a success", "200", "200", 0, true, "200", "a", ms(10), ms(10)},
		{"once, refused", "refused", "200", 0, true, "200", "a b", ms(10), ms(10)},
		{"once, refused everywhere", "refused", "refused", 0, true, noConnection, "a b a b", 0, ms(100)},
		{"once, no connection", "blackhole", "200", 0, true, "200", "a b", ms(3010), ms(3010)},
		{"once, no connection, and the other endpoint gets its share of the time", "blackhole", "200", ms(2000), true, "200", "a b", ms(1010), ms(1010)},
		{"once, broken", "broken", "200", 0, true, noConnection, "a", 0, 0},
		{"once, hangs", "hang", "200", 0, true, noAnswer, "a", ms(3000), ms(3000)},
		{"once, slow", "slow:2000", "200", 0, true, "200", "a", ms(2000), ms(2000)},
		{"once, 500", "500", "200", 0, true, "500", "a", ms(10), ms(10)},
		{"once, 429", "429", "200", 0, true, "429", "a", ms(10), ms(10)},
		{"once, forged", "forged 200", "200", 0, true, notTrusted, "a", ms(10), ms(10)},
		{"once, refused and then forged", "refused", "forged 200", 0, true, notTrusted, "a b", ms(10), ms(10)},
		{"once, refused and then 500", "refused", "500", 0, true, "500", "a b", ms(10), ms(10)},
	} {
		t.Run(row.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted(row.a, row.b)
				if row.b == "" {
					s = newScripted(row.a)
				}
				ctx := t.Context()
				if row.left > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, row.left)
					defer cancel()
				}
				begun := time.Now()
				result, attempts := s.call(ctx, row.once)
				took := time.Since(begun)
				if result != row.result || attempts != row.attempts {
					t.Errorf("%s after attempts at %q, want %s after %q", result, attempts, row.result, row.attempts)
				}
				if took < row.min || took > row.max {
					t.Errorf("took %v, want %v to %v", took, row.min, row.max)
				}
			})
		})
	}
}

// TestEndpointsAreRemembered has calls one after the other, and how long each one
// takes. The clock is the bubble's.
func TestEndpointsAreRemembered(t *testing.T) {
	type call struct {
		pause    time.Duration // before the call
		once     bool
		attempts string
		took     time.Duration
	}
	const fast, hedged = 10 * time.Millisecond, 810 * time.Millisecond
	for _, row := range []struct {
		what  string
		a, b  string
		calls []call
	}{
		{"one that hangs costs the first call a hedge, and each further 30 s one call", "hang", "200", []call{
			{0, false, "a b", hedged}, {0, false, "b", fast}, {29 * time.Second, false, "b", fast},
			{time.Second, false, "a b", hedged}, {0, false, "b", fast}, {20 * time.Second, false, "b", fast},
		}},
		{"one that can't be connected to, likewise", "blackhole", "200", []call{
			{0, false, "a b", hedged}, {0, false, "b", fast}, {30 * time.Second, false, "a b", hedged}, {0, false, "b", fast},
		}},
		{"one that is refused", "refused", "200", []call{
			{0, false, "a b", fast}, {0, false, "b", fast}, {30 * time.Second, false, "a b", fast}, {0, false, "b", fast},
		}},
		{"one that took longer than it took another to say that it is under way", "slow:2000", "underway 200", []call{
			{0, false, "a b", 2 * time.Second}, {0, false, "b", fast}, {30 * time.Second, false, "a b", hedged}, {0, false, "b", fast},
		}},
		{"to say so without another attempt is a failure like others", "slow:900 slow:900 slow:900 200", "underway", []call{
			{0, false, "a b", 900 * time.Millisecond}, {0, false, "b a", 910 * time.Millisecond},
		}},
		{"one whose connection is silent", "silent", "200", []call{
			{0, false, "a b", 510 * time.Millisecond}, {0, false, "b", fast},
		}},
		{"one that answers 500 in three calls in a row while the other answers", "500", "200", []call{
			{0, false, "a b", 2 * fast}, {0, false, "a b", 2 * fast}, {0, false, "a b", 2 * fast}, {0, false, "b", fast},
			{30 * time.Second, false, "a b", 2 * fast}, {0, false, "b", fast},
		}},
		{"one that answers 500 to two of three calls", "500 500 200 500", "200", []call{
			{0, false, "a b", 2 * fast}, {0, false, "a b", 2 * fast}, {0, false, "a", fast},
			{0, false, "a b", 2 * fast}, {0, false, "b", fast},
		}},
		{"one that breaks every other connection", "broken 200 broken 200 broken", "200", []call{
			{0, false, "a b", fast}, {0, false, "a", fast}, {0, false, "a b", fast}, {0, false, "a", fast},
			{0, false, "a b", fast}, {0, false, "b", fast},
		}},
		{"that answers once is back, and behind again after its next failure", "500 500 500 200 500", "200", []call{
			{0, false, "a b", 2 * fast}, {0, false, "a b", 2 * fast}, {0, false, "a b", 2 * fast}, {0, false, "b", fast},
			{30 * time.Second, false, "a", fast}, {0, false, "a b", 2 * fast}, {0, false, "b", fast},
		}},
		{"500 to a quarter of the calls is no reason", "500 200 200 200 500 200 200 200 500 200", "200", []call{
			{0, false, "a b", 2 * fast}, {0, false, "a", fast}, {0, false, "a", fast}, {0, false, "a", fast},
			{0, false, "a b", 2 * fast}, {0, false, "a", fast}, {0, false, "a", fast}, {0, false, "a", fast},
			{0, false, "a b", 2 * fast}, {0, false, "a", fast},
		}},
		{"500 everywhere is no reason", "500", "500", []call{
			{0, false, "a b a b", -1}, {0, false, "a", fast}, {0, false, "a", fast}, {0, false, "a", fast},
		}},
		{"one that answers again is preferred again", "hang 200", "200", []call{
			{0, false, "a b", hedged}, {0, false, "b", fast}, {30 * time.Second, false, "a", fast}, {0, false, "a", fast},
		}},
		{"a closed connection is no failure", "closed 200", "200", []call{
			{0, false, "a a", fast}, {0, false, "a", fast},
		}},
		{"nor if its endpoint fails then", "closed 500 200", "200", []call{
			{0, false, "a a b", 2 * fast}, {0, false, "a", fast},
		}},
		{"429 is no failure", "429 429 429 429 200", "200", []call{
			{0, false, "a", fast}, {0, false, "a", fast}, {0, false, "a", fast}, {0, false, "a", fast}, {0, false, "a", fast},
		}},
		{"and does not bring an endpoint back", "hang 429 500", "200", []call{
			{0, false, "a b", hedged}, {30 * time.Second, false, "a", fast}, {0, false, "b", fast},
		}},
		{"a forged answer is no failure", "forged 200 forged 200 forged 200", "200", []call{
			{0, false, "a a", 2 * fast}, {0, false, "a a", 2 * fast}, {0, false, "a a", 2 * fast}, {0, false, "a", fast},
		}},
		{"and does not bring an endpoint back", "hang forged forged 500", "200", []call{
			{0, false, "a b", hedged}, {30 * time.Second, false, "a a", 2 * fast}, {0, false, "b", fast},
		}},
		{"what must not be done twice makes no trial", "hang", "200", []call{
			{0, false, "a b", hedged}, {30 * time.Second, true, "b", fast}, {0, false, "a b", hedged},
		}},
		{"if both are behind, the order is that of preference", "refused refused 200", "refused refused 500", []call{
			{0, false, "a b a b", -1}, {0, false, "a", fast},
		}},
		{"while one is behind, the other failing is still failed over", "refused 200", "200 500", []call{
			{0, false, "a b", fast}, {0, false, "b a", 2 * fast}, {0, false, "a", fast},
		}},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted(row.a, row.b)
				for i, c := range row.calls {
					time.Sleep(c.pause)
					begun := time.Now()
					_, attempts := s.call(t.Context(), c.once)
					if took := time.Since(begun); attempts != c.attempts || took != c.took && c.took >= 0 {
						t.Errorf("call %d: attempts at %q in %v, want %q in %v", i+1, attempts, took, c.attempts, c.took)
					}
				}
			})
		})
	}
}

// TestOneTrialAtATime: of several calls at the same time one tries the endpoint
// that hung.
func TestOneTrialAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted("hang", "200")
		s.call(t.Context(), false)
		time.Sleep(openTime)
		var all sync.WaitGroup
		slow := 0
		for range 5 {
			all.Go(func() {
				begun := time.Now()
				_, err := s.Do(t.Context(), false, func(ctx context.Context, endpoint string) (*Answer, error) {
					return play(ctx, map[string]string{"a": "hang", "b": "200"}[endpoint])
				})
				if err != nil {
					t.Error(err)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if time.Since(begun) >= hedgeDelay {
					slow++
				}
			})
		}
		all.Wait()
		if slow != 1 {
			t.Errorf("%d calls tried it, want 1", slow)
		}
	})
}

// TestWithoutBudgetThereIsNoTrial: without a hedge it would cost 3 s.
func TestWithoutBudgetThereIsNoTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted("hang", "200")
		s.call(t.Context(), false)
		time.Sleep(openTime)
		for range 6 {
			s.budget.spend(failureCost, time.Now())
		}
		if _, attempts := s.call(t.Context(), false); attempts != "b" {
			t.Errorf("attempts at %q", attempts)
		}
	})
}

// TestThreeEndpointsThatHang: each one is hedged at the next.
func TestThreeEndpointsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted("hang", "blackhole", "hang", "200")
		begun := time.Now()
		if result, attempts := s.call(t.Context(), false); result != "200" || attempts != "a b c d" {
			t.Errorf("%s after %q", result, attempts)
		}
		if took := time.Since(begun); took != 3*hedgeDelay+10*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if _, attempts := s.call(t.Context(), false); attempts != "d" {
			t.Errorf("then attempts at %q", attempts)
		}
	})
}

// TestTheLoserIsCancelled as soon as there is an answer.
func TestTheLoserIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled := make(chan time.Time, 1)
		begun := time.Now()
		_, err := New([]string{"a", "b"}).Do(t.Context(), false, func(ctx context.Context, endpoint string) (*Answer, error) {
			if endpoint == "b" {
				return play(ctx, "200")
			}
			answer, err := play(ctx, "hang")
			cancelled <- time.Now()
			return answer, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if took := (<-cancelled).Sub(begun); took != 810*time.Millisecond {
			t.Errorf("cancelled after %v", took)
		}
	})
}

func TestACancelledCallIsNoFailureOfTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted("blackhole", "200")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if result, attempts := s.call(ctx, false); result == "200" || attempts != "a" {
			t.Errorf("%s after %q", result, attempts)
		}
		if s.budget.tokens != fullBucket || len(s.breakers.openUntil) != 0 {
			t.Errorf("%d tokens are left, %v are behind", s.budget.tokens, s.breakers.openUntil)
		}
	})
}

func TestAnErrorOfTheCallerEndsTheCall(t *testing.T) {
	want := apierror.Config(errors.New("none"))
	for _, given := range []error{want, fmt.Errorf("wrapped: %w", want)} {
		attempts := 0
		answer, err := New([]string{"a", "b"}).Do(t.Context(), false, func(context.Context, string) (*Answer, error) {
			attempts++
			return nil, given
		})
		if got, _ := errors.AsType[*apierror.Error](err); answer != nil || got != want || attempts != 1 {
			t.Errorf("%+v, %v after %d attempts", answer, err, attempts)
		}
	}
}

// A panic in an attempt is an error of the call, not the end of the process.
func TestAPanicInAnAttempt(t *testing.T) {
	var out bytes.Buffer
	ctx, record := telemetry.New(&out, "MemberCard", "test").Begin(t.Context(), "")
	_, err := New([]string{"a"}).Do(ctx, false, func(context.Context, string) (*Answer, error) { panic("at the disco") })
	record.End(ctx, slog.LevelError, "ended", "SYSTEM_ERROR")
	if code(err) != "SYSTEM_ERROR" || strings.Contains(err.Error()+out.String(), "disco") || !strings.Contains(out.String(), "TestAPanicInAnAttempt") {
		t.Errorf("%v, logged %s", err, out.String())
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock stands still at whole seconds
		date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
		for _, row := range []struct {
			header string
			want   time.Duration
		}{
			{"7", 7 * time.Second}, {"0", 0}, {"", 0}, {"-1", 0}, {"soon", 0}, {"1.5", 0},
			{"3600", time.Hour}, {"99999999", time.Hour}, {"99999999999999999999", 0},
			{date(90 * time.Second), 90 * time.Second}, {date(-time.Hour), 0}, {date(48 * time.Hour), time.Hour},
		} {
			if got := (&Answer{Header: http.Header{"Retry-After": {row.header}}}).RetryAfter(); got != row.want {
				t.Errorf("%q: %v, want %v", row.header, got, row.want)
			}
		}
	})
}

// TestAFailingEndpointDoesNotUseUpTheBudget: the other one serves all calls.
func TestAFailingEndpointDoesNotUseUpTheBudget(t *testing.T) {
	for _, fault := range []string{"500", "broken", "refused", "hang", "blackhole"} {
		for _, pause := range []time.Duration{0, time.Second, 31 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted(fault, "200")
				for n := range 100 {
					if result, attempts := s.call(t.Context(), false); result != "200" {
						t.Fatalf("%s, call %d, one in %v: %s after %q", fault, n+1, pause, result, attempts)
					}
					time.Sleep(pause)
				}
			})
		}
	}
}

// TestAHedgeThatIsSlowerIsNoFailure of its endpoint: it had less time.
func TestAHedgeThatIsSlowerIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted("slow:900", "slow:500")
		if _, attempts := s.call(t.Context(), false); attempts != "a b" || len(s.breakers.openUntil) != 0 {
			t.Errorf("attempts at %q, %v are behind", attempts, s.breakers.openUntil)
		}
	})
}

// TestWrongAnswersAreNotSeen: of a hundred calls with a random tenth of the answers wrong,
// those fail that got two wrong ones in a row.
func TestWrongAnswersAreNotSeen(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			s := newScripted("", "200")
			for n := range 100 {
				wrong, again := random.IntN(10) == 0, random.IntN(10) == 0
				s.scripts["a"] = script{map[bool]string{true: "forged", false: "200"}[wrong], map[bool]string{true: "forged", false: "200"}[again]}
				result, attempts := s.call(t.Context(), false)
				if (result == notTrusted) != (wrong && again) || (attempts == "a a") != wrong {
					t.Errorf("seed %d, call %d: %s after %q with %d tokens", seed, n+1, result, attempts, s.budget.tokens)
				}
			}
		})
	}
}

// TestA429CostsNothing: the next endpoint that fails is still failed over.
func TestA429CostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted("429", "200")
		for range 20 {
			s.call(t.Context(), false)
		}
		s.scripts["a"] = script{"500"}
		if result, attempts := s.call(t.Context(), false); result != "200" || attempts != "a b" {
			t.Errorf("%s after %q", result, attempts)
		}
	})
}

// TestA429SaysNothingAboutTheEndpoint: it still comes first after hedges that succeeded.
func TestA429SaysNothingAboutTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted("slow429:900", "slow:500")
		for range 20 {
			if _, attempts := s.call(t.Context(), false); !strings.HasPrefix(attempts, "a") {
				t.Fatalf("attempts: %q", attempts)
			}
		}
	})
}
