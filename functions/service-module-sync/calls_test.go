package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/plansync"
	"membercard/shared/plansync/plansynctest"
	"membercard/shared/upstream"
)

// begun is a log of when calls and their further attempts begin.
type begun struct {
	mu   sync.Mutex
	at   []time.Duration
	from time.Time
}

func (b *begun) now() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = append(b.at, time.Since(b.from))
}

// 20 calls of four cards at a time, of which each fifth makes a further attempt. However long
// answers take, an attempt begins every 250 ms at the earliest.
func TestTheRateOfCalls(t *testing.T) {
	for answer, last := range map[time.Duration]time.Duration{
		0:                      23 * callInterval,
		100 * time.Millisecond: 23 * callInterval,
		time.Second:            23 * callInterval,
	} {
		t.Run(answer.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &calls{}
				b := &begun{from: time.Now()}
				var cards sync.WaitGroup
				for range 4 {
					cards.Go(func() {
						for i := range 5 {
							err := c.call(t.Context(), func() (*upstream.Answer, error) {
								b.now()
								time.Sleep(answer)
								if i > 0 {
									return nil, nil
								}
								err := c.pace(t.Context())
								b.now()
								return nil, err
							})
							if err != nil {
								t.Error(err)
							}
						}
					})
				}
				cards.Wait()
				for i := range len(b.at) - 1 {
					if gap := b.at[i+1] - b.at[i]; gap < callInterval {
						t.Errorf("%s after another", gap)
					}
				}
				if n := len(b.at); n != 24 || b.at[n-1] > last+2*answer {
					t.Errorf("%d attempts begin at %v", n, b.at)
				}
			})
		})
	}
}

// The first 429 is waited out. A second one, or any other error that every call would get,
// ends the run.
func TestLimitedCalls(t *testing.T) {
	limited := func(after time.Duration) error {
		return &apierror.Error{Status: http.StatusTooManyRequests, Code: "FREQUENCY_LIMITED", RetryAfter: after}
	}
	for _, row := range []struct {
		what    string
		answers []error // of the attempts one after another, then none fails
		at      []time.Duration
		fails   string // code
	}{
		{"never", nil, []time.Duration{0, 250, 500}, ""},
		{"once, without Retry-After", []error{limited(0)}, []time.Duration{0, 1000, 1250, 1500}, ""},
		{"once, for 7 s", []error{nil, limited(7 * time.Second)}, []time.Duration{0, 250, 7250, 7500}, ""},
		{"twice", []error{limited(2 * time.Second), nil, limited(0)}, []time.Duration{0, 2000, 2250}, "FREQUENCY_LIMITED"},
		{"once, for longer than the run has time", []error{limited(time.Minute)}, []time.Duration{0}, "FREQUENCY_LIMITED"},
		{"once, for almost as long as the run has time", []error{limited(58500 * time.Millisecond)}, []time.Duration{0, 58500, 58750}, "UPSTREAM_TIMEOUT"},
		{"a refused signature", []error{apierror.SignatureRefused(nil)}, []time.Duration{0}, "SIGN_ERROR"},
		{"what only one card gets", []error{apierror.FromWeChat(apierror.Answer{Status: 403, Code: "NO_AUTH"})}, []time.Duration{0, 250, 500}, "NO_AUTH"},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := &calls{}
				b := &begun{from: time.Now()}
				var failed []string
				for range 3 {
					err := c.call(ctx, func() (*upstream.Answer, error) {
						b.now()
						if n := len(b.at); n <= len(row.answers) {
							return nil, row.answers[n-1]
						}
						return nil, nil
					})
					if err != nil {
						failed = append(failed, apierror.From(err).Code)
					}
				}
				var want []time.Duration
				for _, ms := range row.at {
					want = append(want, ms*time.Millisecond)
				}
				if !slices.Equal(b.at, want) {
					t.Errorf("attempts begin at %v, want %v", b.at, want)
				}
				// What is not called any more has no time left.
				if got := strings.ReplaceAll(strings.Join(failed, " "), " UPSTREAM_TIMEOUT", ""); got != row.fails {
					t.Errorf("%q fail, want %s", failed, row.fails)
				}
			})
		})
	}
}

// The rate holds for the function and WeChat Pay too, if answers take longer than a second:
// calls are under way at the same time, and hedged.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	const cards = 4
	w, b := startWeChatPay(t), plansynctest.NewBucket(planFor(cards, `"666":null`))
	w.answer = func(string) (int, string) {
		time.Sleep(1200 * time.Millisecond)
		return 0, ""
	}
	f, _ := newFunction(t, w, b.Start(t))
	begun := time.Now()
	a := plansynctest.Invoke(t.Context(), t, f, byHand)
	took := time.Since(begun)
	if n := len(strings.Split(w.received(), ", ")); a.Updated != cards || n <= cards || took < time.Duration(n-1)*callInterval {
		t.Errorf("%d calls in %s; %+v", n, took, a)
	}
}

// A run goes on after a first 429. A second one ends it, and leaves the rest to the next run.
func TestALimitedRun(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		limited                   int // calls
		calls, status, remembered string
	}{
		{1, "DELETE p0/1, DELETE p0/1, DELETE p0/2, DELETE p0/3", plansync.Updated, "p0/1=- p0/2=- p0/3=-"},
		{2, "DELETE p0/1, DELETE p0/1", plansync.Failed, ""},
	} {
		t.Run(fmt.Sprint(row.limited, " times"), func(t *testing.T) {
			t.Parallel()
			w, b := startWeChatPay(t), plansynctest.NewBucket(planOf(`"1":null,"2":null,"3":null`))
			left := row.limited
			w.answer = func(string) (int, string) {
				if left--; left >= 0 {
					return 429, `{"code":"FREQUENCY_LIMITED","message":"频率超过限制"}`
				}
				return 0, ""
			}
			f, _ := newFunction(t, w, b.Start(t))
			a := plansynctest.Invoke(t.Context(), t, f, byHand)
			if got := w.received(); got != row.calls || a.Cards[0].Status != row.status || remembers(t, b.Content(plansync.ServiceModules)) != row.remembered {
				t.Errorf("%s; %+v", got, a)
			}
		})
	}
}
