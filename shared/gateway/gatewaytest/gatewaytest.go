// Package gatewaytest is for the tests of functions. It invokes a function as API Gateway
// does.
package gatewaytest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/apierror"
	"membercard/shared/cached"
	"membercard/shared/gateway"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
)

// Nowhere is an endpoint that nobody serves.
const Nowhere = tlsdialtest.Nowhere

// Event is a request in payload format 2.0.
type Event = events.APIGatewayV2HTTPRequest

var placeholder = regexp.MustCompile(`\{(\w+)\+?\}`)

// Request returns the event of a request for a route, such as
// "POST /cards/{card_id}/confirm". The values fill the path's parameters in order.
func Request(route, body string, values ...string) Event {
	event := Event{RouteKey: route, Body: body, PathParameters: map[string]string{}}
	method, path, _ := strings.Cut(route, " ")
	event.RequestContext.HTTP.Method = method
	for i, name := range placeholder.FindAllStringSubmatch(path, -1) {
		event.PathParameters[name[1]] = values[i]
		path = strings.Replace(path, name[0], values[i], 1)
	}
	event.RawPath = path
	return event
}

// SkipUnlessUTF8 skips an input of a fuzz test that can't be part of an event, because
// events are JSON.
func SkipUnlessUTF8(t testing.TB, texts ...string) {
	t.Helper()
	if !utf8.ValidString(strings.Join(texts, " ")) {
		t.Skip("events are JSON, which is UTF-8")
	}
}

// LoggedIn returns the event as it is after the authorizer proved the user's openid.
func LoggedIn(event Event, openid string) Event {
	event.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{
		Lambda: map[string]any{"openid": openid, "appid": "wx5f0c2b8e7d4a9361"},
	}
	return event
}

// WithJWT returns the event as it is after API Gateway accepted a JWT with these claims.
func WithJWT(event Event, claims map[string]string) Event {
	event.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{
		JWT: &events.APIGatewayV2HTTPRequestContextAuthorizerJWTDescription{Claims: claims},
	}
	return event
}

// ByIAM returns the event of a caller with IAM credentials.
func ByIAM(event Event) Event {
	event.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{
		IAM: &events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription{AccountID: "123456789012"},
	}
	return event
}

// InBase64 returns the event with its body in base64, as API Gateway sends a body that is
// not text.
func InBase64(event Event) Event {
	event.Body, event.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(event.Body)), true
	return event
}

// Outcome is what the caller got, and what the function logged.
type Outcome struct {
	Status  int
	Body    string
	Headers map[string]string
	Error   apierror.Error // the body of an answer of 400 or above
	Log     string
}

