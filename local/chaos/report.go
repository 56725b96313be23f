package chaos

// This file writes the tables.

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Report is what a run found.
type Report struct {
	Config     Config
	Begun      time.Time
	Took       time.Duration
	Rows       []*row
	Deadlines  []*deadline
	Steadiness []*steady
}

// Broken returns the rules that were broken, each with its row.
func (r *Report) Broken() (broken []string) {
	for _, row := range r.Rows {
		for _, rule := range row.broken {
			broken = append(broken, row.name+": "+rule)
		}
	}
	for _, d := range r.Deadlines {
		for _, rule := range d.broken {
			broken = append(broken, d.function+": "+rule)
		}
	}
	for _, s := range r.Steadiness {
		for _, rule := range s.broken {
			broken = append(broken, s.name+": "+rule)
		}
	}
	return broken
}

// language returns a text in one of two languages.
type language func(en, zh string) string

func english(en, _ string) string { return en }
func chinese(_, zh string) string { return zh }

// table begins a table of Markdown with its heading in English or Chinese.
func (in language) table(en, zh string) *strings.Builder {
	var b strings.Builder
	heading := in(en, zh)
	fmt.Fprintf(&b, "%s\n|%s\n", heading, strings.Repeat(" --- |", strings.Count(heading, "|")-1))
	return &b
}

// Print writes the tables in English.
func (r *Report) Print(w io.Writer) {
	for _, table := range tables {
		fmt.Fprintf(w, "\n%s", table.text(r, english))
	}
}

// tables are the sections of the documentation that a run writes.
var tables = []struct {
	name string // in its markers
	text func(*Report, language) string
}{
	{"run", (*Report).runText},
	{"faults", (*Report).faultsTable},
	{"settled", (*Report).settledTable},
	{"deadlines", (*Report).deadlinesTable},
	{"steadiness", (*Report).steadinessTable},
}

// Write writes the tables between their markers in both pages.
func (r *Report) Write() error {
	for page, in := range map[string]language{"docs/reliability.md": english, "docs/zh-CN/reliability.md": chinese} {
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		for _, table := range tables {
			begin, end := []byte("<!-- chaos: "+table.name+" -->\n"), []byte("<!-- /chaos -->")
			head, rest, found := bytes.Cut(text, begin)
			_, tail, closed := bytes.Cut(rest, end)
			if !found || !closed {
				return fmt.Errorf("%s has no part %q", page, table.name)
			}
			text = slices.Concat(head, begin, []byte("\n"+table.text(r, in)+"\n"), end, tail)
		}
		if err := os.WriteFile(page, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// runText describes the run: its command, time and machine.
func (r *Report) runText(in language) string {
	command := "go run ./local -chaos -seed " + strconv.FormatUint(r.Config.Seed, 10)
	if r.Config.Short {
		command += " -short"
	}
	begun, took := r.Begun.UTC().Format("2006-01-02 15:04 UTC"), r.Took.Round(time.Minute).Minutes()
	machine := fmt.Sprintf("%s, %d CPUs, %s/%s, %s", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	enShort, zhShort := "", ""
	if r.Config.Short {
		enShort = "A short run: seconds for each fault, a tenth of the burst, beside each other on a busy machine.\n"
		zhShort = "短运行：每种故障只有数秒，突发请求只有十分之一，多行同时在繁忙的机器上运行。\n"
	}
	return in(
		fmt.Sprintf("`%s`, %s, %.0f minutes, on %s. Rules broken: %d.\n", command, begun, took, machine, len(r.Broken()))+enShort,
		fmt.Sprintf("`%s`，%s，历时 %.0f 分钟，机器：%s。被违反的规则：%d。\n", command, begun, took, machine, len(r.Broken()))+zhShort)
}

// processor returns the name of the CPU. Only Linux has it.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func (r *Report) faultsTable(in language) string {
	b := in.table(
		"| what was tried | requests | right answers | errors by code | wrong answers | p50 / p99 / max, ms | calls per request, attempted / received | instances | normal again after |",
		"| 情形 | 请求 | 正确应答 | 各错误码 | 错误应答 | p50 / p99 / 最大，毫秒 | 每请求调用数，尝试 / 收到 | 实例 | 恢复正常用时 |")
	for _, row := range r.Rows {
		again := in("at once", "立即")
		if row.recovered > 0 {
			again = fmt.Sprintf("%.1f s", row.recovered.Seconds())
		}
		fmt.Fprintf(b, "| %s | %d | %d | %s | %d | %s / %s / %s | %.2f / %.2f | %d | %s |\n",
			in(row.name, row.zh), row.requests, row.right, list(row.errors, markdown), len(row.wrong),
			ms(percentile(row.took, 50)), ms(percentile(row.took, 99)), ms(percentile(row.took, 100)),
			perRequest(row.attempts, row.requests), perRequest(row.received, row.requests), row.instances, again)
	}
	return b.String()
}

// settledTable has the rows of scenarios with settles.
func (r *Report) settledTable(in language) string {
	b := in.table(
		"| what was tried | calls before and after | their p50 / p99, ms | further calls | their p50 / p99, ms | p99 × normal |",
		"| 情形 | 故障前后的调用 | p50 / p99，毫秒 | 后续调用 | p50 / p99，毫秒 | p99 为平时的倍数 |")
	for _, row := range r.Rows {
		if row.settles && !row.short {
			normal := slices.Concat(row.normal, row.later)
			fmt.Fprintf(b, "| %s | %d | %s / %s | %d | %s / %s | %s |\n", in(row.name, row.zh),
				len(normal), ms(percentile(normal, 50)), ms(percentile(normal, 99)),
				len(row.further), ms(percentile(row.further, 50)), ms(percentile(row.further, 99)),
				figure(ratio(percentile(row.further, 99), percentile(normal, 99))))
		}
	}
	return b.String()
}

// list formats each code with its count, sorted by code. An empty map is "–".
func list(counts map[string]int, format string) string {
	var entries []string
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		entries = append(entries, fmt.Sprintf(format, code, counts[code]))
	}
	return cmp.Or(strings.Join(entries, ", "), "–")
}

const (
	plain    = "%s %d"
	markdown = "`%s` %d"
)

// ms formats a duration in milliseconds, with a decimal below 10 ms.
func ms(d time.Duration) string {
	value := float64(d.Microseconds()) / 1000
	if value < 10 {
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.0f", value)
}

// perRequest returns how many of n there are for each request.
func perRequest(n, requests int) float64 { return float64(n) / float64(max(requests, 1)) }

func figure(f float64) string { return fmt.Sprintf("%.2f", f) }
