// Package chaos runs the functions' binaries in the local stack while something
// around them fails, and checks what callers get meanwhile and afterwards.
//
// A row of the table is a [scenario]: a load, what fails, and which errors a caller
// may get. Each has a stack of its own. The load goes on throughout: before the
// fault, while it lasts, and after it. Requests arrive at random (a Poisson
// process) and go to as many instances as are needed, one at a time each, as in
// Lambda.
//
// scenarios.go has the rows, rules.go what must hold in each of them, deadlines.go
// what must hold while everything hangs, and steadiness.go an instance's memory over
// many requests.
package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"membercard/local/contract"
	"membercard/local/stack"
)

// Config configures a run.
type Config struct {
	// Short takes seconds for each row. Only counts and codes are checked then, not
	// times, as the machine may be busy.
	Short bool
	// Seed decides when requests arrive and which answers are broken. The same seed
	// gives the same choices, but not the same times.
	Seed uint64
	// Only runs the rows whose names contain it.
	Only string
	// Log receives a line for each row that is done.
	Log io.Writer
}

// Run runs all rows and returns the report. It fails only if it can't run; what
// breaks a rule is in the report.
func Run(ctx context.Context, project *stack.Project, agreed *contract.Contract, cfg Config) (*Report, error) {
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
			if err := into.run(ctx, project, agreed, cfg); err != nil {
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
			if err := s.run(ctx, project, agreed, cfg, into); err != nil {
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

// phase is what runs at the same time. An instance's memory needs much of the
// processor, and a p99 all of the machine; counts and deadlines need little of it.
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

// How long the phases of a row are. A scenario has the length of its fault.
const (
	before      = 10 * time.Second
	after       = 6 * time.Second // more than until everything is normal
	shortBefore = 500 * time.Millisecond
	shortFault  = 2 * time.Second // see [scenario.shows]
	// A short run ends as soon as nothing has failed for this long.
	shortAfter = time.Second
)

// scenario is a row of the table.
type scenario struct {
	name, zh string // what is tried, in English and in Chinese
	load     load
	rate     float64                    // requests a second
	burst    int                        // further requests at the moment when the fault begins
	setup    func(*rig)                 // before the first request; may be nil
	fault    func(*rig)                 // begins it
	lasts    time.Duration              // how long the fault lasts
	shows    time.Duration              // how long it takes until the fault shows, if longer than 2 s
	heal     func(*rig)                 // ends what [rig.heal] does not
	finally  func(*rig) (broken string) // after the last request; may be nil
	codes    []string                   // the errors that callers may get
	calls    int                        // to WeChat that a request leads to while nothing fails; 0 is 1
	recovers time.Duration              // until everything is normal again; 0 is the rule's 30 s
	settles  bool                       // an instance's further calls take as long as before
	fails    bool                       // nothing succeeds while the fault lasts
	long     bool                       // takes too long for a short run
}

func (s scenario) run(ctx context.Context, project *stack.Project, agreed *contract.Contract, cfg Config, row *row) error {
	r, err := start(project, agreed, cfg)
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
	r.sleep(ctx, normal)
	row.until = time.Now()
	if s.fault != nil {
		s.fault(r)
	}
	row.begun = time.Now()
	for range burst {
		running.Go(func() { r.send(ctx, s.load) })
	}
	r.sleep(ctx, lasts)
	row.ended = time.Now()
	r.heal()
	if s.heal != nil {
		s.heal(r)
	}
	row.healed = time.Now()
	if cfg.Short {
		for time.Since(row.healed) < rest && ctx.Err() == nil && time.Since(r.lastFailure(row.healed)) < shortAfter {
			r.sleep(ctx, 100*time.Millisecond)
		}
	} else {
		r.sleep(ctx, rest)
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
	row.sort(r.finish())
	row.check()
	return nil
}

// limit is how long after the end of the fault everything is normal again.
func (s scenario) limit() time.Duration {
	if s.recovers > 0 {
		return s.recovers
	}
	return recovery
}

// chance returns a source of random numbers that may be used concurrently.
func chance(seed uint64) func() float64 {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64()
	}
}

// percentile returns the value that p of 100 values do not exceed.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*p+99)/100-1]
}
