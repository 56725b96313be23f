package upstream

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Endpoints parses a comma-separated list of base URLs, such as the value of
// WECHATPAY_ENDPOINTS. Every URL must be https and have no path, query or user.
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
	// openTime is how long a breaker stays open, by the wall clock.
	openTime = 30 * time.Second

	// A call that fails at an endpoint and succeeds at another adds failurePenalty
	// to the endpoint's penalty. An answer takes answerCredit off. At maxPenalty the
	// breaker opens. So it opens for an endpoint that fails more than a quarter of
	// its calls in the long run, and after three failures with up to two answers
	// between them. The retry budget lasts for 5 such calls in a row.
	failurePenalty = 3
	answerCredit   = 1
	maxPenalty     = 7
)

// breakers has a circuit breaker for each endpoint. An open breaker does not refuse
// calls. It only puts its endpoint behind the others.
type breakers struct {
	preferred []string // all endpoints, in order of preference

	mu        sync.Mutex
	openUntil map[string]time.Time // of the open breakers
	penalties map[string]int       // 0 to maxPenalty
}

func newBreakers(endpoints []string) *breakers {
	return &breakers{preferred: endpoints, openUntil: map[string]time.Time{}, penalties: map[string]int{}}
}

// order returns the endpoints in the order in which a call tries them. With trial, an
// endpoint whose breaker has been open for 30 s gets its preferred place in this one
// call (half-open). It stays behind for other calls until it answers.
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

func (b *breakers) trip(endpoint string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.openUntil[endpoint] = now.Add(openTime)
}

// failedOver counts a call that failed at an endpoint, with a 5xx or an incomplete
// answer, and succeeded at another. If that happens too often, the endpoint's breaker
// opens.
func (b *breakers) failedOver(endpoint string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.penalties[endpoint] = min(b.penalties[endpoint]+failurePenalty, maxPenalty)
	if b.penalties[endpoint] == maxPenalty {
		b.openUntil[endpoint] = now.Add(openTime)
	}
}

func (b *breakers) answered(endpoint string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.openUntil, endpoint)
	b.penalties[endpoint] = max(b.penalties[endpoint]-answerCredit, 0)
}
