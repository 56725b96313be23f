package main

import (
	"container/heap"
	"math/rand/v2"
)

// The samples' backoff after a 429 from API Gateway: a page makes at most this many
// attempts, and the n-th pause is firstPause·2^(n−1) plus up to as much jitter.
const (
	attempts   = 3
	firstPause = 1.0 // s
)

// A moment is what has happened up to a second of the campaign.
type moment struct {
	second                          int
	arrived, served, refused, ended int // refused counts 429s, ended users whose page gave up
}

// visit is a request of a user.
type visit struct {
	at      float64 // s
	attempt int
}

// visits is a heap by time.
type visits []visit

func (v visits) Len() int           { return len(v) }
func (v visits) Less(i, j int) bool { return v[i].at < v[j].at }
func (v visits) Swap(i, j int)      { v[i], v[j] = v[j], v[i] }
func (v *visits) Push(x any)        { *v = append(*v, x.(visit)) }
func (v *visits) Pop() any {
	last := (*v)[len(*v)-1]
	*v = (*v)[:len(*v)-1]
	return last
}

// burst simulates the campaign: users arrive evenly, API Gateway lets tokenRate requests
// per second through (with a token bucket of the same size), and pages retry as the samples
// do. The result is deterministic.
func burst(seconds []int) []moment {
	random := rand.New(rand.NewPCG(1, 2))
	var pending visits
	for i := range users {
		heap.Push(&pending, visit{at: float64(i) * campaign / users, attempt: 1})
	}
	tokens, filled := float64(tokenRate), 0.0
	var now moment
	var seen []moment
	for pending.Len() > 0 {
		v := heap.Pop(&pending).(visit)
		for len(seen) < len(seconds) && v.at >= float64(seconds[len(seen)]) {
			now.second = seconds[len(seen)]
			seen = append(seen, now)
		}
		tokens, filled = min(tokenRate, tokens+(v.at-filled)*tokenRate), v.at
		if v.attempt == 1 {
			now.arrived++
		}
		switch {
		case tokens >= 1:
			tokens--
			now.served++
		case v.attempt == attempts:
			now.refused++
			now.ended++
		default:
			now.refused++
			pause := firstPause * float64(int(1)<<(v.attempt-1))
			heap.Push(&pending, visit{v.at + pause*(1+random.Float64()), v.attempt + 1})
		}
	}
	for len(seen) < len(seconds) {
		now.second = seconds[len(seen)]
		seen = append(seen, now)
	}
	return seen
}
