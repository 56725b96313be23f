// Command notices computes THIRD_PARTY_NOTICES.txt: the licences of the modules in
// the function binaries and in the operator's tool, and of Go's standard library.
//
//	go run ./local/notices            print it
//	go run ./local/notices -update    write it
//
// A test checks that the file is up to date. The file has no versions, so that the update
// of a module changes it only if a licence changes. The SBOMs of a release have the
// versions.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const file = "THIRD_PARTY_NOTICES.txt"

// standard is the name of Go's standard library among the modules.
const standard = "Go standard library"

// A build is something that is released.
type build struct {
	name     string // in the column "in"
	packages string
	tags     string // as in the Makefile
	systems  []string
}

var builds = []build{
	{"functions", "./functions/...", "lambda.norpc", []string{"linux"}},
	{"tool", "./cmd/...", "", []string{"linux", "darwin", "windows"}},
}

// A module is third-party software in a build.
type module struct {
	path     string
	in       []string // names of the builds that contain it
	licences []string // SPDX identifiers
}

// A text is a licence or a notice, word for word.
type text struct {
	body string
	of   []string // where it is from: the module, and the file's path in the module
}

func main() {
	update := flag.Bool("update", false, "write "+file)
	flag.Parse()
	if err := run(*update); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(update bool) error {
	notices, err := compute(".")
	if err != nil {
		return err
	}
	if update {
		return os.WriteFile(file, notices, 0o644)
	}
	_, err = os.Stdout.Write(notices)
	return err
}

// compute returns the content of the file. root is the root of the repository.
func compute(root string) ([]byte, error) {
	files, in, err := collect(root)
	if err != nil {
		return nil, err
	}
	var modules []module
	var texts []*text
	for _, path := range slices.Sorted(maps.Keys(files)) {
		m := module{path: path, in: in[path]}
		for _, name := range slices.Sorted(maps.Keys(files[path])) {
			content, err := os.ReadFile(files[path][name])
			if err != nil {
				return nil, err
			}
			body := strings.Trim(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n")
			if licence := recognise(body); licence != "" && !slices.Contains(m.licences, licence) {
				m.licences = append(m.licences, licence)
			}
			of := path + ": " + name
			if i := slices.IndexFunc(texts, func(t *text) bool { return t.body == body }); i >= 0 {
				texts[i].of = append(texts[i].of, of)
			} else {
				texts = append(texts, &text{body, []string{of}})
			}
		}
		if len(m.licences) == 0 {
			return nil, fmt.Errorf("%s has no licence that this program knows: read it, and add it to recognise if it may be shipped", path)
		}
		modules = append(modules, m)
	}

	var notices bytes.Buffer
	write(&notices, modules, texts)
	return notices.Bytes(), nil
}

// collect returns, for each module in the builds, the paths of its licences and notices by
// their names in the module, and the names of the builds that contain it.
func collect(root string) (files map[string]map[string]string, in map[string][]string, err error) {
	out, err := goCommand(root, "linux", "env", "GOROOT")
	if err != nil {
		return nil, nil, err
	}
	goroot := strings.TrimSpace(string(out))
	files = map[string]map[string]string{standard: {"LICENSE": filepath.Join(goroot, "LICENSE")}}
	in = map[string][]string{}
	for _, b := range builds {
		in[standard] = append(in[standard], b.name)
		for _, system := range b.systems {
			packages, err := list(root, system, b)
			if err != nil {
				return nil, nil, err
			}
			for _, p := range packages {
				path := p.Module.Path
				if !slices.Contains(in[path], b.name) {
					in[path] = append(in[path], b.name)
				}
				if files[path] == nil {
					files[path] = map[string]string{}
				}
				if err := find(p, files[path]); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	return files, in, nil
}

// goPackage is what `go list -json` prints.
type goPackage struct {
	Dir    string
	Module *struct {
		Path, Dir string
		Main      bool
	}
}

// list returns the packages in a build that are from other modules.
func list(root, system string, b build) ([]goPackage, error) {
	out, err := goCommand(root, system, "list", "-deps", "-tags", b.tags, "-json=Dir,Module", b.packages)
	if err != nil {
		return nil, err
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		switch err := d.Decode(&p); {
		case err == io.EOF:
			return packages, nil
		case err != nil:
			return nil, err
		case p.Module != nil && !p.Module.Main:
			packages = append(packages, p)
		}
	}
}

func goCommand(dir, system string, arguments ...string) ([]byte, error) {
	c := exec.Command("go", arguments...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOOS="+system, "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := c.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("go %s: %s", strings.Join(arguments, " "), exit.Stderr)
	}
	return out, err
}

var legal = regexp.MustCompile(`(?i)^(licen[cs]e|notice|copying|patents)([-.].*)?$`)

// find adds the licences and notices that apply to a package to files: those in its folder
// and in the folders above it, up to the module's root.
func find(p goPackage, files map[string]string) error {
	for dir := p.Dir; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !legal.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			path := filepath.Join(dir, e.Name())
			name, err := filepath.Rel(p.Module.Dir, path)
			if err != nil {
				return err
			}
			files[filepath.ToSlash(name)] = path
		}
		if dir == p.Module.Dir {
			return nil
		}
	}
}

// recognise returns the SPDX identifier of a licence that allows shipping, or "".
func recognise(body string) string {
	words := strings.Join(strings.Fields(body), " ")
	switch has := func(phrase string) bool { return strings.Contains(words, phrase) }; {
	case has("Apache License Version 2.0, January 2004"):
		return "Apache-2.0"
	case has("Permission is hereby granted, free of charge, to any person obtaining a copy"):
		return "MIT"
	case has("Redistribution and use in source and binary forms, with or without modification, are permitted"):
		if has("may be used to endorse or promote products") {
			return "BSD-3-Clause"
		}
		return "BSD-2-Clause"
	}
	return ""
}

func write(w io.Writer, modules []module, texts []*text) {
	fmt.Fprint(w, `The released binaries of membercard contain this software of others. Its licences
and notices follow, word for word. Made by: go run ./local/notices -update

`)
	width := 0
	for _, m := range modules {
		width = max(width, len(m.path))
	}
	for _, m := range modules {
		fmt.Fprintf(w, "%-*s  %-15s  %s\n", width, m.path, strings.Join(m.in, ", "), strings.Join(m.licences, ", "))
	}
	for _, t := range texts {
		fmt.Fprintf(w, "\n%[1]s\n%[2]s\n%[1]s\n\n%[3]s\n", strings.Repeat("=", 80), strings.Join(t.of, "\n"), t.body)
	}
}
