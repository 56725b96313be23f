package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"membercard/shared/strictjson"
)

// destination is where a secret is written.
type destination struct {
	name    string // in Secrets Manager
	replace bool   // also a secret of another kind
	file    string
	print   bool
	next    string // line for a reader once it is written
}

func (d *destination) flags(a *app, cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&d.name, "put", "", a.text("store it in Secrets Manager under this `NAME` or ARN; the version before is kept as AWSPREVIOUS", "以该名称（`NAME`）或 ARN 存入 Secrets Manager；上一个版本保留为 AWSPREVIOUS"))
	cmd.Flags().BoolVar(&d.replace, "replace", false, a.text("with --put: replace what is no secret of this kind, too", "与 --put 一起使用：原有内容不是同类凭据时也替换"))
	cmd.Flags().StringVar(&d.file, "out", "", a.text("write it to a new `FILE` that only you can read", "写入只有你能读取的新文件（`FILE`）"))
	cmd.Flags().BoolVar(&d.print, "print", false, a.text("print it, keys and all, even on a terminal", "输出凭据（含私钥），在终端上也输出"))
	cmd.MarkFlagsMutuallyExclusive("put", "out", "print")
	_ = cmd.MarkFlagFilename("out", "json") // there is such a flag
	return cmd
}

// finish checks a secret as the functions do and prints the report. If nothing is wrong, it
// writes the secret: to Secrets Manager, to a file, or to standard output, but not unasked
// to a terminal.
func (a *app) finish(ctx context.Context, r *report, d *destination, kind string, secret any) error {
	if d.print && a.json {
		return usagef("--print and --json both want standard output")
	}
	text := strictjson.Encode(secret)
	if r.failed() == 0 {
		parse(a, r, text, kinds[kind].parse, kind, nil)
	}
	// Standard output is for the secret if there is no other place for it.
	printed := d.name == "" && d.file == "" && !a.json && (d.print || !a.outIsTerminal)
	written := true
	switch {
	case r.failed() > 0:
		r.after, written = append(r.after, "nothing was written"), false
	case d.name != "":
		written = r.store(a.putSecret(ctx, d.name, string(text), kind, d.replace))
	case d.file != "":
		written = r.create("written", d.file, string(text)+"\n")
	case printed:
		r.readable(a.stdout.Writer)
	default:
		r.after, written = append(r.after, "nothing was written: --put NAME stores the secret in Secrets Manager, --out FILE writes it to a file, --print prints it here"), false
	}
	if written && d.next != "" {
		r.after = append(r.after, d.next)
	}
	if !printed {
		return a.print(a.out, r)
	}
	if err := a.print(a.err, r); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%s\n", text)
	return err
}

// create writes a new file that only its user can read, and adds a step. What is there,
// also a link, is neither replaced nor followed.
func (r *report) create(name, path, content string) bool {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		r.fail(name, faultf("name a new file", "%s is there already, and is not replaced", path))
		return false
	}
	if err == nil {
		_, err = file.WriteString(content)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		r.fail(name, faultf("name a file in a folder that you may write to, with room in it", "%s can't be written", path))
		return false
	}
	r.add(step{Name: name, OK: true, Detail: path})
	return true
}

// readable warns of standard output that is a file which others can read, as a shell's
// > makes it.
func (r *report) readable(out io.Writer) {
	file, ok := out.(*os.File)
	if !ok || runtime.GOOS == "windows" {
		return
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		r.add(step{Name: "written", OK: true, Warning: "others on this machine can read the file (" + info.Mode().String() + ")", Cure: "chmod 600 on it; --out FILE makes one that only you can read"})
	}
}

// store adds what became of a secret in Secrets Manager, and reports whether it is
// there.
func (r *report) store(put *stored, bad *fault) bool {
	if bad != nil {
		r.fail("stored", bad)
		return false
	}
	detail := "a new version of " + put.ARN + "; the one before is kept as AWSPREVIOUS"
	if put.Created {
		detail = put.ARN + ", a new secret"
	}
	if put.Unchanged {
		detail = put.ARN + " has this value already"
	}
	r.Stored = put
	r.add(step{Name: "stored", OK: true, Detail: detail})
	return true
}

// secretValue returns a secret from a file, or asks for it on the terminal.
func (a *app) secretValue(ctx context.Context, path, prompt string) (value string, notes []string, f *fault) {
	if path != "" {
		f, bad := load(path)
		if bad != nil {
			return "", nil, bad
		}
		return string(bytes.TrimSpace(f.text)), f.notes, nil
	}
	if !a.asks() {
		return "", nil, nil
	}
	line, err := a.ask(ctx, prompt)
	if ctx.Err() != nil {
		return "", nil, interrupted()
	}
	if err != nil {
		return "", nil, faultf("give it in a file", "%s could not be read from the terminal", prompt)
	}
	return string(line), nil, nil
}
