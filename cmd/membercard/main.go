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
	"os"
	"os/signal"
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
