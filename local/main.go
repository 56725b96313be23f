// Command local runs the whole stack on one machine with only Go: the functions as
// Lambda runs them, an API Gateway, Secrets Manager, S3, an event bus with its
// queues, and sandboxes of WeChat Pay and of an official account. Routes, environment
// and timeouts are read from template.yaml.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"membercard/local/discovery"
	"membercard/local/journey"
	"membercard/local/playground"
	"membercard/local/stack"
	"membercard/local/wechatpay"
	"membercard/shared/officialaccount"
	"membercard/shared/signing"
)

const (
	// planFile is the default card plan.
	planFile = "local/plan.json"
	// queueSpeed makes the first further attempt to confirm a card come after 3
	// seconds, and not after 30.
	queueSpeed = 10
)

// options are the command line's flags.
type options struct {
	address  string
	merchant string // file
	account  string // file
	plan     string // file
	auth     string
	page     string
	sync     bool
	dryRun   bool
	open     string
	journeys int
	rounds   int
	against  string

	chaos bool
	short bool
	seed  uint64
	only  string
	write bool
	race  bool
}

func main() {
	var o options
	flag.StringVar(&o.address, "addr", "127.0.0.1:8080", "where the API listens; port 0 is any free port")
	flag.StringVar(&o.merchant, "live", "", "call the real WeChat Pay with the merchant's secret in this `file`")
	flag.StringVar(&o.account, "live-account", "", "call the real WeChat with the official account's secret in this `file`")
	flag.StringVar(&o.plan, "plan", planFile, "`file` with the card plan")
	flag.StringVar(&o.auth, "auth", stack.NoAuth, "who may call: none (everybody), iam, jwt or wechat, as FrontendAuth of the template")
	flag.StringVar(&o.page, "page", "127.0.0.1:8081", "where the playground listens; its origin differs from the API's")
	flag.BoolVar(&o.sync, "sync", false, "have the stack that runs at -addr apply the card plan, show the report, and exit; "+tokenVariable+" has its token, if it printed one")
	flag.BoolVar(&o.dryRun, "dry-run", false, "with -sync: only show what would change")
	flag.StringVar(&o.open, "open", "", "have a customer open a `card` (brand or merchant) in the sandbox of the stack that runs at -addr, show each step until it is EFFECTIVE, and exit")
	flag.IntVar(&o.journeys, "journeys", 0, "take this many cards from the token to a member while much goes wrong, show the figures, and exit")
	flag.IntVar(&o.rounds, "bench", 0, "measure the functions with this many cold starts each, and exit")
	flag.StringVar(&o.against, "against", "", "with -bench: another function's `binary` to measure beside them")
	flag.BoolVar(&o.chaos, "chaos", false, "let what surrounds the functions fail, one fault after the other, check what callers get, and exit")
	flag.BoolVar(&o.short, "short", false, "with -chaos: take seconds for each fault, and check no times")
	flag.Uint64Var(&o.seed, "seed", 1, "with -chaos: decides which answers are broken and when requests arrive; with -journeys: which cards it goes wrong for")
	flag.StringVar(&o.only, "only", "", "with -chaos: only the rows whose names contain this `text`")
	flag.BoolVar(&o.write, "write", false, "with -chaos: write the tables into docs/reliability.md and docs/zh-CN/reliability.md")
	flag.BoolVar(&o.race, "race", false, "with -chaos: build the functions with the race detector")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		usage("unexpected argument %q", flag.Arg(0))
	case o.rounds < 0 || o.journeys < 0:
		usage("-bench and -journeys must not be negative")
	case o.against != "" && o.rounds == 0:
		usage("-against requires -bench")
	case !o.chaos && (o.short || o.write || o.race || o.only != ""):
		usage("-short, -only, -write and -race require -chaos")
	case o.write && o.only != "":
		usage("-write needs all rows, so it does not go with -only")
	case o.sync && o.plan != planFile:
		usage("-plan is a flag of the stack, not of -sync")
	case o.open != "" && o.open != journey.Brand && o.open != journey.Merchant:
		usage("-open wants brand or merchant, not %q", o.open)
	case (o.open != "" || o.journeys > 0) && (o.merchant != "" || o.account != ""):
		usage("-open and -journeys are for the sandboxes, not for -live and -live-account")
	case o.dryRun && !o.sync:
		usage("-dry-run requires -sync")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

// delivery is how the sandbox delivers notifications: a moment after a card is opened,
// and after 5 seconds, not a minute, if one is to be sent again.
func delivery() wechatpay.Delivery {
	d := wechatpay.NewDelivery()
	d.Delay, d.Interval = 200*time.Millisecond, 5*time.Second
	return d
}

// keepTicket renews the card ticket, as card-ext's schedule does.
func keepTicket(ctx context.Context, s *stack.Stack) {
	for {
		select {
		case <-time.After(5 * time.Minute):
			_ = s.RenewTicket(ctx) // the function logs errors
		case <-ctx.Done():
			return
		}
	}
}

// usage reports a wrong command line and exits.
func usage(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "local: "+format+"; -h lists the flags\n", args...)
	os.Exit(2)
}

