package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// console is where the tool reads and writes.
type console struct {
	in       io.Reader
	out, err io.Writer

	// What is a terminal.
	inIsTerminal, outIsTerminal, errIsTerminal bool

	columns  int                                            // of the terminal; 0: there is none, or it does not say
	self     string                                         // the tool, as it is run: membercard or ./membercard
	colour   bool                                           // on out
	json     bool                                           // --json
	lang     language                                       // of the environment, or --lang
	password func(context.Context) (line []byte, err error) // reads a line from the terminal without echo
}

// output is standard output. It keeps the first error of writing.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(text []byte) (n int, err error) {
	if o.err != nil {
		return 0, o.err
	}
	n, o.err = o.Writer.Write(text)
	return n, o.err
}

func newConsole() *console {
	isTerminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	c := &console{
		self: invoked(os.Args[0]), in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inIsTerminal: isTerminal(os.Stdin), outIsTerminal: isTerminal(os.Stdout), errIsTerminal: isTerminal(os.Stderr),
		lang:     languageOf(),
		password: func(ctx context.Context) ([]byte, error) { return readPassword(ctx, int(os.Stdin.Fd())) },
	}
	c.columns, _, _ = term.GetSize(int(os.Stderr.Fd()))
	if c.outIsTerminal {
		c.columns, _, _ = term.GetSize(int(os.Stdout.Fd()))
	}
	c.colour = c.outIsTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return c
}

// invoked is how a program is run again that was run by a name or path.
func invoked(name string) string {
	if strings.Contains(name, "go-build") { // by go run, from where it was built
		return "go run ./cmd/membercard"
	}
	return quote(name)
}

var aCommand = regexp.MustCompile(`(^|[^./])membercard ((secret|check|callback|token|card|events|rotate|local|plan|reconcile) )`)

// typed is a text whose commands are run as the tool itself was run.
func (c *console) typed(text string) string {
	if c.self == "" {
		return text
	}
	return aCommand.ReplaceAllString(text, "${1}"+strings.ReplaceAll(c.self, "$", "$$")+" $2")
}

// say returns a text as a reader gets it: in the reader's language, with commands as the tool
// was run.
func (c *console) say(text string) string { return c.typed(c.lang.tr(text)) }

// readPassword reads a line from a terminal without echo. If ctx ends, by Ctrl-C, it
// switches the echo on again.
func readPassword(ctx context.Context, terminal int) ([]byte, error) {
	state, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	type typed struct {
		line []byte
		err  error
	}
	read := make(chan typed, 1)
	go func() {
		line, err := term.ReadPassword(terminal)
		read <- typed{line, err}
	}()
	select {
	case t := <-read:
		return t.line, t.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(terminal, state))
	}
}

// asks reports whether a person can be asked for something.
func (c *console) asks() bool { return c.inIsTerminal && c.errIsTerminal && !c.json }

// ask asks for a secret on the terminal, without echo.
func (c *console) ask(ctx context.Context, prompt string) ([]byte, error) {
	fmt.Fprint(c.err, c.say(prompt), c.say(": "))
	line, err := c.password(ctx)
	fmt.Fprintln(c.err)
	return bytes.TrimSpace(line), err
}

// during shows what is waited for until end is called: on a terminal, after a second.
func (c *console) during(what string) (end func()) {
	if !c.watched() {
		return func() {}
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for seconds := 1; ; seconds++ {
			select {
			case <-time.After(time.Second):
				c.show(fmt.Sprintf("%s … %d s", what, seconds))
			case <-over:
				if seconds > 1 {
					c.show("")
				}
				return
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// watched reports whether somebody sees how far a command is.
func (c *console) watched() bool { return c.errIsTerminal && !c.json }

// show shows how far a command is, in place of what it showed before.
func (c *console) show(status string) {
	if c.watched() {
		width := 78
		if c.columns > 0 {
			width = min(width, c.columns-1) // one that fills a line goes on in the next
		}
		status = c.say(status)
		for columns(status) > width {
			_, last := utf8.DecodeLastRuneInString(status)
			status = status[:len(status)-last]
		}
		fmt.Fprintf(c.err, "\r%*s\r%s", width, "", status)
	}
}

// printable leaves out what would move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, s)
}

// columns is how many columns of a terminal a text takes: Chinese characters take
// two.
func columns(s string) (n int) {
	for _, c := range s {
		if n++; unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) || '\uff00' <= c && c <= '\uff60' || '\u3000' <= c && c <= '\u303f' {
			n++
		}
	}
	return n
}

// clip shortens what a user gave.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
