package chaos

// This file measures the memory and the open files of one instance over many requests.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"membercard/contract"
	"membercard/local/stack"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

// The maximum growth from the first tenth of the requests to the end. A goroutine takes
// at least 2 KiB, so a long run detects one that leaks in every twentieth request.
const (
	maxMoreMiB   = 8.0
	maxMoreFiles = 2
)

// raceMemory is how many times as much memory may grow under the race detector. See
// [Config.Race].
const raceMemory = 5

// steadiness is a load for one instance.
type steadiness struct {
	name, zh string
	full     int // requests in a long run; a twentieth of them in a short one
	fault    func(*rig)
	codes    []string
}

var steadinesses = []steadiness{
	{name: "one instance, nothing fails", zh: "单个实例，无故障", full: 100_000},
	{
		name: "one instance, a tenth of the answers is lost, broken or forged", zh: "单个实例，十分之一的应答丢失、损坏或被伪造", full: 20_000,
		codes: []string{"UPSTREAM_UNREACHABLE", "INVALID_RESPONSE"},
		fault: func(r *rig) {
			broken := r.sometimes(0.1, sandbox.Reset(), sandbox.Truncated(), sandbox.Oversized(), wechatpay.WrongSignature())
			r.WeChatPay.Break(0, broken, always)
			r.WeChatPay.Break(1, broken, always)
		},
	},
}

// steady is a steadiness with its results.
type steady struct {
	steadiness
	requests  int
	errors    map[string]int
	wrong     []string
	early     usage // after a tenth of the requests
	late      usage // after all requests
	instances int
	broken    violations
}

// usage is the resources of a process.
type usage struct {
	rss   float64 // MiB
	files int     // open
}

func (s *steady) run(ctx context.Context, project *stack.Project, contract *contract.Contract, cfg Config) error {
	r, err := start(project, contract, cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	total := s.full
	if cfg.Short {
		total /= 20
	}
	if s.fault != nil {
		s.fault(r)
	}
	s.requests, s.errors = total, map[string]int{}
	pids := map[int]bool{}
	for n := range total {
		if err := ctx.Err(); err != nil {
			return err
		}
		sample := r.send(ctx, merchantTokens)
		pids[sample.pid] = true
		if sample.code != "" {
			s.errors[sample.code]++
		}
		if sample.wrong != "" {
			s.wrong = append(s.wrong, sample.wrong)
		}
		switch n + 1 {
		case total / 10:
			s.early = used(sample.pid)
		case total:
			s.late = used(sample.pid)
		}
	}
	_, w := r.finish()
	s.instances = len(pids)
	s.check(w, cfg)
	return nil
}

func (s *steady) check(w *watch, cfg Config) {
	broken := s.broken.addIf
	undue := map[string]int{}
	for code, n := range s.errors {
		if !slices.Contains(s.codes, code) {
			undue[code] = n
		}
	}
	broken(len(s.wrong) > 0, "wrong answers: %d, the first: %s", len(s.wrong), first(s.wrong))
	broken(len(w.leaks) > 0, "the log: %s", strings.Join(w.leaks, "; "))
	broken(len(undue) > 0, "errors that callers must not get: %s", list(undue, plain))
	broken(s.instances != 1, "%d instances", s.instances)
	moreMiB := maxMoreMiB
	if cfg.Race {
		moreMiB *= raceMemory
	}
	broken(s.late.rss > s.early.rss+moreMiB, "memory grows from %.1f to %.1f MiB", s.early.rss, s.late.rss)
	broken(s.late.files > s.early.files+maxMoreFiles, "open files grow from %d to %d", s.early.files, s.late.files)
}

// used returns the current resources of a process, or zeros if this is not Linux.
func used(pid int) (u usage) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, _ := os.ReadFile(filepath.Join(dir, "status"))
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			u.rss = kib / 1024
		}
	}
	files, _ := os.ReadDir(filepath.Join(dir, "fd"))
	u.files = len(files)
	return u
}

func (r *Report) steadinessTable(in language) string {
	b := in.table(
		"| what was tried | requests | errors by code | wrong answers | memory after a tenth / at the end, MiB | open files after a tenth / at the end |",
		"| 情形 | 请求 | 各错误码 | 错误应答 | 十分之一时 / 结束时内存，MiB | 十分之一时 / 结束时打开的文件 |")
	for _, s := range r.Steadiness {
		fmt.Fprintf(b, "| %s | %d | %s | %d | %.1f / %.1f | %d / %d |\n", in(s.name, s.zh), s.requests, list(s.errors, markdown), len(s.wrong),
			s.early.rss, s.late.rss, s.early.files, s.late.files)
	}
	return b.String()
}
