// Package env reads a function's environment variables, once, during init. If one is
// missing or malformed, the process exits with a log record that names it.
package env

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"membercard/shared/goroutine"
	"membercard/shared/invocation"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

// Required returns the value of a variable that has no default.
func Required(name string) string {
	value := os.Getenv(name)
	if value == "" {
		stop(fmt.Errorf("the environment variable %s is not set", name))
	}
	return value
}

// Checked is [Required] for a variable whose value must pass a check.
func Checked(name string, check func(value string) error) string {
	value := Required(name)
	if err := check(value); err != nil {
		stop(fmt.Errorf("the environment variable %s: %w", name, err))
	}
	return value
}

func stop(cause error) {
	Log().Failure(context.Background(), telemetry.OperatorErrors, "the function does not start", cause,
		"correct the function's environment in template.yaml, and deploy it again")
	os.Exit(1)
}

// Upstream returns a client for the endpoints that a variable lists (see
// [upstream.Endpoints]), or for the default ones if the variable is not set.
func Upstream(name, defaults string) *upstream.Client {
	endpoints, err := upstream.Endpoints(cmp.Or(os.Getenv(name), defaults))
	if err != nil {
		stop(fmt.Errorf("the environment variable %s: %w", name, err))
	}
	return upstream.New(endpoints)
}

// DuringInit runs functions concurrently and waits for them. Their context ends after
// 5 s. Lambda gives init the full CPU whatever the memory size, so this is the time to
// read secrets and to open connections. A panic in one of them becomes a record.
func DuringInit(functions ...func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // Lambda allows 10 s for init
	defer cancel()
	var running sync.WaitGroup
	for _, f := range functions {
		running.Go(func() {
			ctx, record := Log().Begin(ctx, "")
			_ = invocation.RecordPanic(ctx, record, "init", func() { // requests do what init did not
				goroutine.GrowStack()
				f(ctx)
			})
		})
	}
	goroutine.GrowStack() // this goroutine will handle the invocations
	running.Wait()
}

// Log returns the function's log, which writes to standard output. It also makes package
// log, which libraries use, write records there: aws-lambda-go logs each error that a
// function returns, also that of an event which the function refuses without a record.
func Log() *telemetry.Log {
	l := telemetry.New(os.Stdout, cmp.Or(os.Getenv("METRICS_NAMESPACE"), "MemberCard"), os.Getenv("AWS_LAMBDA_FUNCTION_NAME"))
	log.SetFlags(0)
	log.SetOutput(libraries{l})
	return l
}

// libraries writes what libraries log as records. It drops one message of net/http: the one
// that quotes unsolicited bytes on an idle connection, which may be the rest of an answer
// with a token.
type libraries struct{ log *telemetry.Log }

func (l libraries) Write(line []byte) (int, error) {
	if !bytes.Contains(line, []byte("Unsolicited response received on idle HTTP channel")) {
		l.log.Failure(context.Background(), "", "logged by a library", errors.New(string(bytes.TrimSpace(line))),
			"if the invocation has another record, see there; if not, send the function only the events that it is for")
	}
	return len(line), nil
}
