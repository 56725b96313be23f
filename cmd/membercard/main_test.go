package main

import (
	"regexp"
	"testing"
)

func TestVersion(t *testing.T) {
	defer func(before string) { release = before }(release)
	for set, want := range map[string]string{
		"":           `^membercard version \S+ \((commit [0-9a-f]{12}, )?go\S+, \w+/\w+\)\n$`,
		"1.2.3-rc.1": `^membercard version 1\.2\.3-rc\.1 \((commit [0-9a-f]{12}, )?go\S+, \w+/\w+\)\n$`,
	} {
		release = set
		if o := tool(t, "--version"); o.code != exitOK || !regexp.MustCompile(want).MatchString(o.out) {
			t.Errorf("release %q: exit code %d, %q, want %s", set, o.code, o.out, want)
		}
	}
}