func run(ctx context.Context, o options) error {
	if o.sync {
		return requestSync(ctx, os.Stdout, o.address, o.dryRun)
	}
	if o.chaos {
		return runChaos(ctx, o)
	}
	if o.open != "" {
		return requestOpen(ctx, os.Stdout, o.address, o.open)
	}
	open := exposed(o)
	if len(open) > 0 && (o.merchant != "" || o.account != "") {
		return fmt.Errorf("%s: other machines could reach the stack, and with -live or -live-account it has real keys; give it 127.0.0.1 and a port", strings.Join(open, ", "))
	}
	config := stack.Config{Address: o.address, Plan: o.plan, Auth: o.auth, QueueSpeed: queueSpeed, Log: os.Stderr}
	for _, live := range []struct {
		file   string
		secret *string
		check  func([]byte) error
	}{
		{o.merchant, &config.Merchant, func(text []byte) error { _, err := signing.ParseMerchant(text); return err }},
		{o.account, &config.Account, func(text []byte) error { _, err := officialaccount.ParseAccount(text); return err }},
	} {
		if live.file == "" {
			continue
		}
		content, err := os.ReadFile(live.file)
		if err == nil {
			err = live.check(content)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", live.file, err)
		}
		*live.secret = string(content)
	}
	project, err := stack.Build(ctx, ".")
	if err != nil {
		return err
	}
	defer project.Close()
	if o.rounds > 0 {
		return measure(ctx, os.Stdout, project, o.rounds, o.against)
	}
	if o.journeys > 0 {
		return journey.Many(ctx, os.Stdout, project, o.journeys, o.seed)
	}
	page, err := net.Listen("tcp", o.page)
	if err != nil {
		return fmt.Errorf("the playground can't listen: %w", taken(err, "-page"))
	}
	defer page.Close()
	origin := stack.URL(page.Addr())
	config.Origins = []string{origin}
	s, err := project.Start(config)
	if err != nil {
		return taken(err, "-addr")
	}
	defer s.Close()
	if s.WeChatPay != nil {
		s.WeChatPay.Deliver(delivery())
	}
	s.Mux.HandleFunc("POST "+discovery.SyncPath, func(w http.ResponseWriter, r *http.Request) { serveSync(w, r, s) })
	if s.WeChatPay != nil && s.OfficialAccount != nil {
		s.Mux.Handle("GET "+discovery.Path, s.Discovery())
		s.Mux.HandleFunc("GET "+discovery.EventsPath, s.ServeEvents)
		s.Mux.HandleFunc("POST "+discovery.EnrolPath, s.ServeEnrol)
	}
	s.Mux.HandleFunc("POST "+discovery.OpenPath, func(w http.ResponseWriter, r *http.Request) { serveOpen(w, r, s) })
	go http.Serve(page, playground.Handler(s, o.auth, "examples"))
	if err := s.RenewTicket(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "local: no card ticket:", err)
	}
	go keepTicket(ctx, s)
	greet(os.Stdout, s, o, origin)
	warn(os.Stderr, open)
	<-ctx.Done()
	return nil
}
