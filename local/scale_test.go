package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/scale.md computes with what the project sets, in both languages.
func TestScale(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile("../" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	alarms := strings.Count(read("template.yaml"), "    Type: AWS::CloudWatch::Alarm\n")
	watched := strings.Count(read("template.yaml"), "MetricName: ") // what an alarm costs
	for _, row := range []struct{ path, sets, computes string }{
		{"template.yaml", "MemorySize: {Type: Number, Default: 256,", `\| 256 ?[(（]`},
		{"template.yaml", "ThrottlingRateLimit: {Type: Number, Default: 100,", `ThrottlingRateLimit.*100 .*\| 10 % \| \*\*100 %`},
		{"template.yaml", "ThrottlingBurstLimit: {Type: Number, Default: 200,", `(at once|最初的 200 个)`},
		{"template.yaml", "    Type: AWS::CloudWatch::Alarm\n", fmt.Sprintf(`\b%d .*\| %d \| %.2f \|\n`, alarms, watched, 0.10*float64(watched))},
		{"shared/secret/secret.go", "cacheTTL = 5 * time.Minute\n", `300 (s\n|秒调用一次)`},
		{"functions/brand-confirm/batches.go", "callInterval = 500 * time.Millisecond\n", `\*\*× 2.5\*\* \| \*\*× 25\*\*`},
		{"clients/js/index.js", "\nconst attempts = 3;", `\n3\. `},
		{"clients/js/index.js", "this.status === 429 ? 2 ** (attempt - 1) : 0", `1 (to|到) 2 (s|秒)`},
	} {
		for _, page := range []string{"docs/scale.md", "docs/zh-CN/scale.md"} {
			if !strings.Contains(read(row.path), row.sets) || !regexp.MustCompile(row.computes).MatchString(read(page)) {
				t.Errorf("%s does not set %q, or %s does not compute with it (%s)", row.path, row.sets, page, row.computes)
			}
		}
	}
}
