package upstream

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

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

const (
	// openTime is how long an endpoint stays behind the others, by the wall clock.
	openTime = 30 * time.Second

	// A call that fails at an endpoint and succeeds at another counts as much as
	// three answers: an endpoint that fails more than a quarter of its calls goes
	// behind in the long run. Three failures suffice with up to two answers between
	// them. The budget pays for 5 such calls.
	failureWeight = 3
	answerWeight  = 1
	maxWorse      = 7
)

// breakers are circuit breakers, one for each endpoint. An open one does not refuse
// calls; its endpoint only goes behind the others.
type breakers struct {
	preferred []string // all endpoints, in order of preference

	mu        sync.Mutex
	openUntil map[string]time.Time // the endpoints that are behind
	worse     map[string]int       // how much worse than another one, up to maxWorse
}

func newBreakers(endpoints []string) *breakers {
	return &breakers{preferred: endpoints, openUntil: map[string]time.Time{}, worse: map[string]int{}}
}

// order returns the endpoints in the order in which a call tries them. With trial,
// an endpoint that has been behind for 30 s is back in its place for this one call
// (half-open). It stays behind for the other calls until it answers.
func (b *breakers) order(now time.Time, trial bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ahead, behind []string
	for _, endpoint := range b.preferred {
		until, open := b.openUntil[endpoint]
		switch {
		case !open:
			ahead = append(ahead, endpoint)
		case trial && !now.Before(until):
			b.openUntil[endpoint] = now.Add(openTime)
			ahead = append(ahead, endpoint)
		default:
			behind = append(behind, endpoint)
		}
	}
	return append(ahead, behind...)
}

// unavailable puts an endpoint behind the others, because it hung or could not be
// reached.
func (b *breakers) unavailable(endpoint string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.openUntil[endpoint] = now.Add(openTime)
}

// outdone counts a call that failed at an endpoint, with a 5xx or an incomplete
// answer, and succeeded at another. That puts the endpoint behind the others if it
// happens too often.
func (b *breakers) outdone(endpoint string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.worse[endpoint] = min(b.worse[endpoint]+failureWeight, maxWorse)
	if b.worse[endpoint] == maxWorse {
		b.openUntil[endpoint] = now.Add(openTime)
	}
}

// answered puts an endpoint back in its place.
func (b *breakers) answered(endpoint string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.openUntil, endpoint)
	b.worse[endpoint] = max(b.worse[endpoint]-answerWeight, 0)
}
