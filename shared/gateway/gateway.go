// Package gateway is the way in and out of a function behind an API Gateway HTTP
// API: events of payload format 2.0 in, JSON and APIv3-shaped errors out.
package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/apierror"
	"membercard/shared/invocation"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

// maxBody is the size of a request's body, decoded, above which it is refused.
const maxBody = 16 << 10

// timeout is the longest time for a request. API Gateway waits for 30 s.
const timeout = 29 * time.Second

// event is what is used of an event of payload format 2.0. The rest may look as
// it likes.
type event struct {
	RouteKey        string            `json:"routeKey"`
	RawPath         string            `json:"rawPath"`
	PathParameters  map[string]string `json:"pathParameters"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
	RequestContext  struct {
		Stage      string `json:"stage"`
		Authorizer struct {
			Lambda struct {
				OpenID string `json:"openid"`
			} `json:"lambda"`
		} `json:"authorizer"`
		HTTP struct {
			Method string `json:"method"`
		} `json:"http"`
	} `json:"requestContext"`
}

// Request is what a handler gets to see of an event.
type Request struct {
	event   event
	private []string
}

// Path is the path of the operation, without stage: the route's, where it has no
// parameters.
func (r *Request) Path() string {
	if _, path, ok := strings.Cut(r.event.RouteKey, " "); ok {
		return path
	}
	if path, ok := strings.CutPrefix(r.event.RawPath, "/"+r.event.RequestContext.Stage+"/"); ok {
		return "/" + path
	}
	return r.event.RawPath
}

// PathParameter is a parameter of the route's path, decoded.
func (r *Request) PathParameter(name string) string { return r.event.PathParameters[name] }

// OpenID is the openid that the authorizer has proven, or "" where there is no
// such authorizer.
func (r *Request) OpenID() string { return r.event.RequestContext.Authorizer.Lambda.OpenID }

// RequireOwnOpenID refuses an openid, at a pointer, that is not the proven one: nobody
// gets anything for somebody else.
func (r *Request) RequireOwnOpenID(openid, pointer string) error {
	if proven := r.OpenID(); proven != "" && openid != "" && openid != proven {
		return apierror.OpenIDMismatch(pointer)
	}
	return nil
}

// Redact has a value, an openid for instance, kept out of the log and out of what
// is repeated to the caller.
func (r *Request) Redact(private string) {
	const least = 6 // a shorter one would take words of ours out as well
	if len(private) >= least {
		r.private = append(r.private, private)
	}
}

// Decode fills a struct from the body, strictly (see [strictjson.Decode]), or
// returns the PARAM_ERROR for the first fault.
func (r *Request) Decode(into any) error {
	body := []byte(r.event.Body)
	if r.event.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(r.event.Body); err != nil {
			return Fault(strictjson.Fault{Issue: "is marked as base64 but is not"})
		}
	}
	if len(body) > maxBody {
		return Fault(strictjson.Fault{Issue: "must have at most 16 KiB"})
	}
	err := strictjson.Decode(body, into)
	if faults, ok := errors.AsType[strictjson.Faults](err); ok {
		return Fault(faults[0])
	}
	return err
}

// Fault is the PARAM_ERROR for a fault of the body.
func Fault(f strictjson.Fault) error {
	return apierror.InvalidParam(apierror.Detail{Field: "/body" + f.Path, Value: f.Value, Issue: f.Issue, Location: "body", Foreign: f.Foreign})
}

// Response is a success: a JSON body and, if it came from WeChat, its Request-ID.
type Response struct {
	Body      []byte
	RequestID string
}

// Handler is a Lambda handler (a lambda.Handler of aws-lambda-go) for one
// operation. Whatever happens, an HTTP request is answered, with JSON, and leaves
// one record in the log; another event is an error.
type Handler struct {
	Operation func(context.Context, *Request) (*Response, error)
	Log       *telemetry.Log
}

// Invoke implements lambda.Handler.
func (h Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var event event
	if err := json.Unmarshal(payload, &event); err != nil || event.RouteKey == "" && event.RequestContext.HTTP.Method == "" {
		return nil, errors.New("this function is for API Gateway HTTP API events of payload format 2.0")
	}
	ctx, cancel := invocation.WithReserve(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, record := h.Log.Begin(ctx, invocation.ID(ctx))
	telemetry.Annotate(ctx, slog.String("route", event.RouteKey))
	request := &Request{event: event}
	response, err := h.operate(ctx, request)
	if err != nil {
		return refuse(ctx, record, request, err)
	}
	record.End(ctx, slog.LevelInfo, "answered", "OK", slog.Int("status", http.StatusOK), slog.String("wechat_request_id", response.RequestID))
	return render(http.StatusOK, response.Body, response.RequestID, 0)
}

// operate calls the operation; a panic becomes an error like any other.
func (h Handler) operate(ctx context.Context, request *Request) (response *Response, err error) {
	defer func() {
		if value := recover(); value != nil {
			telemetry.Annotate(ctx, slog.String("stack", string(debug.Stack())))
			err = apierror.FromPanic(value)
		}
	}()
	response, err = h.Operation(ctx, request)
	if response == nil && err == nil {
		err = errors.New("the operation gave neither an answer nor an error")
	}
	return response, err
}

// refuse tells the caller and the operator, each in his own way, why there is no
// success.
func refuse(ctx context.Context, record *telemetry.Record, request *Request, err error) ([]byte, error) {
	e, ok := errors.AsType[*apierror.Error](err)
	if !ok || e == nil {
		e = apierror.FromPanic(err)
	}
	told := *e
	told.Message = request.hide(e.Message)
	level, attrs := slog.LevelWarn, []slog.Attr{slog.Int("status", e.Status), slog.String("wechat_request_id", e.RequestID)}
	if e.Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	cause := told.Message
	if e.Cause != nil {
		cause = request.hide(e.Cause.Error())
	}
	if e.Detail != nil {
		detail := *e.Detail
		detail.Field, detail.Issue, detail.Location = request.hide(detail.Field), request.hide(detail.Issue), request.hide(detail.Location)
		if text := fmt.Sprint(detail.Value); text != request.hide(text) {
			detail.Value = nil
		}
		told.Detail = &detail
		field := detail.Field
		if detail.Foreign {
			field = field[:strings.LastIndex(field, "/")+1] + "…"
			cause = "a name that was sent " + detail.Issue
		}
		attrs = append(attrs, slog.String("field", field))
	}
	attrs = append(attrs, slog.String("cause", cause))
	if e.Cure != "" {
		attrs = append(attrs, slog.String("cure", e.Cure))
	}
	record.End(ctx, level, "refused", e.Code, attrs...)
	body, _ := json.Marshal(told)
	return render(e.Status, body, e.RequestID, e.RetryAfter)
}

// hide takes what is private out of a text.
func (r *Request) hide(text string) string {
	for _, private := range r.private {
		text = strings.ReplaceAll(text, private, "…")
	}
	return text
}

func render(status int, body []byte, requestID string, retryAfter time.Duration) ([]byte, error) {
	headers := map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"}
	if requestID != "" {
		headers["X-WeChat-Request-Id"] = requestID
	}
	if retryAfter > 0 {
		headers["Retry-After"] = strconv.Itoa(int(retryAfter.Seconds()))
	}
	return json.Marshal(events.APIGatewayV2HTTPResponse{StatusCode: status, Headers: headers, Body: string(body)})
}
