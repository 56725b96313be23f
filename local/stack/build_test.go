package stack_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"membercard/local/stack"
)

// A binary is linked again only if its source has changed, and a project keeps its own.
func TestBuild(t *testing.T) {
	goCache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", string(bytes.TrimSpace(goCache)))
	root, home := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example\n")
	write("template.yaml", `
Parameters:
  MerchantSecretArn: {Type: String}
  OfficialAccountSecretArn: {Type: String}
  FrontendAuth: {Type: String}
Resources:
  TestFunction: {Type: AWS::Serverless::Function}
`)
	var one os.FileInfo
	for _, row := range []struct {
		name, home, says string
		linked           bool // anew
	}{
		{"the first time", home, "one", true},
		{"unchanged", home, "one", false},
		{"changed", home, "two", true},
		{"without a home", "", "two", true},
	} {
		t.Setenv("HOME", row.home)
		t.Setenv("XDG_CACHE_HOME", row.home)
		write("functions/test/main.go", "package main\n\nfunc main() { print(`"+row.says+"`) }\n")
		p, err := stack.Build(t.Context(), root)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		defer p.Close()
		binary := p.Binaries["functions/test"]
		defer func() { // after the binaries of all rows were built
			if says, err := exec.Command(binary).CombinedOutput(); err != nil || string(says) != row.says {
				t.Errorf("%s: the binary says %q: %v", row.name, says, err)
			}
		}()
		built, err := os.Stat(binary)
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(one, built) == row.linked {
			t.Errorf("%s: linked anew is %t", row.name, !row.linked)
		}
		one = built
	}
}
