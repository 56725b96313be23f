//go:build unix

package faults

// This file has the stack under load, and the faults that scenarios share.

import (
	"cmp"
	"context"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"membercard/contract"
	"membercard/local/lambda"
	"membercard/local/sample"
	"membercard/local/stack"
	"membercard/local/stack/stacktest"
	"membercard/wechat/network"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

var (
	long = flag.Bool("long", false, "run each fault for as long as it lasts, and check times")
	seed = flag.Uint64("seed", 1, "of the random choices: when requests arrive, which answers are broken")

	project *stack.Project
	agreed  *contract.Contract
)

// race says that the tests, and therefore the functions, have the race detector.
var race = func() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}()

func TestMain(m *testing.M) {
	flag.Parse()
	parallel := "8" // rows mostly wait
	if race {
		parallel = "4"
	}
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	os.Exit(stacktest.Run(func() (int, error) { return run(m) }))
}

func run(m *testing.M) (code int, err error) {
	var flags []string
	if race {
		flags = append(flags, "-race")
	}
	if project, err = stack.Build(context.Background(), "..", flags...); err != nil {
		return 0, err
	}
	defer project.Close()
	if agreed, err = contract.Load("../openapi.yaml"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// The load's duration before and after the fault.
const (
	before      = 10 * time.Second
	after       = 6 * time.Second // in addition to the time for recovery
	shortBefore = 500 * time.Millisecond
	shortFault  = 2 * time.Second
	shortAfter  = time.Second // without a failure
)

const (
	maxInstances = 1000 // AWS's default concurrency of an account
	queueSpeed   = 10   // divides the queues' delays
)

// rig is a running stack and everything that is observed of it.
type rig struct {
	*stack.Stack
	t         *testing.T
	functions map[string]*lambda.Function // by folder
	requests  map[string]sample.Request   // by route
	watch     *watch
	chance    func() float64
	cards     []string    // of the official account, for syncs
	forges    atomic.Bool // forge every other notification

	busy    sync.RWMutex // read-locked by each request in progress; see [rig.quiet]
	running sync.WaitGroup

	mu         sync.Mutex
	sent       int
	exchanges  []exchange
	timers     []*time.Timer
	violations map[string]string // of the contract, by kind of answer; see [rig.checkContract]
}

// exchange is one request with its outcome, as its caller sees it.
type exchange struct {
	id    string // of the invocation
	begun time.Time
	took  time.Duration
	pid   int    // of the instance; 0 if unknown
	cold  bool   // it waited for a new instance
	code  string // of the error; "" for a right answer
	wrong string // why the answer is wrong; "" if it is right or a documented error
}

// start starts a stack. If confirms is false, it has no queue.
func start(t *testing.T, confirms bool) *rig {
	t.Helper()
	r := &rig{t: t, functions: map[string]*lambda.Function{}, watch: newWatch(), chance: chance(), violations: map[string]string{}}
	config := stack.Config{
		Keys: wechatpay.Both, Plan: "../local/plan.json", Auth: stack.AuthWechat,
		QueueSpeed: queueSpeed, Unthrottled: true, Log: r.watch,
	}
	if !confirms {
		config.Parameters = map[string]string{"ConfirmCards": "OWN"}
	}
	r.Stack = stacktest.Start(t, project, config)
	t.Cleanup(r.stop)
	r.WeChatPay.LimitBrandTokens(0)
	r.requests = sample.Requests(r.Stack)
	r.watch.observe(r.Stack)
	for folder, config := range r.Configs {
		config.MaxInstances = maxInstances
		r.functions[folder] = lambda.New(config)
	}
	return r
}

// stop stops the functions, so that their log is complete.
func (r *rig) stop() {
	for _, f := range r.functions {
		f.Close()
	}
}

func (s scenario) run(t *testing.T) {
	r := start(t, s.confirms)
	if s.setup != nil {
		s.setup(r)
	}
	normal, lasts, rest, burst := before, s.lasts, s.limit()+after, s.burst
	if !*long {
		normal, lasts, rest, burst = shortBefore, cmp.Or(s.shows, shortFault), s.limit()+5*time.Second, s.burst/10
	}
	rate := s.rate
	if race { // which makes everything several times slower
		rate /= 4
	}
	loading, stop := context.WithCancel(t.Context())
	r.running.Go(func() { r.arrive(loading, s.load, rate) })
	time.Sleep(normal)
	row := &row{scenario: s, until: time.Now()}
	if race {
		row.share = 0 // too few requests for a share
	}
	if s.fault != nil {
		s.fault(r)
	}
	row.begun = time.Now()
	for range burst {
		r.running.Go(func() { r.send(t.Context(), s.load) })
	}
	time.Sleep(lasts)
	row.ended = time.Now()
	r.heal()
	if s.heal != nil {
		s.heal(r)
	}
	row.healed = time.Now()
	for time.Since(row.healed) < rest && (*long || time.Since(r.lastFailure(row.healed)) < shortAfter) {
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	r.running.Wait()
	if s.finally != nil {
		s.finally(r)
	}
	r.stop()
	row.evaluate(r.exchanges, r.watch)
	t.Log(row)
	for _, rule := range row.broken() {
		t.Error(rule)
	}
}

// limit returns the longest time from the end of the fault to full recovery.
func (s scenario) limit() time.Duration { return cmp.Or(s.recovers, recovery) }

// chance returns a source of random numbers in [0, 1) for concurrent use.
func chance() func() float64 {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(*seed, 0))
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64()
	}
}

// arrive sends requests at a rate, at random moments (a Poisson process), until ctx ends.
func (r *rig) arrive(ctx context.Context, load load, rate float64) {
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
		r.running.Go(func() {
			defer r.busy.RUnlock()
			r.send(context.WithoutCancel(ctx), load)
		})
	}
}

