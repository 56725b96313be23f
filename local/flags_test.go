package main

import (
	"flag"
	"strings"
	"testing"
)

// Flags that would have no effect are refused.
func TestFlags(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"", ""},
		{"-live m.json -live-account a.json -plan p.json -auth iam", ""},
		{"-sync -dry-run -addr 127.0.0.1:1", ""},
		{"-open brand", ""},
		{"-bench 5 -against x", ""},
		{"-chaos -short -only x -seed 2", ""},
		{"-journeys 10 -seed 2", ""},
		{"-bench 5 -journeys 5", "-journeys and -bench can't be combined"},
		{"-sync -chaos", "-sync and -chaos can't be combined"},
		{"-bench 5 -live m.json", "do not go with -bench"},
		{"-chaos -live-account a.json", "do not go with -chaos"},
		{"-journeys 5 -live m.json", "do not go with -journeys"},
		{"-open brand -live m.json", "do not go with -open"},
		{"-sync -plan p.json", "do not go with -sync"},
		{"-bench -1", "must not be negative"},
		{"-against x", "requires -bench"},
		{"-only x", "require -chaos"},
		{"-chaos -write -only x", "-write needs all rows"},
		{"-open gift", "wants brand or merchant"},
		{"-dry-run", "requires -sync"},
	} {
		var o options
		f := flag.NewFlagSet("local", flag.ContinueOnError)
		o.register(f)
		if err := f.Parse(strings.Fields(row.args)); err != nil {
			t.Fatal(err)
		}
		if err := o.check(); (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %v, want %q", row.args, err, row.want)
		}
	}
}
