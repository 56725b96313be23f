// Package env reads a function's settings, once, at its start. A missing
// or malformed one stops the start with a message that names it.
package env

import (
	"bytes"
	"cmp"
	"io"
	"log"
	"os"

	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

// Required is the value of a variable that has no default.
func Required(name string) string {
	value := os.Getenv(name)
	if value == "" {
		log.Fatalf("the environment variable %s is not set", name)
	}
	return value
}

// Upstream is a client for the endpoints that a variable lists (see
// [upstream.Endpoints]), or for the default ones.
func Upstream(name, byDefault string) *upstream.Client {
	endpoints, err := upstream.Endpoints(cmp.Or(os.Getenv(name), byDefault))
	if err != nil {
		log.Fatalf("the environment variable %s: %v", name, err)
	}
	return upstream.New(endpoints)
}

// Log is the function's log, on standard output, where Lambda takes it from. What
// libraries write to the standard log goes on to standard error, but for one line:
// net/http quotes what arrives unasked on an idle connection, and that may be the
// rest of an answer, with a token.
func Log() *telemetry.Log {
	log.SetOutput(quiet{os.Stderr})
	return telemetry.New(os.Stdout, cmp.Or(os.Getenv("METRICS_NAMESPACE"), "MemberCard"), os.Getenv("AWS_LAMBDA_FUNCTION_NAME"))
}

// quiet passes on what is not a quotation.
type quiet struct{ io.Writer }

func (q quiet) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("Unsolicited response received on idle HTTP channel")) {
		return len(line), nil
	}
	return q.Writer.Write(line)
}
