// Package stacktest builds the project once for the tests of a package, and starts
// stacks of it.
package stacktest

import (
	"context"
	"fmt"
	"os"
	"testing"

	"membercard/local/stack"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/wechat/network/networktest"
)

// Main implements TestMain for a package whose tests start stacks. It builds the project
// in the folder root, sets project while the tests run, and exits.
func Main(m *testing.M, root string, project **stack.Project) {
	tlsdialtest.Parallel(4)
	var err error
	if *project, err = stack.Build(context.Background(), root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	(*project).Close()
	os.Exit(code)
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
