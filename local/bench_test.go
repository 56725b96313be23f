package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"membercard/local/journey"
	"membercard/local/lambda"
	"membercard/local/sample"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// warmCalls is how many warm requests follow each cold start.
const warmCalls = 20

// againstVariable names another version to measure beside this one: a checkout, whose
// functions are built, or the binary of one function. Its path is absolute, or relative to
// the root of the repository.
const againstVariable = "BENCH_AGAINST"

// BenchmarkColdStart measures each function that requests wait for: from the start of its
// process to the first answer, and warm requests after it. A function's contestants are
// started in turn, because only figures of one run can be compared: merchant-token's is the
// obvious build of the same operation.
func BenchmarkColdStart(b *testing.B) {
	s := stackForBench(b)
	build := func(root, folder string) string {
		built, err := lambda.Build(b.Context(), root, b.TempDir(), []string{folder})
		if err != nil {
			b.Fatal(err)
		}
		return built[folder]
	}
	requests, measured := sample.Requests(s), map[string]bool{}
	for _, route := range s.Routes {
		request, ok := requests[route.Key]
		event := func() []byte { return request.Event(route.Key) }
		switch {
		case measured[route.Folder]:
			continue
		case route.Folder == "functions/card-events":
			event = func() []byte { return sample.Notification(s, route.Key) }
		case route.Folder == "functions/brand-confirm":
			event = func() []byte {
				card, err := journey.OpenBrandCard(b.Context(), s)
				if err != nil {
					b.Fatal(err)
				}
				return request.With("user_card_code", card.Code).Event(route.Key)
			}
		case !ok || request.Once:
			continue
		}
		measured[route.Folder] = true
		b.Run(filepath.Base(route.Folder), func(b *testing.B) {
			contestants := []*contestant{{config: s.Configs[route.Folder], event: event}}
			add := func(name, binary string, ours bool) {
				c := &contestant{name: name + "-", config: s.Configs[route.Folder], event: event}
				c.config.Binary = binary
				if !ours { // the template sets this for its own functions; Lambda does not
					c.config.Environment = maps.Clone(c.config.Environment)
					delete(c.config.Environment, "SSL_CERT_DIR")
				}
				contestants = append(contestants, c)
			}
			if route.Folder == "functions/merchant-token" {
				add("empty", build("..", "local/testdata/empty"), false)
				add("obvious", build("..", "local/testdata/obvious"), false)
			}
			if other := os.Getenv(againstVariable); other != "" {
				if !filepath.IsAbs(other) {
					other = filepath.Join("..", other)
				}
				other, absolute := filepath.Abs(other)
				info, err := os.Stat(other)
				if err = errors.Join(absolute, err); err != nil {
					b.Fatal(err)
				}
				if info.IsDir() {
					other = build(other, route.Folder)
				}
				add("against", other, info.IsDir())
			}
			for b.Loop() {
				for _, c := range contestants {
					c.start(b)
				}
			}
			b.ReportMetric(0, "ns/op")
			for _, c := range contestants {
				c.report(b)
				if c != contestants[0] {
					b.ReportMetric(least(contestants[0].cold)/least(c.cold), "ratio-to-"+c.name+"min")
					b.ReportMetric(median(contestants[0].cold)/median(c.cold), "ratio-to-"+c.name+"median")
				}
			}
		})
	}
}

func stackForBench(b *testing.B) *stack.Stack {
	s, err := project.Start(stack.Config{Address: "127.0.0.1:0", Keys: wechatpay.PublicKey, Plan: "plan.json", Unthrottled: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	s.WeChatPay.LimitBrandTokens(0)
	s.WeChatPay.LimitConfirmations(0)
	s.WeChatPay.LimitQueries(0)
	s.WeChatPay.NotifyAt("") // notifications would keep other functions busy
	if err := s.RenewTicket(b.Context()); err != nil {
		b.Fatal(err)
	}
	return s
}

// contestant is a binary with its measurements, in milliseconds and MiB.
type contestant struct {
	name   string // with a hyphen; empty for the function itself
	config lambda.Config
	event  func() []byte

	cold, init, first, warm, cpu, rss []float64
}

// start measures one cold start and the warm requests after it.
func (c *contestant) start(b *testing.B) {
	function := lambda.New(c.config)
	defer function.Close()
	event := c.event()
	begin := time.Now()
	cold := invoke(b, function, event)
	c.cold = append(c.cold, ms(time.Since(begin)))
	c.init, c.first = append(c.init, ms(cold.InitDuration)), append(c.first, ms(cold.Duration))
	if cpu, rss, ok := usage(cold.PID); ok {
		c.cpu, c.rss = append(c.cpu, cpu), append(c.rss, rss)
	}
	for range warmCalls {
		c.warm = append(c.warm, ms(invoke(b, function, c.event()).Duration))
	}
}

// report reports the minimum and the median of each measurement, and the binary's size.
func (c *contestant) report(b *testing.B) {
	for unit, values := range map[string][]float64{"cold-ms": c.cold, "init-ms": c.init, "first-ms": c.first, "warm-ms": c.warm, "cpu-ms": c.cpu, "rss-MiB": c.rss} {
		if len(values) > 0 {
			b.ReportMetric(least(values), c.name+unit+"-min")
			b.ReportMetric(median(values), c.name+unit+"-median")
		}
	}
	if info, err := os.Stat(c.config.Binary); err == nil {
		b.ReportMetric(float64(info.Size())/1e6, c.name+"MB")
	}
}

// invoke fails if the answer is an error, whose time would be misleading.
func invoke(b *testing.B, function *lambda.Function, event []byte) *lambda.Result {
	result, err := function.Invoke(b.Context(), event)
	if err != nil {
		b.Fatal(err)
	}
	var answer struct{ StatusCode int }
	if err := json.Unmarshal(result.Payload, &answer); err != nil || answer.StatusCode/100 != 2 {
		b.Fatalf("answered %s", result.Payload)
	}
	return result
}

// usage returns the CPU time in ms and the peak memory in MiB of a process. ok is false if
// this is not Linux.
func usage(pid int) (cpu, rss float64, ok bool) {
	dir := fmt.Sprintf("/proc/%d", pid)
	threads, err := filepath.Glob(dir + "/task/*/schedstat")
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
	status, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			rss = kib / 1024
		}
	}
	return cpu, rss, true
}

func ms(d time.Duration) float64      { return float64(d.Microseconds()) / 1000 }
func least(values []float64) float64  { return slices.Min(values) }
func median(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }
