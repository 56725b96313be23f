// Package lambda runs a function's binary as AWS Lambda does: in separate processes
// that have only Lambda's environment and get their events from a Runtime API on the
// loopback interface.
//
// It follows Lambda's rules for initialization, concurrency and timeouts. It does not limit
// memory and sizes, and it does not freeze processes between events.
package lambda

// This file has the pool of a function's instances and their invocation.

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"sync"
	"time"
)

const (
	// initLimit is how long an instance may take to request its first event.
	initLimit = 10 * time.Second

	defaultMaxInstances = 100
)

var (
	// ErrThrottled reports that the function has the maximum number of instances and all
	// of them are busy.
	ErrThrottled = errors.New("lambda: rate exceeded: every instance is busy")
	// ErrClosed reports that the function was closed.
	ErrClosed = errors.New("lambda: function is closed")
)

// Config describes a function.
type Config struct {
	Name        string            // function name
	Binary      string            // absolute path of the bootstrap executable
	Environment map[string]string // the function's own variables
	Timeout     time.Duration     // of one invocation
	MemorySize  int               // MB; not enforced

	// Region and credentials are those of the function's role.
	Region, AccessKeyID, SecretAccessKey, SessionToken string

	MaxInstances int // reserved concurrency; 0 means 100

	// Log receives the function's stdout and stderr, a line at a time, and Lambda's reports
	// of invocations that failed. A Function does not write to it concurrently. If it is
	// nil, the log is discarded.
	Log io.Writer
}

// A Function is a deployed function with its instances. Its methods may be called
// concurrently.
type Function struct {
	cfg Config
	log *log.Logger

	mu        sync.Mutex
	closed    bool
	instances []*instance // in order of start
	idle      []*instance // waiting for an event, most recently used last

	wg sync.WaitGroup // invocations, and goroutines that wait for processes
}

// A Result is the outcome of an invocation that reached the function.
type Result struct {
	RequestID     string         // of the invocation, as in the function's log
	Payload       []byte         // the function's answer; with FunctionError, the error as JSON
	FunctionError *FunctionError // nil if the function succeeded
	InitDuration  time.Duration  // of the initialization that this invocation waited for, if any
	Duration      time.Duration  // from the event's delivery to the end of the invocation
	ColdStart     bool           // the invocation started an instance
	PID           int            // of the instance; 0 if it could not be started
}

// A FunctionError is an error that the function returned, or an error of Lambda's:
// Runtime.InvalidEntrypoint, Runtime.ExitError or Sandbox.Timedout.
type FunctionError struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

// New returns the function that cfg describes, without starting a process.
func New(cfg Config) *Function {
	cfg.MaxInstances = cmp.Or(cfg.MaxInstances, defaultMaxInstances)
	return &Function{
		cfg: cfg,
		log: log.New(cmp.Or[io.Writer](cfg.Log, io.Discard), "", 0),
	}
}

// Invoke sends payload to an idle or a new instance, and returns when the instance is
// ready for the next event, has ended or has exceeded its timeout. If the function fails,
// the Result has the error. Invoke itself fails with [ErrThrottled], [ErrClosed] or the
// error of ctx. As in AWS, the invocation continues when ctx ends.
//
// Unlike Lambda, which retries a failed initialization once, Invoke reports it at once.
// The next call of Invoke initializes a new instance.
func (f *Function) Invoke(ctx context.Context, payload []byte) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var res *Result
	var err error
	done := make(chan struct{})
	if !f.begin(func() {
		res, err = f.invoke(payload)
		close(done)
	}) {
		return nil, ErrClosed
	}
	select {
	case <-done:
		return res, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Start starts an idle instance, as provisioned concurrency does, and returns its process
// ID when it is initialized. If initialization fails, the error is a [*FunctionError].
func (f *Function) Start() (pid int, err error) {
	inst, _, err := f.acquire(true)
	if err != nil {
		return 0, err
	}
	if err := f.initialize(inst, ""); err != nil {
		return 0, err
	}
	f.release(inst)
	return inst.pid(), nil
}

// PIDs returns the process IDs of the function's instances, in order of start.
func (f *Function) PIDs() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	pids := make([]int, len(f.instances))
	for i, inst := range f.instances {
		pids[i] = inst.pid()
	}
	return pids
}

