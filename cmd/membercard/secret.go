package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"membercard/shared/strictjson"
)

// destination is where a secret is written.
type destination struct {
	name  string // in Secrets Manager
	print bool
	next  string // line for a reader once it is written
}

func (d *destination) flags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&d.name, "put", "", "store it in Secrets Manager under this `NAME` or ARN; the version before is kept as AWSPREVIOUS")
	cmd.Flags().BoolVar(&d.print, "print", false, "print it, keys and all, even on a terminal")
	cmd.MarkFlagsMutuallyExclusive("put", "print")
	return cmd
}

// finish prints the report of a secret and, if nothing is wrong with it, writes the
// secret: to Secrets Manager, or to standard output, but not unasked to a terminal.
func (a *app) finish(ctx context.Context, r *report, d *destination, secret any) error {
	if d.print && a.json {
		return usagef("--print and --json both want standard output")
	}
	if r.failed() > 0 {
		r.after = append(r.after, "nothing was written")
		return a.print(a.reportTo(d), r)
	}
	text, err := strictjson.Encode(secret)
	if err != nil {
		return err
	}
	switch {
	case d.name != "":
		if r.store(a.putSecret(ctx, d.name, string(text))) && d.next != "" {
			r.after = append(r.after, d.next)
		}
	case a.json, a.outIsTerminal && !d.print:
		r.after = append(r.after, "nothing was written: --put NAME stores the secret in Secrets Manager, > FILE writes it to a file, --print prints it here")
	default:
		if d.next != "" {
			r.after = append(r.after, d.next)
		}
		if err := a.print(a.reportTo(d), r); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.out, "%s\n", text)
		return err
	}
	return a.print(a.out, r)
}

// store adds what became of a secret in Secrets Manager, and reports whether it is
// there.
func (r *report) store(put *stored, err error) bool {
	if err != nil {
		r.fail("stored", asFault(err))
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

// reportTo is where the report goes if standard output is for the secret.
func (a *app) reportTo(d *destination) io.Writer {
	if d.name == "" && !a.json && (d.print || !a.outIsTerminal) {
		return a.err
	}
	return a.out
}

// secretValue returns a secret from a file, or asks for it on the terminal.
func (a *app) secretValue(ctx context.Context, path, prompt string) (value string, notes []string, f *fault) {
	if path != "" {
		text, notes, f := read(path)
		return string(bytes.TrimSpace(text)), notes, f
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
