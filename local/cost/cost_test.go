package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// root is the root of the repository, seen from this folder.
const root = "../../"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheDocumentsHaveTheComputedTables(t *testing.T) {
	tables := compute(count(read(t, "template.yaml")))
	for language, path := range documents {
		text := read(t, path)
		written, err := insert(text, tables, language)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if written != text {
			t.Errorf("the tables of %s are not those of this program: run go run ./local/cost -update", path)
		}
	}
}

func TestInsertNeedsAPlaceForEachTable(t *testing.T) {
	tables := []table{{name: "a", head: []cell{same("x")}}}
	for document, want := range map[string]string{
		"before\n<!-- cost a -->\nold\n<!-- /cost -->\nafter": "before\n<!-- cost a -->\n| x |\n| --- |\n<!-- /cost -->\nafter",
		"<!-- cost a -->\nno end":                             "",
		"<!-- cost b -->\n<!-- /cost -->":                     "",
	} {
		if got, err := insert(document, tables, english); got != want || (err == nil) != (want != "") {
			t.Errorf("%q becomes %q, %v", document, got, err)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, row := range []struct{ memory, want float64 }{
		{fullCPU, 103},     // 2.6 ms on one vCPU, rounded up
		{2 * fullCPU, 103}, // a second vCPU does not help one goroutine
		{fullCPU / 2, 106}, // half a vCPU: 5.2 ms
		{fullCPU / 4, 111}, // a quarter: 10.4 ms
	} {
		if got := duration(row.memory); got != row.want {
			t.Errorf("with %v MB a request is billed %v ms, want %v", row.memory, got, row.want)
		}
	}
}

func TestPrices(t *testing.T) {
	for _, row := range []struct {
		what      string
		got, want float64
	}{
		// 1 GB for 105 ms: 0.105 GB-s at 0.0000133334 $, and the request
		{"a million at 1024 MB", lambda(1024), 0.20 + 0.105*13.3334},
		{"one trace in a single request", traces(1), 1},
		{"traces of 101 requests: the first, and 5 % of 100", traces(101), 6},
		{"12 instances read a secret every 300 s", secretCalls(100), 12.0 / 300},
	} {
		if diff := row.got - row.want; diff > 1e-9 || diff < -1e-9 {
			t.Errorf("%s: %v, want %v", row.what, row.got, row.want)
		}
	}
}

func TestShare(t *testing.T) {
	for used, want := range map[float64]string{0.001: "< 1 %", 0.5: "50 %", 1: "**100 %**", 1.18: "**× 1.2**", 20: "**× 20**"} {
		if got := share(used)[english]; got != want {
			t.Errorf("%v of a limit is %q, want %q", used, got, want)
		}
	}
}

func TestBurst(t *testing.T) {
	seen := burst([]int{60, 120, 600})
	for _, m := range seen {
		if most := tokenRate*m.second + tokenRate; m.served > most {
			t.Errorf("%d tokens in %d s, WeChat allows %d", m.served, m.second, most)
		}
	}
	last := seen[len(seen)-1]
	if last.arrived != users || last.served+last.ended != users {
		t.Errorf("%+v: of %d users each must be served or told to come later", last, users)
	}
	if last.refused < last.ended*attempts {
		t.Errorf("%+v: a page gives up after %d refusals", last, attempts)
	}
	if again := burst([]int{600})[0]; again != last {
		t.Error("it is not the same each time")
	}
}

func TestCountReadsTheTemplate(t *testing.T) {
	got := count(strings.Join([]string{
		"  A:", "    Type: AWS::CloudWatch::Alarm", `      {Namespace: !Sub "${MetricsNamespace}/${AWS::StackName}", MetricName: SyncFailures}`,
		"  B:", "    Type: AWS::CloudWatch::Alarm", `      {Namespace: !Sub "${MetricsNamespace}/${AWS::StackName}", MetricName: SyncFailures}`,
		"  C:", "    Type: AWS::CloudWatch::CompositeAlarm",
		"  D:", "    Type: AWS::CloudWatch::Dashboard",
		"        Timer:", "          Type: Schedule",
	}, "\n"))
	if want := (stack{alarms: 2, composites: 1, dashboards: 1, metrics: 1, schedules: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if whole := count(read(t, "template.yaml")); whole.alarms == 0 || whole.composites == 0 || whole.dashboards == 0 || whole.metrics == 0 || whole.schedules != 3 {
		t.Errorf("%+v: the table of an idle stack has three schedules", whole)
	}
}

func TestTheModelIsThatOfTheProject(t *testing.T) {
	for _, row := range []struct{ what, path, text string }{
		{"attempts of a page", "examples/h5/membercard.js", fmt.Sprintf("\nconst attempts = %d;", attempts)},
		{"attempts of a mini program", "examples/miniprogram/membercard.ts", fmt.Sprintf("\nconst attempts = %d;", attempts)},
		{"their first pause, which doubles", "examples/h5/membercard.js", "this.status === 429 ? 2 ** (attempt - 1) : 0"},
		{"the memory of a function", "template.yaml", fmt.Sprintf("    MinValue: 128\n    MaxValue: 10240\n    Default: %d\n", defaultSize)},
		{"the rate of a route", "template.yaml", fmt.Sprintf("  ThrottlingRateLimit:\n    Type: Number\n    Description: requests per second that API Gateway lets through to each route\n    Default: %d\n", routeRate)},
		{"the rate of brand tokens", "template.yaml", fmt.Sprintf(`pre-auth-tokens": {ThrottlingRateLimit: %d, ThrottlingBurstLimit: %d}`, tokenRate, tokenRate)},
		{"how long a secret is kept", "shared/secret/secret.go", fmt.Sprintf("\tcacheTTL = %d * time.Minute\n", int(cacheTTL)/60)},
	} {
		if !strings.Contains(read(t, row.path), row.text) {
			t.Errorf("%s is another one than %q in %s", row.what, row.text, row.path)
		}
	}
}
