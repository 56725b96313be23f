// Package bench measures the time, CPU time and memory of cold starts, from the start of
// the process to the first answer, and of warm requests.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"membercard/local/lambda"
)

// Target is a function to measure.
type Target struct {
	Name   string
	Config lambda.Config
	Event  func() ([]byte, error) // returns the next event
}

// warmCalls is how many warm requests follow each cold start.
const warmCalls = 20

// samples are the measurements of one target, in milliseconds and MiB.
type samples struct{ cold, init, first, warm, cpu, rss []float64 }

// Run starts each target n times, in turn, and writes a table of minima and medians to w.
// If a target is named against, the table has the ratio of each cold start to that
// target's.
func Run(ctx context.Context, w io.Writer, targets []Target, n int, against string) error {
	measured := make([]samples, len(targets))
	for range n {
		for i, c := range targets {
			if err := measured[i].start(ctx, c); err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
		}
	}
	fmt.Fprintf(w, "%d cold starts each, %d warm requests after each; milliseconds, minimum / median; %s/%s, %d CPUs, %s\n\n",
		n, warmCalls, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "function\tMB\tcold start\tinit\tfirst request\twarm request\tCPU\tRSS MiB\tratio")
	of := slices.IndexFunc(targets, func(c Target) bool { return c.Name == against })
	for i, c := range targets {
		info, err := os.Stat(c.Config.Binary)
		if err != nil {
			return err
		}
		m := measured[i]
		ratio := "-"
		if of >= 0 {
			ratio = fmt.Sprintf("%.2f / %.2f", slices.Min(m.cold)/slices.Min(measured[of].cold), median(m.cold)/median(measured[of].cold))
		}
		fmt.Fprintf(table, "%s\t%.2f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, float64(info.Size())/1e6,
			figures(m.cold), figures(m.init), figures(m.first), figures(m.warm), figures(m.cpu), figures(m.rss), ratio)
	}
	return table.Flush()
}

// start measures one cold start and the warm requests after it.
func (s *samples) start(ctx context.Context, c Target) error {
	function, err := lambda.New(c.Config)
	if err != nil {
		return err
	}
	defer function.Close()
	event, err := c.Event()
	if err != nil {
		return err
	}
	begin := time.Now()
	cold, err := invoke(ctx, function, event)
	if err != nil {
		return err
	}
	s.cold = append(s.cold, ms(time.Since(begin)))
	s.init = append(s.init, ms(cold.InitDuration))
	s.first = append(s.first, ms(cold.Duration))
	if cpu, rss, ok := usage(cold.PID); ok {
		s.cpu, s.rss = append(s.cpu, cpu), append(s.rss, rss)
	}
	for range warmCalls {
		event, err := c.Event()
		if err != nil {
			return err
		}
		warm, err := invoke(ctx, function, event)
		if err != nil {
			return err
		}
		s.warm = append(s.warm, ms(warm.Duration))
	}
	return nil
}

// invoke fails if the answer is an error, whose time would be misleading.
func invoke(ctx context.Context, function *lambda.Function, event []byte) (*lambda.Result, error) {
	result, err := function.Invoke(ctx, event)
	if err != nil {
		return nil, err
	}
	var answer struct {
		StatusCode int    `json:"statusCode"`
		Body       string `json:"body"`
	}
	if err := json.Unmarshal(result.Payload, &answer); err != nil || answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("answered %s", result.Payload)
	}
	return result, nil
}

// usage returns the CPU time in ms and the peak memory in MiB of a process. ok is false if
// this is not Linux.
func usage(pid int) (cpu, rss float64, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*", "schedstat"))
	if err != nil || len(threads) == 0 {
		return 0, 0, false
	}
	for _, thread := range threads {
		text, _ := os.ReadFile(thread)
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			ns, _ := strconv.ParseFloat(fields[0], 64)
			cpu += ns / 1e6
		}
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, 0, false
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			rss = kib / 1024
		}
	}
	return cpu, rss, true
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func figures(values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f / %.1f", slices.Min(values), median(values))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
