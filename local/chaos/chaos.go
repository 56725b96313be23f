// Package chaos runs the functions' binaries in the local stack while something
// around them fails, and checks what callers get meanwhile and afterwards.
//
// A row of the main table is a [scenario]: a load, a fault, and the errors that callers
// may get. Each scenario has a stack of its own. The load continues before, during and
// after the fault. Requests arrive at random (a Poisson process). As in Lambda, an
// instance handles one request at a time, and new instances are started as needed.
//
// The scenarios are in scenarios.go and the rules for all of them in rules.go.
// deadlines.go checks how long functions take while everything hangs, and steadiness.go
// an instance's memory over many requests.
package chaos

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"membercard/contract"
	"membercard/local/stack"
)

// Config configures a run.
type Config struct {
	// Short runs each row for a few seconds and checks only counts and codes, not
	// times, because the machine may be busy.
	Short bool
	// Race says that the functions were built with the race detector, which makes their
	// memory 5 to 10 times as large (go.dev/doc/articles/race_detector).
	Race bool
	// Seed determines the random choices: when requests arrive and which answers are
	// broken. The measured times vary nevertheless.
	Seed uint64
	// Only selects the rows whose names contain it.
	Only string
	// Log receives a line for each finished row.
	Log io.Writer
}

// Run runs all rows and returns the report, including the rules that were broken. It
// fails only if it can't run them.
func Run(ctx context.Context, project *stack.Project, contract *contract.Contract, cfg Config) (*Report, error) {
	report := &Report{Config: cfg, Begun: time.Now()}
	var mu sync.Mutex
	say := func(name string, broken []string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(cfg.Log, "%6.1fs  %s: %s\n", time.Since(report.Begun).Seconds(), name, verdict(broken))
	}
	measureSteadiness, others, settling := phase{atOnce: 2}, phase{atOnce: 7}, phase{atOnce: 1}
	for _, s := range steadinesses {
		if !strings.Contains(s.name, cfg.Only) {
			continue
		}
		into := &steady{steadiness: s}
		report.Steadiness = append(report.Steadiness, into)
		measureSteadiness.add(func() error {
			if err := into.run(ctx, project, contract, cfg); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			say(s.name, into.broken)
			return nil
		})
	}
	if strings.Contains("deadlines", cfg.Only) {
		others.add(func() (err error) {
			if report.Deadlines, err = measureDeadlines(ctx, project, cfg); err != nil {
				return fmt.Errorf("deadlines: %w", err)
			}
			for _, d := range report.Deadlines {
				say("deadline of "+d.function+", "+d.caller.name, d.broken)
			}
			return nil
		})
	}
	for _, s := range scenarios {
		if s.long && cfg.Short || !strings.Contains(s.name, cfg.Only) {
			continue
		}
		into := new(row)
		report.Rows = append(report.Rows, into)
		run := func() error {
			if err := s.run(ctx, project, contract, cfg, into); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			say(s.name, into.broken)
			return nil
		}
		switch {
		case s.settles:
			settling.add(run)
		case s.long:
			others.addFirst(run)
		default:
			others.add(run)
		}
	}
	phases := []phase{measureSteadiness, others, settling}
	if cfg.Short {
		phases = []phase{{atOnce: 4, runs: slices.Concat(others.runs, measureSteadiness.runs, settling.runs)}}
	}
	for _, p := range phases {
		if err := p.run(); err != nil {
			return nil, err
		}
	}
	report.Took = time.Since(report.Begun)
	return report, nil
}

// phase has rows that run at the same time. How many depends on what they measure: a p99
// needs the machine for itself, memory much of the CPU, counts and deadlines little.
type phase struct {
	atOnce int
	runs   []func() error
}

func (p *phase) add(run func() error)      { p.runs = append(p.runs, run) }
func (p *phase) addFirst(run func() error) { p.runs = slices.Insert(p.runs, 0, run) }

func (p phase) run() error {
	var running errgroup.Group
	running.SetLimit(p.atOnce)
	for _, run := range p.runs {
		running.Go(run)
	}
	return running.Wait()
}

func verdict(broken []string) string {
	if len(broken) == 0 {
		return "holds"
	}
	return "BROKEN: " + strings.Join(broken, "; ")
}

// The load's duration before and after the fault. The fault's is in the scenario.
const (
	before      = 10 * time.Second
	after       = 6 * time.Second // in addition to the time for recovery
	shortBefore = 500 * time.Millisecond
	shortFault  = 2 * time.Second // at most, unless scenario.shows is longer
	shortAfter  = time.Second     // without a failure
)

// scenario is a row of the table.
type scenario struct {
	name, zh string // what is tried, in English and in Chinese
	load     load
	rate     float64                    // requests a second
	burst    int                        // further requests at the moment when the fault begins
	setup    func(*rig)                 // before the first request; may be nil
	fault    func(*rig)                 // begins the fault; may be nil
	lasts    time.Duration              // how long the fault lasts
	shows    time.Duration              // how long the fault must last to have an effect, if longer than 2 s
	heal     func(*rig)                 // ends the fault, in addition to [rig.heal]; may be nil
	finally  func(*rig) (broken string) // called after the last request; may be nil
	codes    []string                   // the errors that callers may get
	calls    int                        // calls to WeChat for a request if nothing fails; 0 means 1
	recovers time.Duration              // limit for the recovery; 0 means 30 s
	settles  bool                       // an instance's calls after its first take as long as without the fault
	fails    bool                       // no request succeeds during the fault
	long     bool                       // takes too long for a short run
}

func (s scenario) run(ctx context.Context, project *stack.Project, contract *contract.Contract, cfg Config, row *row) error {
	r, err := start(project, contract, cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	if s.setup != nil {
		s.setup(r)
	}
	normal, lasts, rest := before, s.lasts, s.limit()+after
	burst := s.burst
	if cfg.Short {
		normal, lasts, rest, burst = shortBefore, min(s.lasts, max(shortFault, s.shows)), s.limit()+5*time.Second, s.burst/10
	}
	loading, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { r.arrive(loading, s.load, s.rate) })
	sleep(ctx, normal)
	row.until = time.Now()
	if s.fault != nil {
		s.fault(r)
	}
	row.begun = time.Now()
	for range burst {
		running.Go(func() { r.send(ctx, s.load) })
	}
	sleep(ctx, lasts)
	row.ended = time.Now()
	r.heal()
	if s.heal != nil {
		s.heal(r)
	}
	row.healed = time.Now()
	if cfg.Short {
		for time.Since(row.healed) < rest && ctx.Err() == nil && time.Since(r.lastFailure(row.healed)) < shortAfter {
			sleep(ctx, 100*time.Millisecond)
		}
	} else {
		sleep(ctx, rest)
	}
	stop()
	running.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.finally != nil {
		if broken := s.finally(r); broken != "" {
			row.broken = append(row.broken, broken)
		}
	}
	row.scenario, row.short = s, cfg.Short
	row.evaluate(r.finish())
	row.check()
	return nil
}

// limit returns the longest time from the end of the fault to full recovery.
func (s scenario) limit() time.Duration { return cmp.Or(s.recovers, recovery) }

// chance returns a source of random numbers in [0, 1) for concurrent use.
func chance(seed uint64) func() float64 {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64()
	}
}

// percentile returns the p-th percentile of values, or 0 if there are none.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*p+99)/100-1]
}
