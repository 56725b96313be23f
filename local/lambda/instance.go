package lambda

// This file holds one instance of a function: a process, and the Runtime API
// that only this process talks to.
//
// The process is in a group of its own, so that an interrupt typed at the
// terminal reaches only the program that started it, which then ends its
// instances in order. Should that program be killed instead, the connection to
// the Runtime API breaks and the function's runtime exits by itself.

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// An initialization is a value of AWS_LAMBDA_INITIALIZATION_TYPE.
type initialization string

const (
	onDemand    initialization = "on-demand"
	provisioned initialization = "provisioned-concurrency"
)

type instance struct {
	cmd    *exec.Cmd
	server *http.Server
	output *lineWriter

	ready  chan struct{}    // closed by the first request for an event
	work   chan *invocation // received by each request for an event
	exited chan struct{}    // closed when the process has ended and left the pool

	mu      sync.Mutex // guards the fields below and the answer of current
	started bool       // ready is closed
	failure *FunctionError
	current *invocation // delivered, and the next one not yet asked for
}

// start starts a process of f.
func start(f *Function, kind initialization) (*instance, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	inst := &instance{
		output: &lineWriter{w: f.log},
		ready:  make(chan struct{}),
		work:   make(chan *invocation),
		exited: make(chan struct{}),
	}
	inst.server = &http.Server{Handler: inst.runtimeAPI()}
	inst.cmd = &exec.Cmd{
		Path:        f.cfg.Binary,
		Args:        []string{f.cfg.Binary},
		Dir:         filepath.Dir(f.cfg.Binary),
		Env:         environment(f.cfg, listener.Addr().String(), kind),
		Stdout:      inst.output,
		Stderr:      inst.output,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
		// A process the function left behind could hold its output open.
		WaitDelay: time.Second,
	}
	f.logInitStart(kind)
	if err := inst.cmd.Start(); err != nil {
		listener.Close()
		return nil, err
	}
	go inst.server.Serve(listener) // until wait closes the server
	return inst, nil
}

func (inst *instance) pid() int { return inst.cmd.Process.Pid }

// kill ends the process without waiting for it.
func (inst *instance) kill() {
	_ = inst.cmd.Process.Kill() // it fails only if the process has ended
}

// wait returns when the process has ended and all its output was written.
func (inst *instance) wait() {
	_ = inst.cmd.Wait() // how it ended is in the ProcessState
	inst.server.Close()
	inst.output.flush()
}

// exitError words the end of the process as Lambda does. It may be called once
// exited is closed.
func (inst *instance) exitError(requestID string) *FunctionError {
	how := "Runtime exited without providing a reason"
	if state := inst.cmd.ProcessState; !state.Success() {
		how = "Runtime exited with error: " + state.String()
	}
	return &FunctionError{"Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: %s", requestID, how)}
}

// initError returns the error the runtime reported of its initialization, as an
// error that is nil if it reported none.
func (inst *instance) initError() error {
	inst.mu.Lock()
	defer inst.mu.Unlock()
	if inst.failure == nil {
		return nil
	}
	return inst.failure
}

// answer returns what the runtime answered to inv, nil if nothing.
func (inst *instance) answer(inv *invocation) *answer {
	inst.mu.Lock()
	defer inst.mu.Unlock()
	return inv.answer
}
