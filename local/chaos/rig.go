package chaos

// This file has the stack under load, and the faults that scenarios share.

import (
	"context"
	"errors"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"membercard/contract"
	"membercard/local/lambda"
	"membercard/local/stack"
	"membercard/wechat/network"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

const (
	maxInstances = 1000 // AWS's default concurrency of an account
	queueSpeed   = 10   // divides the queues' delays
)

// rig is a running stack and everything that is observed of it.
type rig struct {
	*stack.Stack
	functions map[string]*lambda.Function // by folder
	contract  *contract.Contract
	watch     *watch
	short     bool
	seed      uint64
	chance    func() float64
	cards     []string     // of the official account, for syncs; see [rig.addCards]
	cuts      atomic.Int64 // connections to WeChat Pay's first endpoint that were cut
	sender    sender       // of notifications; see [rig.signNotifications]

	busy sync.RWMutex // read-locked by each request in progress; see [rig.quiet]

	mu         sync.Mutex
	sent       int
	samples    []sample
	violations map[string]string // of the contract, by kind of answer; see [rig.checkContract]
}

// sample is one request as its caller sees it.
type sample struct {
	id    string // of the invocation
	begun time.Time
	took  time.Duration
	pid   int    // of the instance; 0 if unknown
	cold  bool   // it waited for a new instance
	code  string // of the error; "" for a right answer
	wrong string // why the answer is wrong; "" if it is right or a documented error
}

func start(project *stack.Project, contract *contract.Contract, cfg Config) (*rig, error) {
	w := newWatch()
	s, err := project.Start(stack.Config{Address: "127.0.0.1:0", Keys: wechatpay.PublicKey, Plan: "local/plan.json", Auth: stack.AuthWechat, QueueSpeed: queueSpeed, Log: w})
	if err != nil {
		return nil, err
	}
	r := &rig{Stack: s, functions: map[string]*lambda.Function{}, contract: contract, watch: w, short: cfg.Short, seed: cfg.Seed, chance: chance(cfg.Seed), violations: map[string]string{}}
	s.WeChatPay.LimitBrandTokens(0)
	w.observe(s)
	for folder, config := range s.Configs {
		config.MaxInstances = maxInstances
		if r.functions[folder], err = lambda.New(config); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

func (r *rig) Close() error {
	for _, f := range r.functions {
		f.Close()
	}
	return r.Stack.Close()
}

// finish stops the functions, so that their log is complete, and returns everything that
// was observed.
func (r *rig) finish() ([]sample, *watch) {
	for _, f := range r.functions {
		f.Close()
	}
	return r.samples, r.watch
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// arrive sends requests at a rate until ctx ends, and waits for their answers.
func (r *rig) arrive(ctx context.Context, load load, rate float64) {
	var running sync.WaitGroup
	defer running.Wait()
	next := time.Now()
	for rate > 0 {
		next = next.Add(time.Duration(-math.Log(1-r.chance()) / rate * float64(time.Second)))
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return
		}
		if !r.busy.TryRLock() {
			continue // skip requests while quiet runs
		}
		running.Go(func() {
			defer r.busy.RUnlock()
			r.send(context.WithoutCancel(ctx), load)
		})
	}
}

// send sends one request and records its outcome.
func (r *rig) send(ctx context.Context, load load) sample {
	r.mu.Lock()
	r.sent++
	n := r.sent
	r.mu.Unlock()
	request := load(r, n)
	s := sample{begun: time.Now()}
	result, err := r.functions[request.function].Invoke(ctx, request.event)
	s.took = time.Since(s.begun)
	if err != nil {
		s.wrong = err.Error()
	} else {
		s.id, s.pid, s.cold = result.RequestID, result.PID, result.ColdStart
		s.code, s.wrong = request.judge(result)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
	return s
}

// lastFailure returns the time of the last failed request after the given time, or that
// time if there was none.
func (r *rig) lastFailure(after time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := after
	for _, s := range r.samples {
		if end := s.begun.Add(s.took); s.code != "" && end.After(last) {
			last = end
		}
	}
	return last
}

// quiet calls do while no request is in progress or arrives.
func (r *rig) quiet(do func()) {
	r.busy.Lock()
	defer r.busy.Unlock()
	do()
}

// heal ends every fault that a scenario can begin.
func (r *rig) heal() {
	r.WeChatPay.Heal()
	r.WeChatPay.Skew(0)
	r.OfficialAccount.Heal()
	r.Secrets.Fail(nil)
	r.Secrets.Delay(0)
	r.Events.Fail(nil)
	r.Queues.Fail(nil)
	r.Events.FailEntries("")
	r.sender.forges.Store(false)
	for _, l := range r.listeners() {
		l.Refuse(false)
		l.Delay(0)
		l.Cut(nil)
	}
}

// listeners returns the listeners of all endpoints of WeChat Pay and WeChat.
func (r *rig) listeners() []*network.Listener {
	return []*network.Listener{
		r.WeChatPay.Listener(0), r.WeChatPay.Listener(1),
		r.OfficialAccount.Listener(0), r.OfficialAccount.Listener(1),
	}
}

// replace kills all instances, so that the next requests start new ones.
func (r *rig) replace() {
	r.quiet(func() {
		r.eachInstance(kill)
		for _, f := range r.functions {
			for len(f.PIDs()) > 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
}

// eachInstance does something to each instance by its process ID.
func (r *rig) eachInstance(do func(pid int) error) {
	for _, f := range r.functions {
		for _, pid := range f.PIDs() {
			_ = do(pid) // it may have ended
		}
	}
}

func kill(pid int) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Kill()
}

// sometimes returns a fault that applies one of faults, at random, to a share of the
// answers.
func (r *rig) sometimes(share float64, faults ...sandbox.Fault) sandbox.Fault {
	return func(a *sandbox.Answer) {
		if r.chance() < share {
			faults[int(r.chance()*float64(len(faults)))](a)
		}
	}
}
