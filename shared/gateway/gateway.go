// Package gateway turns an operation into a Lambda function behind an API Gateway HTTP
// API. It reads events of payload format 2.0 and answers with JSON. Errors have the shape
// of WeChat Pay APIv3.
package gateway

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/apierror"
	"membercard/shared/deadline"
	"membercard/shared/env"
	"membercard/shared/invocation"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

const (
	// maxBody is the default of [Handler.MaxBody].
	maxBody = 16 << 10
	// timeout is the default of [Handler.Timeout]. API Gateway waits at most 30 s.
	timeout = 29 * time.Second
)

// event has the members of an event of payload format 2.0 that this package uses. The
// others may have any form.
type event struct {
	RouteKey        string            `json:"routeKey"`
	RawPath         string            `json:"rawPath"`
	RawQueryString  string            `json:"rawQueryString"`
	Headers         map[string]string `json:"headers"`
	PathParameters  map[string]string `json:"pathParameters"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
	RequestContext  struct {
		Stage      string `json:"stage"`
		Authorizer struct {
			Lambda json.RawMessage `json:"lambda"` // the context of the authorizer's answer, or null
			JWT    json.RawMessage `json:"jwt"`
		} `json:"authorizer"`
		HTTP struct {
			Method string `json:"method"`
		} `json:"http"`
	} `json:"requestContext"`
}

// Request is a request as handlers see it.
type Request struct {
	event   event
	maxBody int // bytes, decoded
}

// Path returns the path of the route, such as /card/update, with {name} for a parameter.
// For the route $default it returns the path of the request, without the stage.
func (r *Request) Path() string {
	if _, path, ok := strings.Cut(r.event.RouteKey, " "); ok {
		return path
	}
	if path, ok := strings.CutPrefix(r.event.RawPath, "/"+r.event.RequestContext.Stage+"/"); ok {
		return "/" + path
	}
	return r.event.RawPath
}

// PathParameter returns a parameter of the route's path. It is percent-decoded, because
// an HTTP API decodes the whole path before it matches routes.
func (r *Request) PathParameter(name string) string { return r.event.PathParameters[name] }

// GreedyPathParameter returns the parameter of a route that ends in {name+}: the rest of
// the path, with every slash in it. AWS does not document whether the event's parameter
// keeps slashes at its ends and repeated slashes, so they are taken from the path.
func (r *Request) GreedyPathParameter(name string) string {
	parameter := r.PathParameter(name)
	prefix, _, _ := strings.Cut(r.Path(), "{"+name+"+}")
	_, rest, _ := strings.Cut(r.event.RawPath, prefix)
	withoutSlashes := func(text string) string { return strings.ReplaceAll(text, "/", "") }
	if len(rest) > len(parameter) && withoutSlashes(rest) == withoutSlashes(parameter) {
		return rest
	}
	return parameter
}

// RawQuery returns the query string as it was sent, neither decoded nor encoded.
func (r *Request) RawQuery() string { return r.event.RawQueryString }

// Header returns the request's headers. Their names are canonical, whatever their
// case was in the event.
func (r *Request) Header() http.Header {
	header := http.Header{}
	for name, value := range r.event.Headers {
		header.Set(name, value)
	}
	return header
}

// FromPage reports whether the caller is somebody on the internet who has logged in: an
// authorizer or a JWT let the request pass. A caller with IAM credentials is the merchant's
// own system, and so is one of a request without an authorizer.
func (r *Request) FromPage() bool {
	by := r.event.RequestContext.Authorizer
	return by.Lambda != nil || by.JWT != nil
}

// OpenID returns the openid that the authorizer, or the claim openid of a JWT, proved. It
// returns "" if none is proved.
func (r *Request) OpenID() (openid string) {
	strictjson.Member(r.event.RequestContext.Authorizer.Lambda, "openid", &openid)
	strictjson.Member(r.claims(), "openid", &openid)
	return openid
}

// HasJWTWithoutOpenID reports whether a JWT that has no claim openid let the request pass.
func (r *Request) HasJWTWithoutOpenID() bool {
	var claim json.RawMessage
	by := r.event.RequestContext.Authorizer
	return by.JWT != nil && by.Lambda == nil && !strictjson.Member(r.claims(), "openid", &claim)
}

func (r *Request) claims() (claims json.RawMessage) {
	strictjson.Member(r.event.RequestContext.Authorizer.JWT, "claims", &claims)
	return claims
}

// RequireOwnOpenID returns an error if the request is from a page and the openid at a JSON
// pointer is neither missing nor the proved one.
func (r *Request) RequireOwnOpenID(openid, pointer string) error {
	if r.FromPage() && openid != "" && openid != r.OpenID() {
		return apierror.OpenIDMismatch(pointer)
	}
	return nil
}

// Body returns the body, byte for byte as it was sent. It returns a PARAM_ERROR if the
// body is larger than [Handler.MaxBody], or is marked as base64 but is not.
func (r *Request) Body() ([]byte, error) {
	body := []byte(r.event.Body)
	if r.event.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(r.event.Body); err != nil {
			return nil, Fault(strictjson.Fault{Issue: "is marked as base64 but is not"})
		}
	}
	if len(body) > r.maxBody {
		return nil, Fault(strictjson.Fault{Issue: fmt.Sprintf("must have at most %d KiB", r.maxBody>>10)})
	}
	return body, nil
}

// Decode decodes the body into a struct with [strictjson.Decode]. It returns a PARAM_ERROR
// for the first fault.
func (r *Request) Decode(into any) error {
	body, err := r.Body()
	if err != nil {
		return err
	}
	if faults := strictjson.Decode(body, into); len(faults) > 0 {
		return Fault(faults[0])
	}
	return nil
}

// Fault returns the PARAM_ERROR for a fault of the body.
func Fault(f strictjson.Fault) error {
	return apierror.InvalidParam(apierror.Detail{Field: "/body" + f.Path, Value: f.Value, Issue: f.Issue, Undocumented: f.Undocumented})
}

// Response is a successful response.
type Response struct {
	Status    int    // 0 means 200
	Body      []byte // JSON; empty with status 204
	RequestID string // WeChat's, if WeChat was called
}

// Pass takes the results of a call of WeChat. It returns the answer as the response,
// unchanged, or else the call's error.
func Pass(answer *upstream.Answer, err error) (*Response, error) {
	if err != nil {
		return nil, err
	}
	return &Response{Status: answer.Status, Body: answer.Body, RequestID: answer.RequestID()}, nil
}

// PassObject is [Pass] for an answer that must be a JSON object. For any other it returns
// the error of [upstream.Answer.Invalid].
func PassObject(answer *upstream.Answer, err error) (*Response, error) {
	if err == nil {
		err = answer.RequireObject()
	}
	return Pass(answer, err)
}

// PassObjectOrNothing is [PassObject] for an answer that may have no body.
func PassObjectOrNothing(answer *upstream.Answer, err error) (*Response, error) {
	if err == nil && len(answer.Body) == 0 {
		return Pass(answer, nil)
	}
	return PassObject(answer, err)
}

// Handler is a lambda.Handler of aws-lambda-go for one operation. It answers every HTTP
// request, even after an error or a panic, and writes a log record for it. For any other
// event it returns an error.
type Handler struct {
	Operation func(context.Context, *Request) (*Response, error)
	Log       *telemetry.Log

	// MaxBody is the maximum size of a request's body in bytes, after decoding
	// base64; 0 means 16 KiB.
	MaxBody int
	// Timeout is the maximum duration of a request; 0 means 29 s.
	Timeout time.Duration
	// ErrorBody returns the JSON body of an error answer. If it is nil, the body is
	// the JSON of [apierror.Error].
	ErrorBody func(*apierror.Error) []byte
}

// Invoke implements lambda.Handler.
func (h Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var event event
	malformed := json.Unmarshal(payload, &event) // still decodes the members of the documented types
	if event.RouteKey == "" && event.RequestContext.HTTP.Method == "" {
		return nil, errors.New("this function is for API Gateway HTTP API events of payload format 2.0")
	}
	ctx, cancel := deadline.WithReserve(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, cmp.Or(h.Timeout, timeout))
	defer cancel()
	ctx, record := h.Log.Begin(ctx, invocation.ID(ctx))
	telemetry.Annotate(ctx, slog.String("route", event.RouteKey))
	request := &Request{event: event, maxBody: cmp.Or(h.MaxBody, maxBody)}
	if malformed != nil {
		return h.refuse(ctx, record, malformed)
	}
	response, err := h.operate(ctx, request)
	if err != nil {
		return h.refuse(ctx, record, err)
	}
	status := cmp.Or(response.Status, http.StatusOK)
	record.End(ctx, slog.LevelInfo, "answered", "OK", slog.Int("status", status), slog.String("wechat_request_id", response.RequestID))
	return render(status, response.Body, response.RequestID, 0)
}

// operate calls the operation. A panic becomes an error.
func (h Handler) operate(ctx context.Context, request *Request) (response *Response, err error) {
	defer apierror.Recover(ctx, &err)
	response, err = h.Operation(ctx, request)
	if response == nil && err == nil {
		err = errors.New("the operation returned neither a response nor an error")
	}
	return response, err
}

// refuse answers with an error. The log record has its cause and cure, which the caller
// does not get. It has neither WeChat's message nor the value at fault, because both may
// be personal data.
func (h Handler) refuse(ctx context.Context, record *telemetry.Record, err error) ([]byte, error) {
	e := apierror.From(err)
	attrs := []slog.Attr{slog.Int("status", e.Status), slog.String("wechat_request_id", e.RequestID)}
	if e.Detail != nil {
		attrs = append(attrs, slog.String("field", e.Detail.KnownField()))
	}
	attrs = append(attrs, slog.String("cause", cause(e)))
	if e.Cure != "" {
		attrs = append(attrs, slog.String("cure", e.Cure))
	}
	record.Count(e.Metric())
	record.End(ctx, level(e), "refused", e.Code, attrs...)
	body, _ := json.Marshal(e)
	if h.ErrorBody != nil {
		body = h.ErrorBody(e)
	}
	return render(e.Status, body, e.RequestID, e.RetryAfter)
}

func level(e *apierror.Error) slog.Level {
	switch {
	case e.Status >= http.StatusInternalServerError:
		return slog.LevelError
	case e.Expected:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// cause returns what happened, in our own words. Without a cause the message is our own.
func cause(e *apierror.Error) string {
	switch {
	case e.Cause != nil:
		return e.Cause.Error()
	case e.Detail != nil && e.Detail.Undocumented > 0:
		return "a field whose name the caller chose " + e.Detail.Issue
	}
	return e.Message
}

func render(status int, body []byte, requestID string, retryAfter time.Duration) ([]byte, error) {
	headers := map[string]string{"Cache-Control": "no-store"}
	if status != http.StatusNoContent {
		headers["Content-Type"] = "application/json"
	}
	if requestID != "" {
		headers["X-WeChat-Request-Id"] = requestID
	}
	if retryAfter > 0 {
		headers["Retry-After"] = strconv.Itoa(int(retryAfter.Seconds()))
	}
	return json.Marshal(events.APIGatewayV2HTTPResponse{StatusCode: status, Headers: headers, Body: string(body)})
}

// Start runs a Lambda function that has one operation. It calls connect once, during
// init, for the client with which the operation calls WeChat. It does not return.
func Start[Client any](connect func(*telemetry.Log) Client, operation func(context.Context, Client, *Request) (*Response, error)) {
	log := env.Log()
	lambda.Start(NewHandler(log, connect(log), operation))
}

// NewHandler returns the handler of an operation that calls WeChat with client.
func NewHandler[Client any](log *telemetry.Log, client Client, operation func(context.Context, Client, *Request) (*Response, error)) Handler {
	return Handler{Log: log, Operation: func(ctx context.Context, r *Request) (*Response, error) {
		return operation(ctx, client, r)
	}}
}
