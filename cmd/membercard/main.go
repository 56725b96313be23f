// Command membercard is the operator's tool: it makes secrets from WeChat's files, checks
// them and what is deployed, and puts the card plan in force.
//
// Exit codes:
//
//	0  everything is in order
//	1  a check failed, or something could not be done; the cure is printed
//	2  the command line is wrong
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a closed pipe is an error of writing: what is temporary is deleted
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once what does not end by the first
	code := run(ctx, os.Args[1:], newConsole())
	stop()
	os.Exit(code)
}

// release is the version without its v. The linker sets it in a release.
var release string

// version says what --version prints after the tool's name: the version, the commit if
// it is known, and what it was built with. A build of a work tree has the version that
// the go command derives from git, or "devel".
func version() string {
	v, commit := release, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" && info.Main.Version != "(devel)" {
			v = strings.TrimPrefix(info.Main.Version, "v")
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = fmt.Sprintf("commit %.12s, ", s.Value)
			}
		}
	}
	if v == "" {
		v = "devel"
	}
	return fmt.Sprintf("%s (%s%s, %s/%s)", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
