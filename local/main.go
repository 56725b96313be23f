// Command local runs the whole stack on one machine with only Go: the functions as
// Lambda runs them, an API Gateway, Secrets Manager, S3, an event bus with its
// queues, and sandboxes of WeChat Pay and of an official account. Routes, environment
// and timeouts are read from template.yaml.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"membercard/local/journey"
	"membercard/local/stack"
)

func main() {
	var o options
	o.register(flag.CommandLine)
	flag.Parse()
	err := o.check()
	if flag.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "local: %v; -h lists the flags\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	switch {
	case o.sync:
		return requestSync(ctx, os.Stdout, o.address, o.dryRun)
	case o.open != "":
		return requestOpen(ctx, os.Stdout, o.address, o.open)
	case o.chaos:
		return runChaos(ctx, o)
	case o.rounds == 0 && o.journeys == 0:
		return serve(ctx, o)
	}
	project, err := stack.Build(ctx, ".")
	if err != nil {
		return err
	}
	defer project.Close()
	if o.rounds > 0 {
		return measure(ctx, os.Stdout, project, o.rounds, o.against)
	}
	return journey.Many(ctx, os.Stdout, project, o.journeys, o.seed)
}
