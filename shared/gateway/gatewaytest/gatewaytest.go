// Package gatewaytest invokes a function as API Gateway does, for the tests of
// functions.
package gatewaytest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/apierror"
)

// Nowhere is an endpoint that no test may call.
const Nowhere = "https://127.0.0.1:1"

// Outcome is what a caller got, and what the function logged.
type Outcome struct {
	Status  int
	Body    string
	Headers map[string]string
	Error   apierror.Error // the body of an answer of 400 or above
	Log     string
}

// Invoke sends a request to the function whose log is written to log. It fails
// the test if the runtime gets an error, or if the answer is not JSON that no
// cache may store.
func Invoke(t testing.TB, function lambda.Handler, log *bytes.Buffer, event events.APIGatewayV2HTTPRequest) Outcome {
	t.Helper()
	event.Version = "2.0"
	if event.RequestContext.HTTP.Method == "" {
		event.RequestContext.HTTP.Method = "POST"
	}
	payload, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := function.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatalf("the runtime got an error: %v", err)
	}
	var answer events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatal(err)
	}
	o := Outcome{Status: answer.StatusCode, Body: answer.Body, Headers: answer.Headers, Log: log.String()}
	if o.Headers["Cache-Control"] != "no-store" || o.Body != "" && o.Headers["Content-Type"] != "application/json" {
		t.Errorf("headers %v", o.Headers)
	}
	if o.Status >= 400 {
		if err := json.Unmarshal([]byte(o.Body), &o.Error); err != nil || o.Error.Code == "" || o.Error.Message == "" {
			t.Fatalf("%s has no code or no message: %v", o.Body, err)
		}
	}
	return o
}

// RequireParamError fails the test unless the request was refused at a field, a
// JSON pointer such as /body/card_id, for an issue that contains a text.
func (o Outcome) RequireParamError(t testing.TB, field, issue string) {
	t.Helper()
	if o.Status != 400 || o.Error.Code != "PARAM_ERROR" || o.Error.Detail == nil {
		t.Fatalf("%d %s, want a PARAM_ERROR with detail", o.Status, o.Body)
	}
	location, _, _ := strings.Cut(field[1:], "/")
	if d := o.Error.Detail; d.Field != field || d.Location != location || !strings.Contains(d.Issue, issue) {
		t.Fatalf("detail %+v, want %s %q", *d, field, issue)
	}
}
