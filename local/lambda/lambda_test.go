package lambda

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	runtime "github.com/aws/aws-lambda-go/lambda"

	"membercard/wechat/network/networktest"
)

// binary is the path of the function under test, which is this one.
var binary string

func TestMain(m *testing.M) {
	binary, _ = os.Executable() // every test fails without it
	switch {
	case os.Getenv("AWS_LAMBDA_RUNTIME_API") != "":
		beFunction()
	case os.Getenv("ORPHANS") != "":
		holdInstances()
	default:
		os.Exit(m.Run())
	}
}

// beFunction is the function under test: this binary, where it has a Runtime API. It
// follows the order in its event; at initialization, the one in INIT.
func beFunction() {
	if os.Getenv("INIT") == "exit" {
		os.Exit(3)
	}
	if addr := os.Getenv("HOLD"); addr != "" {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			panic(err)
		}
		defer conn.Close()
	}
	runtime.Start(handle)
}

func handle(_ context.Context, order struct{ Do, Addr string }) (any, error) {
	switch order.Do {
	case "error":
		return nil, errors.New("as ordered")
	case "panic":
		panic("as ordered")
	case "exit":
		os.Exit(7)
	case "hang":
		time.Sleep(time.Hour)
	case "wait": // until the other end closes
		conn, err := net.Dial("tcp", order.Addr)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, conn)
		return nil, err
	}
	return os.Environ(), nil
}

// newFunction returns a function that is closed at the end of the test.
func newFunction(t *testing.T, timeout time.Duration, environment map[string]string) *Function {
	t.Helper()
	f := New(Config{Name: "function-under-test", Binary: binary, Timeout: timeout, Environment: environment})
	networktest.Close(t, f)
	return f
}

// However a function fails, the error says so, and the next event gets an answer. Only an
// instance that answered is used again.
func TestOutcome(t *testing.T) {
	for _, row := range []struct {
		name, init, order string
		timeout           time.Duration
		err               string // part of the FunctionError; empty for none
		reused            bool   // the instance serves the next event
	}{
		{"success", "", `{}`, time.Minute, "", true},
		{"error", "", `{"do":"error"}`, time.Minute, "errorString: as ordered", true},
		{"panic", "", `{"do":"panic"}`, time.Minute, "string: as ordered", false},
		{"exit", "", `{"do":"exit"}`, time.Minute, "Runtime.ExitError: RequestId: ", false},
		{"exit at init", "exit", `{}`, time.Minute, "Error: Runtime exited with error: exit status 3", false},
		{"timeout", "", `{"do":"hang"}`, time.Second, "Task timed out after 1.00 seconds", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			environment := map[string]string{"INIT": row.init}
			f := newFunction(t, row.timeout, environment)
			first, err := f.Invoke(t.Context(), []byte(row.order))
			if err != nil || (first.FunctionError != nil) != (row.err != "") || !strings.Contains(fmt.Sprint(first.FunctionError), row.err) && row.err != "" {
				t.Fatalf("%+v, %v, want the error %q", first, err, row.err)
			}
			delete(environment, "INIT")
			f.cfg.Timeout = time.Minute
			next, err := f.Invoke(t.Context(), []byte(`{}`))
			if err != nil || next.FunctionError != nil || (next.PID == first.PID) != row.reused || next.ColdStart == row.reused {
				t.Errorf("then %+v, %v, want the same instance: %v", next, err, row.reused)
			}
		})
	}
}

// A gate holds up invocations until it is opened.
type gate struct {
	net.Listener
	event string // the event that waits at this gate
}

func newGate(t *testing.T) gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return gate{listener, fmt.Sprintf(`{"do":"wait","addr":%q}`, listener.Addr())}
}

