package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"

	"membercard/local/journey"
	"membercard/local/stack"
)

// planFile is the default card plan.
const planFile = "local/plan.json"

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

// register adds the flags to f.
func (o *options) register(f *flag.FlagSet) {
	f.StringVar(&o.address, "addr", "127.0.0.1:8080", "where the API listens; port 0 is any free port")
	f.StringVar(&o.merchant, "live", "", "call the real WeChat Pay with the merchant's secret in this `file`")
	f.StringVar(&o.account, "live-account", "", "call the real WeChat with the official account's secret in this `file`")
	f.StringVar(&o.plan, "plan", planFile, "`file` with the card plan")
	f.StringVar(&o.auth, "auth", stack.NoAuth, "who may call: none (everybody), iam, jwt or wechat, as FrontendAuth of the template")
	f.StringVar(&o.page, "page", "127.0.0.1:8081", "where the playground listens; its origin differs from the API's")
	f.BoolVar(&o.sync, "sync", false, "have the stack that runs at -addr apply the card plan, show the report, and exit; "+tokenVariable+" has its token, if it printed one")
	f.BoolVar(&o.dryRun, "dry-run", false, "with -sync: only show what would change")
	f.StringVar(&o.open, "open", "", "have a customer open a `card` (brand or merchant) in the sandbox of the stack that runs at -addr, show each step until it is EFFECTIVE, and exit")
	f.IntVar(&o.journeys, "journeys", 0, "take this many cards from the token to a member while much goes wrong, show the figures, and exit")
	f.IntVar(&o.rounds, "bench", 0, "measure the functions with this many cold starts each, and exit")
	f.StringVar(&o.against, "against", "", "with -bench: another function's `binary` to measure beside them")
	f.BoolVar(&o.chaos, "chaos", false, "inject faults around the functions, one after the other, check what callers get, and exit")
	f.BoolVar(&o.short, "short", false, "with -chaos: take only seconds for each fault, and do not check times")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the random choices of -chaos and -journeys")
	f.StringVar(&o.only, "only", "", "with -chaos: only the rows whose names contain this `text`")
	f.BoolVar(&o.write, "write", false, "with -chaos: write the tables into docs/reliability.md and docs/zh-CN/reliability.md")
	f.BoolVar(&o.race, "race", false, "with -chaos: build the functions with the race detector")
}

// check returns what is wrong with the flags' values, if anything.
func (o *options) check() error {
	var modes []string
	for _, mode := range []struct {
		flag string
		set  bool
	}{{"-sync", o.sync}, {"-open", o.open != ""}, {"-journeys", o.journeys > 0}, {"-bench", o.rounds > 0}, {"-chaos", o.chaos}} {
		if mode.set {
			modes = append(modes, mode.flag)
		}
	}
	switch {
	case len(modes) > 1:
		return fmt.Errorf("%s can't be combined", strings.Join(modes, " and "))
	case len(modes) > 0 && (o.merchant != "" || o.account != "" || o.plan != planFile):
		return fmt.Errorf("-live, -live-account and -plan do not go with %s", modes[0])
	case o.rounds < 0 || o.journeys < 0:
		return errors.New("-bench and -journeys must not be negative")
	case o.against != "" && o.rounds == 0:
		return errors.New("-against requires -bench")
	case !o.chaos && (o.short || o.write || o.race || o.only != ""):
		return errors.New("-short, -only, -write and -race require -chaos")
	case o.write && o.only != "":
		return errors.New("-write needs all rows, so it does not go with -only")
	case o.open != "" && o.open != journey.Brand && o.open != journey.Merchant:
		return fmt.Errorf("-open wants brand or merchant, not %q", o.open)
	case o.dryRun && !o.sync:
		return errors.New("-dry-run requires -sync")
	}
	return nil
}
