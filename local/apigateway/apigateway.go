// Package apigateway serves an API Gateway HTTP API in front of functions: stage
// $default, Lambda proxy integrations, payload format 2.0.
//
// Like the original:
//
//   - The path is percent-decoded once, before it is matched, and ends at a decoded
//     question mark. So %2F separates segments, and rawPath and the path parameters
//     of an event are decoded. The query is not decoded.
//   - A request over its route's throttling limit is answered 429, before the authorizer
//     is called.
//   - A request for which there is no route is answered 404. A trailing slash matters.
//   - A body is passed as text if its Content-Type is text, JSON, JavaScript or XML, or
//     is missing, and it is valid UTF-8; otherwise it is base64-encoded.
//   - A request that Lambda throttles is answered 503. If the function fails, or exceeds
//     its own timeout, the answer is 500.
//   - The [Authorizer] of a route is called before the function. What it says about the
//     caller is in the event.
//   - The gateway handles CORS.
package apigateway

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/time/rate"

	"membercard/local/lambda"
	"membercard/local/template"
)

const maxBodySize = 6 << 20 // bytes, Lambda's limit

// A Route sends the requests that match Key to Function.
type Route struct {
	Key        string // method and path, "POST /v3/x/{card_id}/y" or "GET /v3/{ticket+}"
	Function   *lambda.Function
	Authorizer Authorizer           // nil allows all requests
	Throttling *template.Throttling // nil means no limit
}

// New returns the API with the given routes. Literal segments take precedence over
// parameters, and parameters over greedy ones. If cors is not nil, the gateway answers
// preflight requests for all paths and adds CORS headers to all answers.
func New(routes []Route, cors *template.CORS) http.Handler {
	g := &gateway{cors: cors}
	for _, r := range routes {
		method, path, _ := strings.Cut(r.Key, " ")
		limiter := rate.NewLimiter(rate.Inf, 0)
		if r.Throttling != nil {
			limiter = rate.NewLimiter(rate.Limit(r.Throttling.Rate), r.Throttling.Burst)
		}
		g.routes = append(g.routes, route{r, method, path, limiter})
	}
	slices.SortStableFunc(g.routes, func(a, b route) int {
		return slices.CompareFunc(strings.Split(a.path, "/"), strings.Split(b.path, "/"), literalFirst)
	})
	return g
}

type gateway struct {
	routes []route        // literal segments before parameters
	cors   *template.CORS // may be nil
}

type route struct {
	Route
	method, path string
	limiter      *rate.Limiter
}

// parameter returns the name in a segment of the form {name} or, if it is greedy,
// {name+}.
func parameter(segment string) (name string, greedy, ok bool) {
	name, ok = strings.CutPrefix(segment, "{")
	if !ok {
		return "", false, false
	}
	name, ok = strings.CutSuffix(name, "}")
	name, greedy = strings.CutSuffix(name, "+")
	return name, greedy, ok
}

// literalFirst orders segments: literals, parameters, greedy parameters.
func literalFirst(a, b string) int {
	rank := func(segment string) int {
		switch _, greedy, ok := parameter(segment); {
		case greedy:
			return 2
		case ok:
			return 1
		}
		return 0
	}
	if order := cmp.Compare(rank(a), rank(b)); order != 0 || rank(a) > 0 {
		return order
	}
	return strings.Compare(a, b)
}

// Match returns the parameters in a decoded path if it matches a route's path. A greedy
// parameter must be the last segment; it matches the rest of the path.
func Match(routePath, path string) (params map[string]string, ok bool) {
	template, segments := strings.Split(routePath, "/"), strings.Split(path, "/")
	last := len(template) - 1
	if _, greedy, _ := parameter(template[last]); greedy && len(segments) > len(template) {
		segments = append(segments[:last], strings.Join(segments[last:], "/"))
	}
	if len(segments) != len(template) {
		return nil, false
	}
	params = make(map[string]string)
	for i, segment := range segments {
		if name, _, ok := parameter(template[i]); ok && segment != "" {
			params[name] = segment
		} else if segment != template[i] {
			return nil, false
		}
	}
	return params, true
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := newRequestID()
	w.Header().Set("Apigw-Requestid", requestID)
	if g.cors != nil {
		if isPreflight(r) {
			preflight(w, r, g.cors)
			return
		}
		allow(w, r, g.cors)
	}
	for _, route := range g.routes {
		params, ok := Match(route.path, decodedPath(r))
		switch {
		case !ok || r.Method != route.method:
			continue
		case !route.limiter.Allow():
			message(w, http.StatusTooManyRequests, "Too Many Requests")
		default:
			g.serve(w, r, route, params, requestID)
		}
		return
	}
	message(w, http.StatusNotFound, "Not Found")
}

// decodedPath returns the path that is matched with routes and passed to functions.
func decodedPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.URL.Path, "?")
	return path
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request, route route, params map[string]string, requestID string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodySize))
	if err != nil {
		message(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
		return
	}
	request := NewEvent(r, body, route.Key, params)
	request.RequestContext.RequestID = requestID
	if route.Authorizer != nil {
		caller, refused := route.Authorizer.authorize(r, body, request)
		if refused != 0 {
			message(w, refused, http.StatusText(refused))
			return
		}
		request.RequestContext.Authorizer = caller
	}
	event, _ := json.Marshal(request) // strings always marshal

	res, err := route.Function.Invoke(r.Context(), event)
	switch {
	case err != nil: // throttled
		message(w, http.StatusServiceUnavailable, "Service Unavailable")
	case res.FunctionError != nil:
		message(w, http.StatusInternalServerError, "Internal Server Error")
	default:
		respond(w, res.Payload)
	}
}

// NewEvent returns r as an event of format 2.0, with what functions read: without cookies,
// the parsed query, the time and the addresses. params are the parameters in r's path.
func NewEvent(r *http.Request, body []byte, routeKey string, params map[string]string) *events.APIGatewayV2HTTPRequest {
	event := &events.APIGatewayV2HTTPRequest{
		Version:        "2.0",
		RouteKey:       routeKey,
		RawPath:        decodedPath(r),
		RawQueryString: r.URL.RawQuery,
		Headers:        map[string]string{"host": r.Host},
		PathParameters: params,
	}
	for name, values := range r.Header {
		event.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	event.RequestContext.Stage = "$default"
	event.RequestContext.HTTP.Method, event.RequestContext.HTTP.Path = r.Method, event.RawPath
	if isText(r.Header.Get("Content-Type")) && utf8.Valid(body) {
		event.Body = string(body)
	} else {
		event.Body, event.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return event
}

func isText(contentType string) bool {
	if contentType == "" {
		return true
	}
	mediaType, _, _ := mime.ParseMediaType(contentType)
	switch mediaType {
	case "application/json", "application/javascript", "application/xml":
		return true
	}
	return strings.HasPrefix(mediaType, "text/")
}

// respond answers with a function's response, which must have a status code.
func respond(w http.ResponseWriter, payload []byte) {
	var res events.APIGatewayV2HTTPResponse
	err := json.Unmarshal(payload, &res)
	if err != nil || res.StatusCode < 200 || res.StatusCode > 599 {
		message(w, http.StatusInternalServerError, "Internal Server Error")
		return
	}
	for name, value := range res.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.WriteString(w, res.Body) // fails only if the client closed the connection
}

// message answers with an error of the gateway.
func message(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"message":%q}`, text) // fails only if the client closed the connection
}

// newRequestID returns an ID in the gateway's form: 16 characters.
func newRequestID() string {
	var b [11]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.URLEncoding.EncodeToString(b[:])
}