// Close kills all instances and waits until they have ended. Invocations in progress fail
// with [ErrClosed].
func (f *Function) Close() error {
	f.mu.Lock()
	f.closed = true
	for _, inst := range f.instances {
		inst.kill()
	}
	f.mu.Unlock()
	f.wg.Wait()
	return nil
}

// begin runs work in a goroutine that Close waits for, unless f is closed.
func (f *Function) begin(work func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.wg.Go(work)
	return true
}

// acquire takes the most recently used idle instance, or starts a new one. It always
// starts one if fresh is set.
func (f *Function) acquire(fresh bool) (inst *instance, cold bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false, ErrClosed
	}
	if last := len(f.idle) - 1; last >= 0 && !fresh {
		inst, f.idle = f.idle[last], f.idle[:last]
		return inst, false, nil
	}
	if len(f.instances) >= f.cfg.MaxInstances {
		return nil, false, ErrThrottled
	}
	// Start the process under the lock, so that Close finds it.
	inst, err = start(f)
	if err != nil {
		return nil, true, &FunctionError{"Runtime.InvalidEntrypoint", err.Error()}
	}
	f.instances = append(f.instances, inst)
	f.wg.Go(func() {
		inst.wait()
		f.mu.Lock()
		isInst := func(other *instance) bool { return other == inst }
		f.instances = slices.DeleteFunc(f.instances, isInst)
		f.idle = slices.DeleteFunc(f.idle, isInst)
		f.mu.Unlock()
		close(inst.exited)
	})
	return inst, true, nil
}

// release makes inst idle, unless its process has ended.
func (f *Function) release(inst *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.instances, inst) {
		f.idle = append(f.idle, inst)
	}
}

// initialize waits until inst requests its first event, and kills it on a timeout. The
// error is a *FunctionError or ErrClosed.
func (f *Function) initialize(inst *instance, requestID string) error {
	select {
	case <-inst.ready:
		return nil
	case <-inst.exited:
		return cmp.Or[error](f.errIfClosed(), inst.exitError(requestID))
	case <-time.After(initLimit):
	}
	inst.kill()
	<-inst.exited
	return cmp.Or[error](f.errIfClosed(), timedOut(requestID, initLimit))
}

// invoke runs one invocation to its end.
func (f *Function) invoke(payload []byte) (*Result, error) {
	inv := &invocation{id: rand.Text(), payload: payload, done: make(chan struct{})}
	res := &Result{RequestID: inv.id}
	inst, cold, err := f.acquire(false)
	if inst != nil {
		res.PID = inst.pid()
	}
	if err == nil && cold {
		begin := time.Now()
		err = f.initialize(inst, inv.id)
		res.InitDuration = time.Since(begin)
	}
	res.ColdStart = cold
	if err == nil {
		begin := time.Now()
		err = f.handle(inst, inv, res)
		res.Duration = time.Since(begin)
	}
	if failed, ok := errors.AsType[*FunctionError](err); ok {
		res.FunctionError = failed
		res.Payload, _ = json.Marshal(failed) // strings always marshal
	} else if err != nil {
		return nil, err
	}
	if res.FunctionError != nil {
		f.logFailure(inv.id, res.FunctionError)
	}
	return res, nil
}

// handle sends inv to inst and stores the answer in res. Without an answer the error is a
// *FunctionError or ErrClosed.
func (f *Function) handle(inst *instance, inv *invocation, res *Result) error {
	ctx, cancel := context.WithTimeout(context.Background(), f.cfg.Timeout)
	defer cancel()
	inv.deadline, _ = ctx.Deadline()
	select {
	case inst.work <- inv:
	case <-inst.exited:
	case <-ctx.Done():
	}

	var failed error
	select {
	case <-inv.done:
		f.release(inst)
	case <-inst.exited:
		failed = inst.exitError(inv.id)
	case <-ctx.Done():
		inst.kill()
		<-inst.exited
		failed = timedOut(inv.id, f.cfg.Timeout)
	}
	inst.mu.Lock()
	defer inst.mu.Unlock()
	if inv.answer != nil {
		res.Payload, res.FunctionError = inv.answer.payload, inv.answer.err
		return nil
	}
	return cmp.Or(f.errIfClosed(), failed)
}

func (f *Function) errIfClosed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	return nil
}

func timedOut(requestID string, after time.Duration) *FunctionError {
	return &FunctionError{"Sandbox.Timedout", fmt.Sprintf("%s %s Task timed out after %.2f seconds",
		time.Now().UTC().Format(timeFormat), requestID, after.Seconds())}
}