// arrival waits for the next invocation to arrive.
func (g gate) arrival(t *testing.T) net.Conn {
	t.Helper()
	conn, err := g.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// After Close no process is left.
func TestClose(t *testing.T) {
	g := newGate(t)
	f := newFunction(t, time.Minute, nil)
	errs := make(chan error)
	invoked := func(payload string) {
		_, err := f.Invoke(t.Context(), []byte(payload))
		errs <- err
	}
	go invoked(g.event)
	conn := g.arrival(t)
	if _, err := f.Start(); err != nil {
		t.Fatal(err)
	}
	pids := f.PIDs()
	f.Close()
	if err := <-errs; err != ErrClosed {
		t.Errorf("Invoke under way: %v, want %v", err, ErrClosed)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || len(pids) != 2 {
		t.Errorf("the busy instance still runs, of %v", pids)
	}
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil && p.Signal(syscall.Signal(0)) == nil {
			t.Errorf("process %d still runs", pid)
		}
	}
	go invoked(`{}`)
	if err := <-errs; err != ErrClosed {
		t.Errorf("Invoke afterwards: %v, want %v", err, ErrClosed)
	}
}

// A function has Lambda's variables and its own, and none of this process.
func TestEnvironment(t *testing.T) {
	t.Setenv("OF_THIS_PROCESS", "1")
	f := newFunction(t, time.Minute, map[string]string{"OWN": "a=b"})
	result, err := f.Invoke(t.Context(), []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := json.Unmarshal(result.Payload, &got); err != nil {
		t.Fatal(err)
	}
	for _, variable := range []string{"OWN=a=b", "AWS_LAMBDA_FUNCTION_NAME=function-under-test", "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "TZ=:UTC"} {
		if !slices.Contains(got, variable) {
			t.Errorf("no %s in %q", variable, got)
		}
	}
	if slices.Contains(got, "OF_THIS_PROCESS=1") || len(got) > 25 {
		t.Errorf("the environment is %q", got)
	}
}

// A checkout may belong to another user, as in a container with a mounted folder. Git
// refuses to read it, and with Go's own defaults go build then fails.
func TestBuildInACheckoutOfAnotherUser(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("git is missing: apt-get install git")
		}
		t.Skip("git is missing: apt-get install git")
	}
	root := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module checkout\n\ngo 1.24\n", "function/main.go": "package main\n\nfunc main() {}\n"} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := exec.Command("git", "init", "-q", root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for name, value := range map[string]string{
		"GOENV": "off", "GOFLAGS": "",
		"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1", // there may be a safe.directory
		"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1", // Git's own switch for tests of this
	} {
		t.Setenv(name, value)
	}
	plain := exec.Command("go", "build", "-o", filepath.Join(root, "plain"), "./function")
	plain.Dir = root
	if text, err := plain.CombinedOutput(); err == nil || !strings.Contains(string(text), "-buildvcs=false") {
		t.Fatalf("without the flag: %v\n%s", err, text)
	}
	if _, err := Build(t.Context(), root, t.TempDir(), []string{"function"}); err != nil {
		t.Error(err)
	}
	if _, err := Build(t.Context(), root, t.TempDir(), []string{"missing"}); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing folder: %v", err)
	}
}

// TestOrphans kills a program that runs an idle and a busy instance, and waits until
// they have exited.
func TestOrphans(t *testing.T) {
	held, event := newGate(t), newGate(t)
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), "ORPHANS=1", "HOLD="+held.Addr().String(), "EVENT="+event.event)
	input, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	first, second := held.arrival(t), held.arrival(t)
	waiting := event.arrival(t)
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	program.Wait()
	waiting.Close()
	for _, conn := range []net.Conn{first, second} {
		_, _ = io.Copy(io.Discard, conn) // until the process at the other end is gone
	}
}

// holdInstances is the program that TestOrphans kills.
func holdInstances() {
	f := New(Config{Name: "orphan", Binary: binary, Timeout: time.Hour, Environment: map[string]string{"HOLD": os.Getenv("HOLD")}})
	for range 2 {
		if _, err := f.Start(); err != nil {
			panic(err)
		}
	}
	go f.Invoke(context.Background(), []byte(os.Getenv("EVENT")))
	bufio.NewReader(os.Stdin).ReadByte() // until killed, or the test has ended
	os.Exit(1)
}
