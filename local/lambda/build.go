package lambda

// This file builds functions' binaries for this machine.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
)

// BuildFlags returns the build flags of the deployed binaries. A local binary differs only
// in its platform. With -buildvcs=false they can be built in a checkout that belongs to
// another user, too; git refuses to read it.
func BuildFlags() []string {
	return []string{"-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w"}
}

// Build compiles the main packages in folders into outDir, and returns the paths of the
// binaries by folder. Folders are slash-separated and relative to root. A binary has the
// base name of its folder, which must be unique. flags are additional build flags, such as
// -race. A binary that is there is linked again only if it is out of date, and others may
// use it meanwhile. If compilation fails, the error is the compiler's output.
func Build(ctx context.Context, root, outDir string, folders []string, flags ...string) (map[string]string, error) {
	outDir, err := filepath.Abs(outDir)
	if err != nil {
		return nil, fmt.Errorf("lambda: build: %w", err)
	}
	args := append([]string{"build"}, BuildFlags()...)
	args = append(args, flags...)
	args = append(args, "-o", outDir+string(filepath.Separator))
	binaries := make(map[string]string)
	for _, folder := range folders {
		binary := filepath.Join(outDir, path.Base(folder))
		if runtime.GOOS == "windows" {
			binary += ".exe"
		}
		binaries[folder] = binary
		args = append(args, "./"+folder)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cgo := "CGO_ENABLED=0"
	if slices.Contains(flags, "-race") {
		cgo = "CGO_ENABLED=1" // the race detector needs it
	}
	// The linker's output is on the file system of outDir, so that go build renames it instead
	// of writing a copy, which others would see unfinished.
	cmd.Env = append(os.Environ(), cgo, "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH, "GOTMPDIR="+outDir)
	// Of two that build the same at once, each would compile everything.
	defer lock(ctx, outDir).Close()
	output, err := cmd.CombinedOutput()
	if output = bytes.TrimSpace(output); err != nil && len(output) > 0 && ctx.Err() == nil {
		return nil, errors.New(string(output))
	}
	if err != nil {
		return nil, fmt.Errorf("lambda: build: %w", err)
	}
	return binaries, nil
}
