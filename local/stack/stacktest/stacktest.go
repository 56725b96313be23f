// Package stacktest builds the project once for the tests of a package, and starts
// stacks of it.
package stacktest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"membercard/local/stack"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/wechat/network/networktest"
)

// Main implements TestMain for a package whose tests start stacks. It builds the project
// in the folder root, sets project while the tests run, and exits.
func Main(m *testing.M, root string, project **stack.Project) {
	tlsdialtest.Parallel(10)
	os.Exit(Run(func() (code int, err error) {
		if *project, err = stack.Build(context.Background(), root); err != nil {
			return 0, err
		}
		defer (*project).Close()
		return m.Run(), nil
	}))
}

// Run runs the tests of a package in a temporary folder of their own, and returns their exit
// code. They leave nothing behind, also if they are interrupted.
func Run(tests func() (code int, err error)) (code int) {
	within := "" // the system's folder
	if binary, err := os.Executable(); err == nil && strings.HasPrefix(filepath.Base(filepath.Dir(filepath.Dir(binary))), "go-build") {
		within = filepath.Dir(binary) // go test removes it, even if a test panics
	}
	dir, err := os.MkdirTemp(within, "membercard-")
	if err == nil {
		defer os.RemoveAll(dir)
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		go func() {
			<-interrupted
			for range 100 { // a process that was started may be writing
				if os.RemoveAll(dir) == nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			os.Exit(1)
		}()
		os.Setenv("TMPDIR", dir)
		code, err = tests()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Start starts a stack on a free port and closes it at the end of the test. The test
// fails if either fails.
func Start(t testing.TB, project *stack.Project, config stack.Config) *stack.Stack {
	t.Helper()
	config.Address = "127.0.0.1:0"
	s, err := project.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, s)
	return s
}
