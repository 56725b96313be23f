package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// release is the version without its v. The linker sets it in a release.
var release string

// version says what --version prints after the tool's name: the version, the commit if
// it is known, and what it was built with. A build of a work tree has the version that
// the go command derives from git, or "devel".
func version() string {
	v, commit := release, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" && info.Main.Version != "(devel)" {
			v = strings.TrimPrefix(info.Main.Version, "v")
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = fmt.Sprintf("commit %.12s, ", s.Value)
			}
		}
	}
	if v == "" {
		v = "devel"
	}
	return fmt.Sprintf("%s (%s%s, %s/%s)", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
