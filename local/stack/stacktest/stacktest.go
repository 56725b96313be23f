// Package stacktest builds the project once for the tests of a package, and starts
// stacks of it.
package stacktest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"membercard/local/stack"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/wechat/network/networktest"
)

// Main implements TestMain for a package whose tests start stacks. It builds the project
// in the folder root, sets project while the tests run, and exits.
func Main(m *testing.M, root string, project **stack.Project) {
	tlsdialtest.Parallel(6)
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
	dir, err := os.MkdirTemp("", "membercard-")
	if err == nil {
		defer os.RemoveAll(dir)
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
		go func() {
			<-interrupted
			os.RemoveAll(dir)
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
