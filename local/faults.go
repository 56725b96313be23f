package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"membercard/contract"
	"membercard/local/chaos"
	"membercard/local/stack"
)

// runChaos runs the fault scenarios and prints their tables. It fails if any rule is
// broken.
func runChaos(ctx context.Context, o options) error {
	var flags []string
	if o.race {
		flags = append(flags, "-race")
	}
	project, err := stack.Build(ctx, ".", flags...)
	if err != nil {
		return err
	}
	defer project.Close()
	agreed, err := contract.Load("openapi.yaml")
	if err != nil {
		return err
	}
	report, err := chaos.Run(ctx, project, agreed, chaos.Config{Short: o.short, Race: o.race, Seed: o.seed, Only: o.only, Log: os.Stderr})
	if err != nil {
		return err
	}
	report.Print(os.Stdout)
	if o.write {
		if err := report.Write(); err != nil {
			return err
		}
	}
	if broken := report.Broken(); len(broken) > 0 {
		return fmt.Errorf("rules broken: %d\n%s", len(broken), strings.Join(broken, "\n"))
	}
	return nil
}
