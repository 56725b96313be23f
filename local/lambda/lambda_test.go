package lambda

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
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
// follows the order in its event, or in the first message of a queue's event, where ID
// stands for that message's. At initialization the order is in INIT.
func beFunction() {
	switch os.Getenv("INIT") {
	case "exit":
		os.Exit(3)
	case "done":
		os.Exit(0)
	case "hang":
		time.Sleep(time.Hour)
	case "once": // the first instance fails, those after it do not
		if f, err := os.OpenFile(os.Getenv("MARK"), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			f.Close()
			os.Exit(3)
		}
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

func handle(_ context.Context, event json.RawMessage) (any, error) {
	var order struct {
		Do     string
		Addr   string
		Answer json.RawMessage

		Records []struct{ MessageID, Body string }
	}
	if err := json.Unmarshal(event, &order); err != nil {
		return nil, err
	}
	if len(order.Records) > 0 {
		first := order.Records[0]
		_ = json.Unmarshal([]byte(strings.ReplaceAll(first.Body, "ID", first.MessageID)), &order) // it need not be an order
	}
	switch order.Do {
	case "answer":
		return order.Answer, nil
	case "env":
		return os.Environ(), nil
	case "error":
		return nil, errors.New("as ordered")
	case "exit":
		os.Exit(7)
	case "hang":
		time.Sleep(time.Hour)
	case "print":
		os.Stdout.WriteString("to stdout\n")
		os.Stderr.WriteString("to stderr\n")
	case "panic":
		panic("as ordered")
	case "wait": // until the other end closes
		conn, err := net.Dial("tcp", order.Addr)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, conn)
		return nil, err
	}
	return event, nil
}

// newFunction returns a function with the given configuration and defaults. It is
// closed at the end of the test.
func newFunction(t *testing.T, cfg Config) *Function {
	t.Helper()
	cfg.Name = "function-under-test"
	if cfg.Binary == "" {
		cfg.Binary = binary
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, f)
	return f
}

func invoke(t *testing.T, f *Function, payload string) *Result {
	t.Helper()
	res, err := f.Invoke(t.Context(), []byte(payload))
	if err != nil {
		t.Fatalf("Invoke(%.80s): %v", payload, err)
	}
	return res
}

func TestOutcome(t *testing.T) {
	const (
		id   = `[A-Z2-7]{26}`
		when = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z `
	)
	tests := []struct {
		name    string
		init    string // the function's INIT
		payload string
		timeout time.Duration
		err     string // pattern of the FunctionError, empty for none
		reused  bool   // the instance serves the next event
	}{
		{name: "echo", payload: `{"a":1}`, reused: true},
		{name: "error", payload: `{"do":"error"}`, err: `errorString: as ordered`, reused: true},
		{name: "panic", payload: `{"do":"panic"}`, err: `string: as ordered`},
		{name: "exit", payload: `{"do":"exit"}`, err: `Runtime\.ExitError: RequestId: ` + id + ` Error: Runtime exited with error: exit status 7`},
		{name: "timeout", payload: `{"do":"hang"}`, timeout: 200 * time.Millisecond, err: `Sandbox\.Timedout: ` + when + id + ` Task timed out after 0\.20 seconds`},
		{name: "init exits", init: "exit", err: `Runtime\.ExitError: RequestId: ` + id + ` Error: Runtime exited with error: exit status 3`},
		{name: "init ends", init: "done", err: `Runtime\.ExitError: RequestId: ` + id + ` Error: Runtime exited without providing a reason`},
		{name: "init hangs", init: "hang", err: `Sandbox\.Timedout: ` + when + id + ` Task timed out after 0\.10 seconds`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFunction(t, Config{Timeout: test.timeout, Environment: map[string]string{"INIT": test.init}})
			if test.init == "hang" {
				f.initLimit = 100 * time.Millisecond
			}
			payload := test.payload
			if payload == "" {
				payload = `{}`
			}
			res := invoke(t, f, payload)
			if !res.ColdStart || res.RequestID == "" || res.PID == 0 || res.InitDuration <= 0 {
				t.Errorf("first invocation: ColdStart %v, PID %d, InitDuration %v", res.ColdStart, res.PID, res.InitDuration)
			}
			switch {
			case test.err == "" && res.FunctionError != nil:
				t.Errorf("FunctionError = %v, want none", res.FunctionError)
			case test.err == "" && test.name == "echo" && string(res.Payload) != payload:
				t.Errorf("Payload = %.80s, want %s", res.Payload, payload)
			case test.err != "":
				if res.FunctionError == nil || !regexp.MustCompile(`^`+test.err+`$`).MatchString(res.FunctionError.Error()) {
					t.Fatalf("FunctionError = %v, want %s", res.FunctionError, test.err)
				}
				var body FunctionError
				if err := json.Unmarshal(res.Payload, &body); test.init == "" && (err != nil || body != *res.FunctionError) {
					t.Errorf("Payload = %s, want the error %v", res.Payload, res.FunctionError)
				}
			}
			if got := slices.Contains(f.PIDs(), res.PID); got != test.reused {
				t.Errorf("instance lives on: %v, want %v", got, test.reused)
			}
			if test.init != "" {
				return
			}
			next := invoke(t, f, `{"do":"answer","answer":[2]}`)
			if string(next.Payload) != `[2]` {
				t.Errorf("next Payload = %s, want [2]", next.Payload)
			}
			if reused := next.PID == res.PID; reused != test.reused || next.ColdStart == test.reused {
				t.Errorf("instance reused: %v, ColdStart: %v, want %v and %v", reused, next.ColdStart, test.reused, !test.reused)
			}
		})
	}
}

func TestInitIsTriedAnew(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	f := newFunction(t, Config{Environment: map[string]string{"INIT": "once", "MARK": mark}})
	if res := invoke(t, f, `{}`); res.FunctionError == nil {
		t.Fatal("the first initialization did not fail")
	}
	if res := invoke(t, f, `{}`); res.FunctionError != nil || !res.ColdStart {
		t.Errorf("FunctionError = %v, ColdStart = %v, want a new start that succeeds", res.FunctionError, res.ColdStart)
	}
}

func TestInvalidEntrypoint(t *testing.T) {
	f := newFunction(t, Config{Binary: filepath.Join(t.TempDir(), "bootstrap")})
	res := invoke(t, f, `{}`)
	if err := res.FunctionError; err == nil || err.Type != "Runtime.InvalidEntrypoint" || res.PID != 0 {
		t.Errorf("FunctionError = %v, PID = %d", res.FunctionError, res.PID)
	}
	if _, err := f.Start(t.Context()); err == nil {
		t.Error("Start succeeded")
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

func TestConcurrency(t *testing.T) {
	g := newGate(t)
	f := newFunction(t, Config{MaxInstances: 2})
	results := make([]*Result, 2)
	conns := make([]net.Conn, 2)
	var wg sync.WaitGroup
	left := make(chan struct{}, 2)
	for i := range results {
		wg.Go(func() {
			results[i], _ = f.Invoke(t.Context(), []byte(g.event))
			left <- struct{}{}
		})
		conns[i] = g.arrival(t)
	}
	if _, err := f.Invoke(t.Context(), []byte(`{}`)); err != ErrThrottled {
		t.Errorf("third Invoke: %v, want %v", err, ErrThrottled)
	}
	if _, err := f.Start(t.Context()); err != ErrThrottled {
		t.Errorf("Start: %v, want %v", err, ErrThrottled)
	}
	for _, conn := range conns { // in the order of their calls
		conn.Close()
		<-left
	}
	wg.Wait()
	pids := []int{results[0].PID, results[1].PID}
	if pids[0] == pids[1] {
		t.Errorf("two concurrent invocations ran in process %d", pids[0])
	}
	if got := f.PIDs(); !slices.Equal(got, pids) {
		t.Errorf("PIDs = %v, want %v", got, pids)
	}
	if res := invoke(t, f, `{}`); res.ColdStart || res.PID != pids[1] {
		t.Errorf("next ran in process %d, cold: %v; want the last used, %d", res.PID, res.ColdStart, pids[1])
	}
}

func TestAbandonedInvocationRunsOn(t *testing.T) {
	g := newGate(t)
	f := newFunction(t, Config{MaxInstances: 1})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	go func() {
		_, err := f.Invoke(ctx, []byte(g.event))
		errs <- err
	}()
	conn := g.arrival(t)
	cancel()
	if err := <-errs; err != context.Canceled {
		t.Errorf("Invoke: %v, want %v", err, context.Canceled)
	}
	if _, err := f.Invoke(t.Context(), []byte(`{}`)); err != ErrThrottled {
		t.Errorf("Invoke: %v, want %v while the first runs", err, ErrThrottled)
	}
	conn.Close()
}

func TestStart(t *testing.T) {
	f := newFunction(t, Config{})
	pid, err := f.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.PIDs(); !slices.Equal(got, []int{pid}) {
		t.Errorf("PIDs = %v, want %d", got, pid)
	}
	res := invoke(t, f, `{}`)
	if res.ColdStart || res.InitDuration != 0 || res.PID != pid {
		t.Errorf("ColdStart = %v, InitDuration = %v, PID = %d, want the instance %d", res.ColdStart, res.InitDuration, res.PID, pid)
	}

	failing := newFunction(t, Config{Environment: map[string]string{"INIT": "exit"}})
	if _, err := failing.Start(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "Runtime.ExitError: ") {
		t.Errorf("Start: %v, want a Runtime.ExitError", err)
	}

	hanging := newFunction(t, Config{Environment: map[string]string{"INIT": "hang"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hanging.Start(ctx); err != context.Canceled || len(hanging.PIDs()) != 0 {
		t.Errorf("Start: %v, with processes %v left; want %v and none", err, hanging.PIDs(), context.Canceled)
	}
}

func TestIdleInstanceThatDied(t *testing.T) {
	f := newFunction(t, Config{})
	pid, err := f.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inst := f.instances[0]
	inst.kill()
	<-inst.exited
	if res := invoke(t, f, `{}`); res.FunctionError != nil || res.PID == pid {
		t.Errorf("FunctionError = %v in process %d, want none in another than %d", res.FunctionError, res.PID, pid)
	}
}

func TestClose(t *testing.T) {
	g := newGate(t)
	f := newFunction(t, Config{})
	if _, err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	invoked := func(payload string) {
		_, err := f.Invoke(t.Context(), []byte(payload))
		errs <- err
	}
	go invoked(g.event)
	conn := g.arrival(t)
	if _, err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pids := f.PIDs()
	if len(pids) != 2 {
		t.Fatalf("PIDs = %v, want one busy and one idle", pids)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; err != ErrClosed {
		t.Errorf("Invoke under way: %v, want %v", err, ErrClosed)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the busy instance still runs")
	}
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil && p.Signal(syscall.Signal(0)) == nil {
			t.Errorf("process %d still runs", pid)
		}
	}
	if got := f.PIDs(); len(got) != 0 {
		t.Errorf("PIDs = %v, want none", got)
	}
	go invoked(`{}`)
	if err := <-errs; err != ErrClosed {
		t.Errorf("Invoke afterwards: %v, want %v", err, ErrClosed)
	}
	if _, err := f.Start(t.Context()); err != ErrClosed {
		t.Errorf("Start afterwards: %v, want %v", err, ErrClosed)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("OF_THIS_PROCESS", "1")
	f := newFunction(t, Config{
		MemorySize: 256, Region: "eu-west-1", AccessKeyID: "key", SecretAccessKey: "secret", SessionToken: "token",
		Environment: map[string]string{"OWN": "a=b", "TZ": ":Asia/Shanghai"},
	})
	var env []string
	if err := json.Unmarshal(invoke(t, f, `{"do":"env"}`).Payload, &env); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`AWS_ACCESS_KEY_ID=key`,
		`AWS_DEFAULT_REGION=eu-west-1`,
		`AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023`,
		`AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256`,
		`AWS_LAMBDA_FUNCTION_NAME=function-under-test`,
		`AWS_LAMBDA_FUNCTION_VERSION=\$LATEST`,
		`AWS_LAMBDA_INITIALIZATION_TYPE=on-demand`,
		`AWS_LAMBDA_LOG_FORMAT=JSON`,
		`AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/function-under-test`,
		`AWS_LAMBDA_LOG_STREAM_NAME=\d{4}/\d\d/\d\d/\[\$LATEST\][A-Z2-7]{26}`,
		`AWS_LAMBDA_RUNTIME_API=127\.0\.0\.1:\d+`,
		`AWS_REGION=eu-west-1`,
		`AWS_SECRET_ACCESS_KEY=secret`,
		`AWS_SESSION_TOKEN=token`,
		`LAMBDA_RUNTIME_DIR=/var/runtime`,
		`LAMBDA_TASK_ROOT=` + regexp.QuoteMeta(filepath.Dir(binary)),
		`LANG=en_US\.UTF-8`,
		`OWN=a=b`,
		`PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin`,
		`TZ=:Asia/Shanghai`,
		`_HANDLER=bootstrap`,
		`_X_AMZN_TRACE_ID=Root=1-[A-Z2-7]{26};Sampled=0`,
	}
	slices.Sort(env)
	if len(env) != len(want) {
		t.Fatalf("environment is %q, want %q", env, want)
	}
	for i, pattern := range want {
		if !regexp.MustCompile(`^` + pattern + `$`).MatchString(env[i]) {
			t.Errorf("variable %q, want %s", env[i], pattern)
		}
	}
}

func TestLog(t *testing.T) {
	var log bytes.Buffer
	f := newFunction(t, Config{Log: &log, MemorySize: 128})
	invoke(t, f, `{"do":"print"}`)
	invoke(t, f, `{"do":"exit"}`)
	f.Close()
	var got []string
	for line := range strings.Lines(log.String()) {
		var event struct {
			Type   string
			Record struct{ RequestID, Status, ErrorType string }
		}
		switch err := json.Unmarshal([]byte(line), &event); {
		case err != nil:
			got = append(got, line)
		case event.Type == "platform.report":
			got = append(got, event.Record.Status+event.Record.ErrorType)
		default:
			got = append(got, event.Type)
		}
	}
	slices.Sort(got) // the function's own lines come by a way of their own
	want := []string{"errorRuntime.ExitError", "platform.initStart", "platform.start", "platform.start", "success", "to stderr\n", "to stdout\n"}
	if !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
}

// TestRuntimeAPI is the client of an instance's Runtime API.
func TestRuntimeAPI(t *testing.T) {
	inst := &instance{ready: make(chan struct{}), work: make(chan *invocation, 2)}
	for _, id := range []string{"first", "second"} {
		inst.work <- &invocation{id: id, arn: "arn", trace: "trace", deadline: time.UnixMilli(1234), payload: []byte(id), done: make(chan struct{})}
	}
	api := inst.runtimeAPI()
	steps := []struct {
		method, path string
		status       int
		body         string // contained in the answer
	}{
		{"POST", "/invocation/first/response", 400, `Invalid request ID`},
		{"GET", "/invocation/next", 200, `first`},
		{"POST", "/invocation/second/response", 400, `Invalid request ID`},
		{"POST", "/invocation/first/response", 202, ``},
		{"GET", "/invocation/next", 200, `second`},
		{"POST", "/invocation/first/response", 400, `Invalid request ID`},
		{"POST", "/invocation/second/error", 202, ``},
		{"GET", "/invocation/second/error", 405, ``},
		{"GET", "/invocation", 404, ``},
	}
	for i, step := range steps {
		answer := httptest.NewRecorder()
		api.ServeHTTP(answer, httptest.NewRequest(step.method, "/2018-06-01/runtime"+step.path, strings.NewReader("{}")))
		if answer.Code != step.status || !strings.Contains(answer.Body.String(), step.body) {
			t.Errorf("step %d, %s %s: %d %s, want %d %s", i, step.method, step.path, answer.Code, answer.Body, step.status, step.body)
		}
		if answer.Code == 200 {
			want := http.Header{
				"Content-Type":                        {"application/json"},
				"Lambda-Runtime-Aws-Request-Id":       {step.body},
				"Lambda-Runtime-Deadline-Ms":          {"1234"},
				"Lambda-Runtime-Invoked-Function-Arn": {"arn"},
				"Lambda-Runtime-Trace-Id":             {"trace"},
			}
			if got := answer.Header(); !reflect.DeepEqual(got, want) {
				t.Errorf("step %d: headers %v, want %v", i, got, want)
			}
		}
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
	f, err := New(Config{Name: "orphan", Binary: binary, Timeout: time.Hour,
		Environment: map[string]string{"HOLD": os.Getenv("HOLD")}})
	if err != nil {
		panic(err)
	}
	for range 2 {
		if _, err := f.Start(context.Background()); err != nil {
			panic(err)
		}
	}
	go f.Invoke(context.Background(), []byte(os.Getenv("EVENT")))
	bufio.NewReader(os.Stdin).ReadByte() // until killed, or the test has ended
	os.Exit(1)
}
