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

	"membercard/local/stack"
)

// projectPlan is the plan that the project has.
const projectPlan = "local/plan.json"

// options are the command line's flags.
type options struct {
	address  string
	page     string
	auth     string
	origins  string // comma-separated
	merchant string // file
	account  string // file
	plan     string // file
	chinese  bool   // the greeting and the errors of the start
}

func main() {
	o := options{chinese: isChinese()}
	flag.StringVar(&o.address, "addr", "127.0.0.1:8080", "where the API listens; port 0 is any free port")
	flag.StringVar(&o.page, "page", "127.0.0.1:8081", "where the playground listens; its origin differs from the API's")
	flag.StringVar(&o.auth, "auth", stack.NoAuth, "who may call: none (everybody), iam, jwt or wechat, as FrontendAuth of the template")
	flag.StringVar(&o.origins, "origins", "", "comma-separated `origins` of your own pages that may call the API, as AllowedOrigins of the template")
	flag.StringVar(&o.merchant, "live", "", "call the real WeChat Pay with the merchant's secret in this `file`")
	flag.StringVar(&o.account, "live-account", "", "call the real WeChat with the official account's secret in this `file`")
	flag.StringVar(&o.plan, "plan", projectPlan, "`file` with the card plan")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, o.say("local: unexpected argument %q; -h lists the flags")+"\n", flag.Arg(0))
		os.Exit(2)
	}
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		ends = append(ends, syscall.SIGHUP) // the terminal was closed
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	if err := serve(ctx, os.Stdout, os.Stderr, o); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}