// send sends one request and records its outcome. As in Lambda, an instance handles one
// request at a time, and new instances are started as needed.
func (r *rig) send(ctx context.Context, load load) exchange {
	r.mu.Lock()
	r.sent++
	n := r.sent
	r.mu.Unlock()
	request := load(r, n)
	s := exchange{begun: time.Now()}
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
	r.exchanges = append(r.exchanges, s)
	return s
}

// lastFailure returns the time of the last failed request after the given time, or that
// time if there was none.
func (r *rig) lastFailure(after time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := after
	for _, s := range r.exchanges {
		if end := s.begun.Add(s.took); s.code != "" && end.After(last) {
			last = end
		}
	}
	return last
}

// later changes the fault after a time, unless it has ended by then.
func (r *rig) later(d time.Duration, change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timers = append(r.timers, time.AfterFunc(d, change))
}

// heal ends every fault that a scenario can begin.
func (r *rig) heal() {
	for _, timer := range r.timers {
		timer.Stop()
	}
	r.WeChatPay.Heal()
	r.OfficialAccount.Heal()
	r.Secrets.Fail(nil)
	r.Events.Fail(nil)
	r.Queues.Fail(nil)
	r.forges.Store(false)
	for _, l := range r.listeners() {
		_ = l.Refuse(false) // the port is its own
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

// breakBoth breaks both endpoints of WeChat Pay.
func (r *rig) breakBoth(f sandbox.Fault) {
	r.WeChatPay.Break(0, f, always)
	r.WeChatPay.Break(1, f, always)
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

// quiet calls do while no request is in progress or arrives.
func (r *rig) quiet(do func()) {
	r.busy.Lock()
	defer r.busy.Unlock()
	do()
}

// replace kills all instances, so that the next requests start new ones.
func (r *rig) replace() {
	r.quiet(func() {
		r.signal(syscall.SIGKILL)
		for _, f := range r.functions {
			for len(f.PIDs()) > 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
}

// freeze stops all instances between two requests, as Lambda does, and drops their
// connections in the meantime.
func (r *rig) freeze(d time.Duration, how network.Drop) {
	r.quiet(func() {
		r.signal(syscall.SIGSTOP)
		for _, l := range r.listeners() {
			l.Drop(how)
		}
		time.Sleep(d)
		r.signal(syscall.SIGCONT)
	})
}

func (r *rig) signal(signal syscall.Signal) {
	for _, f := range r.functions {
		for _, pid := range f.PIDs() {
			_ = syscall.Kill(pid, signal) // it may have ended
		}
	}
}