// Invoke sends a request to a function that logs to records. It fails
// the test if the runtime gets an error, or if the answer is not JSON that no
// cache may store.
func Invoke(t testing.TB, function lambda.Handler, records *telemetrytest.Records, event Event) Outcome {
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
	o := Outcome{Status: answer.StatusCode, Body: answer.Body, Headers: answer.Headers, Log: records.String()}
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

// Call sends a request to an operation that calls WeChat with client.
func Call[Client any](t testing.TB, client Client, operation func(context.Context, Client, *gateway.Request) (*gateway.Response, error), event Event) Outcome {
	t.Helper()
	log, records := telemetrytest.New()
	return Invoke(t, gateway.NewHandler(log, client, operation), records, event)
}

// Source is a [cached.Source] of a secret that does not change. It counts how often it was
// asked for it, which functions do after validation.
type Source[T any] struct {
	Secret *T                               // nil: it can't be read
	OnGet  func(ctx context.Context, n int) // called by the nth Get, from 1

	asked atomic.Int64
}

// Get implements [cached.Source].
func (s *Source[T]) Get(ctx context.Context) (*T, error) {
	n := s.asked.Add(1)
	if s.OnGet != nil {
		s.OnGet(ctx, int(n))
	}
	if s.Secret == nil {
		return nil, errors.New("this source has no secret")
	}
	return s.Secret, nil
}

// Refresh implements [cached.Source].
func (s *Source[T]) Refresh(context.Context, *T) (*T, error) { return s.Secret, nil }

// Asked returns how often the secret was asked for.
func (s *Source[T]) Asked() int { return int(s.asked.Load()) }

// Operation sends a request to an operation under test, which calls WeChat at endpoint. If
// endpoint is "", the operation's secret can't be read.
type Operation func(t testing.TB, event Event, endpoint string) Outcome

// Of returns an operation that [gateway.Start] takes, with the client that connect returns. The
// operation fails a test if it refuses a request as bad input, but asked for the secret before:
// so the request may have reached WeChat.
func Of[T, Client any](source func(testing.TB) *Source[T], connect func(from cached.Source[*T], endpoint string) Client, operation func(context.Context, Client, *gateway.Request) (*gateway.Response, error)) Operation {
	return func(t testing.TB, event Event, endpoint string) Outcome {
		t.Helper()
		from := &Source[T]{}
		if endpoint != "" {
			from = source(t)
		}
		o := Call(t, connect(from, endpoint), operation, event)
		if n := from.Asked(); endpoint == "" && n > 0 && o.Error.Code == "PARAM_ERROR" {
			t.Errorf("the secret was asked for %d times before the refusal %s", n, o.Body)
		}
		return o
	}
}

// Invoke sends a request to the operation.
func (f Operation) Invoke(t testing.TB, event Event, endpoint string) Outcome {
	t.Helper()
	return f(t, event, endpoint)
}

// Validate sends a request, good or bad, and reports whether it passed validation. A refusal
// must be a PARAM_ERROR at, or inside, one of the fields, JSON pointers such as /body.
func (f Operation) Validate(t testing.TB, event Event, fields ...string) (o Outcome, passed bool) {
	t.Helper()
	o = f(t, event, "")
	return o, o.PassedValidation(t, fields...)
}

// Accepts checks that a request passes validation.
func (f Operation) Accepts(t testing.TB, event Event) {
	t.Helper()
	if o, passed := f.Validate(t, event, ""); !passed {
		t.Errorf("refused: %s", o.Body)
	}
}

// Refuses checks that a request is refused at a field, for an issue that contains a text,
// before the secret is read and before any call.
func (f Operation) Refuses(t testing.TB, event Event, field, issue string) Outcome {
	t.Helper()
	o, passed := f.Validate(t, event, field)
	if passed {
		t.Fatal("bad input passed validation")
	}
	o.RequireParamError(t, field, issue)
	return o
}

// RefusesAlike checks that a request gets the same refusal each of n times. It would not if
// the order of the faults depended on the order of a map.
func (f Operation) RefusesAlike(t testing.TB, n int, event Event, field, issue string) {
	t.Helper()
	first := f.Refuses(t, event, field, issue).Body
	for range n - 1 {
		if o := f.Refuses(t, event, field, issue); o.Body != first {
			t.Fatalf("refused now with %s, now with %s", first, o.Body)
		}
	}
}

// PassedValidation reports whether a request passed the validation of a function whose
// secret can't be read: the outcome is the error for the secret. Otherwise it must be a
// PARAM_ERROR at, or inside, one of the fields, JSON pointers such as /body.
func (o Outcome) PassedValidation(t testing.TB, fields ...string) bool {
	t.Helper()
	if o.Error.Code == "CONFIG_ERROR" {
		return true
	}
	if o.Error.Detail == nil || o.Error.Detail.Issue == "" || !slices.ContainsFunc(fields, func(field string) bool {
		return strings.HasPrefix(o.Error.Detail.Field+"/", field+"/")
	}) {
		t.Fatalf("%d %s, want a detail of one of %q", o.Status, o.Body, fields)
	}
	o.RequireParamError(t, o.Error.Detail.Field, "")
	return false
}

// Quotes returns the ways in which WeChat's messages quote a value of a request.
func Quotes(value string) []string {
	var escaped strings.Builder
	for _, c := range value {
		fmt.Fprintf(&escaped, `\u%04x`, c)
	}
	const cut = 5
	quotes := []string{value, escaped.String(), url.QueryEscape(value), base64.StdEncoding.EncodeToString([]byte(value)), strings.ToUpper(value)}
	if runes := []rune(value); len(runes) > 2*cut {
		quotes = append(quotes, string(runes[:len(runes)-cut]), string(runes[cut:]))
	}
	return quotes
}

// RequireNotLogged fails the test if the log contains one of the values.
func (o Outcome) RequireNotLogged(t testing.TB, values ...string) {
	t.Helper()
	for _, value := range values {
		if strings.Contains(o.Log, value) {
			t.Errorf("%s is logged: %s", value, o.Log)
		}
	}
}

// RequireNotRepeated fails the test if the answer or the log contains one of the
// values.
func (o Outcome) RequireNotRepeated(t testing.TB, values ...string) {
	t.Helper()
	for _, value := range values {
		if strings.Contains(o.Body, value) {
			t.Errorf("%s is in the answer: %s", value, o.Body)
		}
	}
	o.RequireNotLogged(t, values...)
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
