package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/cardplan"
	"membercard/shared/deadline"
	"membercard/shared/plansync"
	"membercard/shared/signing"
	"membercard/shared/upstream"
)

// callInterval is the time from the beginning of an attempt to that of the next one. A run
// makes at most 5 a second, also if they take unequally long to reach WeChat Pay.
const callInterval = 250 * time.Millisecond

// Words of refusals (INVALID_REQUEST) that are answers to a question.
const (
	notAdded     = "会员卡暂未添加该会员服务项"
	addedAlready = "会员卡已添加该会员服务项"
)

// isRefusal reports whether WeChat Pay refused a call with these words.
func isRefusal(err error, words string) bool {
	if err == nil {
		return false
	}
	e := apierror.From(err)
	return http.StatusBadRequest <= e.Status && e.Status < http.StatusInternalServerError && strings.Contains(e.Message, words)
}

// newCalls returns the calls of a run. Their further attempts keep to its rate too.
func newCalls(wechatpay *signing.Client) *calls {
	c := &calls{}
	c.wechatpay = wechatpay.Paced(c.pace)
	return c
}

// calls are the calls of a run, at its rate.
type calls struct {
	wechatpay *signing.Client

	mu      sync.Mutex
	next    time.Time   // when an attempt may begin; guarded by mu
	limited atomic.Bool // WeChat Pay has answered 429
	over    atomic.Bool // every further call would fail
}

type body struct {
	ServiceModuleID string           `json:"service_module_id,omitempty"`
	JumpMiniProgram *cardplan.Module `json:"jump_miniprogram"`
}

func (k moduleKey) path() string {
	return "/v3/marketing/membercard-open/cards/" + k.cardID + "/service-modules"
}

// add adds a module to a card (添加会员卡服务项).
func (c *calls) add(ctx context.Context, at moduleKey, m *cardplan.Module) error {
	return c.call(ctx, func() (*upstream.Answer, error) { return c.wechatpay.Post(ctx, at.path(), body{at.moduleID, m}) })
}

// change changes a module of a card (修改会员卡服务项).
func (c *calls) change(ctx context.Context, at moduleKey, m *cardplan.Module) error {
	return c.call(ctx, func() (*upstream.Answer, error) {
		return c.wechatpay.Patch(ctx, at.path()+"/"+at.moduleID, body{JumpMiniProgram: m})
	})
}

// remove takes a module from a card (移除会员卡服务项).
func (c *calls) remove(ctx context.Context, at moduleKey) error {
	return c.call(ctx, func() (*upstream.Answer, error) { return c.wechatpay.Delete(ctx, at.path()+"/"+at.moduleID) })
}

// call makes a call when it is its turn. After the first 429 of the run it waits as long as
// WeChat Pay says, and calls again. A second one ends the run.
func (c *calls) call(ctx context.Context, send func() (*upstream.Answer, error)) error {
	for {
		if err := c.wait(ctx); err != nil {
			return err
		}
		_, err := send()
		if err == nil {
			return nil
		}
		e := apierror.From(err)
		pause := max(e.RetryAfter, time.Second)
		if e.Status == http.StatusTooManyRequests && c.limited.CompareAndSwap(false, true) && deadline.Leaves(ctx, pause+minTimeToCall) {
			c.pauseFor(pause)
			continue
		}
		if plansync.EndsRun(e) {
			c.over.Store(true)
		}
		return err
	}
}

// wait waits until the next call may begin. The error is [upstream.ErrNoTime] if there is no
// time for it, or if the run is over.
func (c *calls) wait(ctx context.Context) error {
	for !c.over.Load() && deadline.Leaves(ctx, minTimeToCall) {
		left := c.begin()
		if left == 0 {
			return nil
		}
		if !deadline.Leaves(ctx, left+minTimeToCall) {
			break
		}
		time.Sleep(left)
	}
	return apierror.Timeout(upstream.ErrNoTime)
}

// pace waits until a further attempt of a call may begin.
func (c *calls) pace(ctx context.Context) error {
	for left := c.begin(); left > 0; left = c.begin() {
		if !deadline.Sleep(ctx, left) {
			return ctx.Err()
		}
	}
	return nil
}

// begin returns how long an attempt has to wait. If it is 0, the attempt begins now, and the
// next one has to wait.
func (c *calls) begin() (left time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if left = c.next.Sub(now); left > 0 {
		return left
	}
	c.next = now.Add(callInterval)
	return 0
}

// pauseFor makes the next attempt wait for at least d.
func (c *calls) pauseFor(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if resume := time.Now().Add(d); resume.After(c.next) {
		c.next = resume
	}
}
