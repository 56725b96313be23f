package lambda

// This file has an instance: a process with its own Runtime API.
//
// The process has its own process group, so that Ctrl-C reaches only this program, which
// then ends its instances. If this program is killed, the connection to the Runtime API
// breaks and the function exits.

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"membercard/local/guard"
)

type instance struct {
	cmd    *exec.Cmd
	server *http.Server
	output *lineWriter

	ready       chan struct{} // closed when the runtime requests its first event
	initialized sync.Once
	work        chan *invocation // received by serveNext
	exited      chan struct{}    // closed when the process has ended and is not in the pool

	mu      sync.Mutex  // guards current and its answer
	current *invocation // in progress, until the runtime requests the next event
}

// start starts a process of f.
func start(f *Function) (*instance, error) {
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
	inst.server = &http.Server{Handler: new(guard.Guard).Handler(inst.runtimeAPI())}
	inst.cmd = &exec.Cmd{
		Path:        f.cfg.Binary,
		Args:        []string{f.cfg.Binary},
		Dir:         filepath.Dir(f.cfg.Binary),
		Env:         environment(f.cfg, listener.Addr().String()),
		Stdout:      inst.output,
		Stderr:      inst.output,
		SysProcAttr: ownGroup(),
		// A child process of the function could keep its output open.
		WaitDelay: time.Second,
	}
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
	_ = inst.cmd.Process.Kill() // fails only if the process has ended
}

// wait waits until the process has ended and all of its output is written.
func (inst *instance) wait() {
	_ = inst.cmd.Wait() // exitError reads the ProcessState
	inst.server.Close()
	inst.output.flush()
}

// exitError returns Lambda's error for the end of the process. It may be called
// once exited is closed.
func (inst *instance) exitError(requestID string) *FunctionError {
	how := "Runtime exited without providing a reason"
	if state := inst.cmd.ProcessState; !state.Success() {
		how = "Runtime exited with error: " + state.String()
	}
	return &FunctionError{"Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: %s", requestID, how)}
}
