package apigateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	runtime "github.com/aws/aws-lambda-go/lambda"

	"membercard/local/lambda"
	"membercard/local/template"
	"membercard/wechat/network/networktest"
)

// TestMain also is the functions under test: this binary, where it has a Runtime API. They
// echo the event as a body, or follow the order in a request's body or Authorization.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("AWS_LAMBDA_RUNTIME_API") == "":
		os.Exit(m.Run())
	case os.Getenv("AWS_LAMBDA_FUNCTION_NAME") == "authorizer":
		beAuthorizer()
	default:
		runtime.Start(echo)
	}
}

func echo(_ context.Context, event json.RawMessage) (any, error) {
	var request struct{ Body string }
	if err := json.Unmarshal(event, &request); err != nil {
		return nil, err
	}
	var order struct {
		Do, Addr string
		Answer   json.RawMessage
	}
	_ = json.Unmarshal([]byte(request.Body), &order) // a body need not be an order
	switch order.Do {
	case "answer":
		return order.Answer, nil
	case "error":
		return nil, errors.New("as ordered")
	case "exit":
		os.Exit(7)
	case "hang":
		time.Sleep(time.Hour)
	}
	return map[string]any{"statusCode": 200, "body": string(event)}, nil
}

// beAuthorizer fails, hangs or answers the JSON in a request's Authorization. On true it
// authorizes the request and returns the number of its invocation and the event.
func beAuthorizer() {
	count := 0
	runtime.Start(func(_ context.Context, event json.RawMessage) (any, error) {
		count++
		var request struct {
			Headers struct{ Authorization string }
		}
		if err := json.Unmarshal(event, &request); err != nil {
			return nil, err
		}
		switch order := request.Headers.Authorization; order {
		case "true":
			return map[string]any{"isAuthorized": true, "context": map[string]any{"count": count, "event": event}}, nil
		case "error":
			return nil, errors.New("as ordered")
		case "hang":
			time.Sleep(time.Hour)
			return nil, nil
		default:
			return json.RawMessage(order), nil
		}
	})
}

// binary returns the path of this binary.
func binary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func newFunction(t *testing.T) *lambda.Function {
	t.Helper()
	f, err := lambda.New(lambda.Config{Name: "echo", Binary: binary(t), Timeout: time.Minute, MaxInstances: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// serve serves routes of the given keys, all to f.
func serve(t *testing.T, f *lambda.Function, keys ...string) *httptest.Server {
	t.Helper()
	var routes []Route
	for _, key := range keys {
		routes = append(routes, Route{Key: key, Function: f})
	}
	server := httptest.NewServer(New(routes, nil))
	t.Cleanup(server.Close)
	return server
}

// do sends a request and returns the answer with its body read.
func do(t *testing.T, method, url, contentType string, body []byte) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return send(t, req)
}

func send(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	res, text := networktest.Do(t, http.DefaultTransport.RoundTrip, req) // redirects are answers too
	if id := res.Header.Get("apigw-requestid"); len(id) != 16 {
		t.Errorf("apigw-requestid is %q, want 16 characters", id)
	}
	return res, string(text)
}

func TestRouting(t *testing.T) {
	server := serve(t, newFunction(t), "POST /a/{x}", "GET /a/{x}", "GET /a/{x}/b/{y}", "GET /a/b", "GET /a/{x}/b/c", "GET /", "GET /g/{t+}", "GET /g/{x}", "GET /g/{x}/z", "POST /g/{t+}")
	tests := []struct {
		method, path string
		key          string // empty: not found
		params       map[string]string
	}{
		{"GET", "/a/1", "GET /a/{x}", map[string]string{"x": "1"}},
		{"POST", "/a/1", "POST /a/{x}", map[string]string{"x": "1"}},
		{"GET", "/a/b", "GET /a/b", nil},
		{"GET", "/a/b/b/c", "GET /a/{x}/b/c", map[string]string{"x": "b"}},
		{"GET", "/a/b/b/d", "GET /a/{x}/b/{y}", map[string]string{"x": "b", "y": "d"}},
		{"GET", "/a/%E5%8D%A1%20+%25", "GET /a/{x}", map[string]string{"x": "卡 +%"}},
		{"GET", "/a/%62", "GET /a/b", nil},
		{"GET", "/a/1%2Fb%2F2", "GET /a/{x}/b/{y}", map[string]string{"x": "1", "y": "2"}},
		{"GET", "/", "GET /", nil},
		{"GET", "/a/1%3Fx=2/b/3", "GET /a/{x}", map[string]string{"x": "1"}},
		{"GET", "/a/1%3Fx=2?y=3", "GET /a/{x}", map[string]string{"x": "1"}},
		{"GET", "/a/1%253F", "GET /a/{x}", map[string]string{"x": "1%3F"}},
		{"GET", "/g/1", "GET /g/{x}", map[string]string{"x": "1"}},
		{"GET", "/g/1/2", "GET /g/{t+}", map[string]string{"t": "1/2"}},
		{"GET", "/g/1/z", "GET /g/{x}/z", map[string]string{"x": "1"}},
		{"GET", "/g/1%2F2%2F%2F3", "GET /g/{t+}", map[string]string{"t": "1/2//3"}},
		{"GET", "/g/1//", "GET /g/{t+}", map[string]string{"t": "1//"}},
		{"POST", "/g/1", "POST /g/{t+}", map[string]string{"t": "1"}},
		{"POST", "/g/a+b%2B%20=", "POST /g/{t+}", map[string]string{"t": "a+b+ ="}},
		{"POST", "/g/", "", nil},
		{"POST", "/g", "", nil},
		{"POST", "/g/%3Fx", "", nil},
		{"GET", "/a/1/", "", nil},
		{"GET", "/a/", "", nil},
		{"GET", "/a//b/c", "", nil},
		{"GET", "//a/1", "", nil},
		{"GET", "/a/1/b", "", nil},
		{"GET", "/A/1", "", nil},
		{"PUT", "/a/1", "", nil},
		{"HEAD", "/a/1", "", nil},
	}
	for _, test := range tests {
		t.Run(test.method+test.path, func(t *testing.T) {
			res, body := do(t, test.method, server.URL+test.path, "", nil)
			if test.key == "" {
				if want := `{"message":"Not Found"}`; res.StatusCode != 404 || test.method != "HEAD" && body != want {
					t.Errorf("%d %s, want 404 %s", res.StatusCode, body, want)
				}
				return
			}
			var event events.APIGatewayV2HTTPRequest
			if err := json.Unmarshal([]byte(body), &event); err != nil {
				t.Fatalf("%d %s: %v", res.StatusCode, body, err)
			}
			if event.RouteKey != test.key || !reflect.DeepEqual(event.PathParameters, test.params) {
				t.Errorf("route %s %v, want %s %v", event.RouteKey, event.PathParameters, test.key, test.params)
			}
		})
	}
}

func TestEvent(t *testing.T) {
	server := serve(t, newFunction(t), "POST /v3/{id}")
	req, err := http.NewRequest("POST", server.URL+"/v3/%E5%8D%A1?b=1&a=x%20y&b=2", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.example.com"
	req.Header = http.Header{
		"Accept-Encoding": {"identity"},
		"Content-Type":    {"application/json; charset=utf-8"},
		"User-Agent":      {"test"},
		"X-Forwarded-For": {"192.0.2.1"},
		"X-Many":          {"1", "2"},
	}
	before := time.Now().UnixMilli()
	res, body := send(t, req)
	var event events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	rc := event.RequestContext
	if when, err := time.Parse("02/Jan/2006:15:04:05 -0700", rc.Time); err != nil || when.Unix() != rc.TimeEpoch/1000 || rc.TimeEpoch < before {
		t.Errorf("time is %s and %d, want one of now", rc.Time, rc.TimeEpoch)
	}
	want := events.APIGatewayV2HTTPRequest{
		Version:        "2.0",
		RouteKey:       "POST /v3/{id}",
		RawPath:        "/v3/卡",
		RawQueryString: "b=1&a=x%20y&b=2",
		Headers: map[string]string{
			"accept-encoding": "identity",
			"content-length":  "2",
			"content-type":    "application/json; charset=utf-8",
			"host":            "api.example.com",
			"user-agent":      "test",
			"x-forwarded-for": "192.0.2.1,127.0.0.1",
			"x-many":          "1,2",
		},
		PathParameters: map[string]string{"id": "卡"},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey:   "POST /v3/{id}",
			AccountID:  "123456789012",
			Stage:      "$default",
			RequestID:  res.Header.Get("apigw-requestid"),
			APIID:      "local",
			DomainName: "api.example.com",
			Time:       rc.Time,
			TimeEpoch:  rc.TimeEpoch,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: "POST", Path: "/v3/卡", Protocol: "HTTP/1.1", SourceIP: "127.0.0.1", UserAgent: "test",
			},
		},
		Body: "{}",
	}
	if !reflect.DeepEqual(event, want) {
		t.Errorf("event is\n%+v, want\n%+v", event, want)
	}
}

func TestBodyEncoding(t *testing.T) {
	server := serve(t, newFunction(t), "POST /")
	tests := []struct {
		contentType, body string
		encoded           bool
	}{
		{"", "text", false},
		{"", "", false},
		{"text/plain", "text", false},
		{"Text/Html; charset=utf-8", "text", false},
		{"application/json", `[1]`, false},
		{"application/javascript", "text", false},
		{"application/xml", "text", false},
		{"application/problem+json", `[1]`, true},
		{"application/x-www-form-urlencoded", "a=1", true},
		{"application/octet-stream", "text", true},
		{"image/png", "\x89PNG", true},
		{"application/json", "\xff", true},
		{"", "\xff", true},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %q", test.contentType, test.body), func(t *testing.T) {
			_, answer := do(t, "POST", server.URL, test.contentType, []byte(test.body))
			var event events.APIGatewayV2HTTPRequest
			if err := json.Unmarshal([]byte(answer), &event); err != nil {
				t.Fatal(err)
			}
			want := test.body
			if test.encoded {
				want = base64.StdEncoding.EncodeToString([]byte(want))
			}
			if event.Body != want || event.IsBase64Encoded != test.encoded {
				t.Errorf("body %q, encoded %v, want %q, %v", event.Body, event.IsBase64Encoded, want, test.encoded)
			}
		})
	}
}

func TestResponse(t *testing.T) {
	const failed = `{"message":"Internal Server Error"}`
	server := serve(t, newFunction(t), "POST /")
	tests := []struct {
		name   string
		order  string
		status int
		header http.Header // those besides Date, Content-Length and Apigw-Requestid
		body   string
	}{
		{"whole", answer(`{"statusCode":201,"headers":{"content-type":"application/json","x-a":"1"},"body":"{}"}`),
			201, http.Header{"Content-Type": {"application/json"}, "X-A": {"1"}}, `{}`},
		{"no content type", answer(`{"statusCode":200,"body":"a"}`), 200, http.Header{"Content-Type": {"text/plain;charset=UTF-8"}}, `a`},
		{"no body", answer(`{"statusCode":204}`), 204, http.Header{}, ``},
		{"redirect", answer(`{"statusCode":302,"headers":{"location":"/x"}}`), 302, http.Header{"Location": {"/x"}}, ``},
		{"base64", answer(`{"statusCode":200,"headers":{"content-type":"a/b"},"body":"AP8=","isBase64Encoded":true}`),
			200, http.Header{"Content-Type": {"a/b"}}, "\x00\xff"},
		{"content length", answer(`{"statusCode":200,"headers":{"content-length":"9","content-type":"a/b"},"body":"a"}`), 200, http.Header{"Content-Type": {"a/b"}}, `a`},
		{"no status", answer(`{"a":1}`), 500, http.Header{"Content-Type": {"application/json"}}, failed},
		{"status is no number", answer(`{"statusCode":"x"}`), 500, http.Header{"Content-Type": {"application/json"}}, failed},
		{"status out of range", answer(`{"statusCode":42}`), 500, http.Header{"Content-Type": {"application/json"}}, failed},
		{"body is no string", answer(`{"statusCode":200,"body":{}}`), 500, http.Header{"Content-Type": {"application/json"}}, failed},
		{"body is not base64", answer(`{"statusCode":200,"body":"?","isBase64Encoded":true}`), 500, http.Header{"Content-Type": {"application/json"}}, failed},
		{"function error", `{"do":"error"}`, 500, http.Header{"Content-Type": {"application/json"}}, failed},
		{"function exits", `{"do":"exit"}`, 500, http.Header{"Content-Type": {"application/json"}}, failed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, body := do(t, "POST", server.URL, "application/json", []byte(test.order))
			for _, name := range []string{"Date", "Content-Length", "Apigw-Requestid"} {
				res.Header.Del(name)
			}
			if res.StatusCode != test.status || body != test.body || !reflect.DeepEqual(res.Header, test.header) {
				t.Errorf("%d %v %q, want %d %v %q", res.StatusCode, res.Header, body, test.status, test.header, test.body)
			}
		})
	}
}

// answer orders the function to return payload.
func answer(payload string) string { return `{"do":"answer","answer":` + payload + `}` }

func TestNotJSON(t *testing.T) {
	rec := httptest.NewRecorder()
	respond(rec, []byte("plain"))
	if rec.Code != 500 {
		t.Errorf("status %d, want 500", rec.Code)
	}
}

func TestRequestSize(t *testing.T) {
	server := serve(t, newFunction(t), "POST /")
	tests := []struct {
		name         string
		size, status int
	}{
		{"small", 1, 200},
		{"too large", maxBodySize + 1, 413},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, body := do(t, "POST", server.URL, "text/plain", bytes.Repeat([]byte("x"), test.size))
			if want := `{"message":"Request Entity Too Large"}`; res.StatusCode != test.status || test.status == 413 && body != want {
				t.Errorf("%d %.80s, want %d", res.StatusCode, body, test.status)
			}
		})
	}
}

// TestUnavailable calls a function that exceeds its time, is busy, and is closed.
func TestUnavailable(t *testing.T) {
	f := newFunction(t)
	api := New([]Route{{Key: "POST /", Function: f}}, nil).(*gateway)
	api.timeout = 100 * time.Millisecond
	server := httptest.NewServer(api)
	defer server.Close()

	steps := []struct{ name, order string }{
		{"no time left", `{"do":"hang"}`},
		{"busy with the one before", `{}`},
		{"closed", `{}`},
	}
	for _, step := range steps {
		if step.name == "closed" {
			f.Close()
		}
		res, body := do(t, "POST", server.URL, "application/json", []byte(step.order))
		if want := `{"message":"Service Unavailable"}`; res.StatusCode != 503 || body != want {
			t.Errorf("%s: %d %s, want 503 %s", step.name, res.StatusCode, body, want)
		}
	}
}

// TestQuery sends queries and paths and checks what the function gets of them.
func TestQuery(t *testing.T) {
	server := serve(t, newFunction(t), "GET /a/{x+}")
	for _, test := range []struct{ sent, path, query string }{
		{"/a/1?code=a%2Fb%2B+c==&x", "/a/1", "code=a%2Fb%2B+c==&x"},
		{"/a/1?a=%3f&&b", "/a/1", "a=%3f&&b"},
		{"/a/1?a=1?b=2", "/a/1", "a=1?b=2"},
		{"/a/1?", "/a/1", ""},
		{"/a/1%2F%E5%8D%A1%25?", "/a/1/卡%", ""},
		{"/a/1%3Fb%2Fc?d=%3F", "/a/1", "d=%3F"},
	} {
		t.Run(test.sent, func(t *testing.T) {
			res, body := do(t, "GET", server.URL+test.sent, "", nil)
			var event events.APIGatewayV2HTTPRequest
			if err := json.Unmarshal([]byte(body), &event); err != nil {
				t.Fatalf("%d %s: %v", res.StatusCode, body, err)
			}
			if event.RawPath != test.path || event.RequestContext.HTTP.Path != test.path || event.RawQueryString != test.query {
				t.Errorf("path %q and %q, query %q, want %q and %q", event.RawPath, event.RequestContext.HTTP.Path, event.RawQueryString, test.path, test.query)
			}
		})
	}
}

func TestThrottling(t *testing.T) {
	f := newFunction(t)
	const day = 24 * 60 * 60
	server := httptest.NewServer(New([]Route{
		{Key: "GET /a", Function: f, Throttling: &template.Throttling{Rate: 1.0 / day, Burst: 2}},
		{Key: "GET /b", Function: f, Throttling: &template.Throttling{Rate: 1.0 / day, Burst: 1}, Authorizer: IAM("eu-west-1", "AKIDEXAMPLE", "secret")},
		{Key: "GET /c", Function: f, Throttling: &template.Throttling{Rate: 1000, Burst: 1}},
		{Key: "GET /d", Function: f},
	}, nil))
	defer server.Close()
	for i, step := range []struct {
		path   string
		status int
	}{
		{"/a", 200}, {"/a", 200}, {"/a", 429}, {"/a", 429},
		{"/b", 403}, {"/b", 429}, // before the authorizer
		{"/d", 200}, {"/d", 200}, {"/d", 200},
	} {
		res, body := do(t, "GET", server.URL+step.path, "", nil)
		if res.StatusCode != step.status || step.status == 429 && body != `{"message":"Too Many Requests"}` {
			t.Errorf("request %d of %s: %d %s, want %d", i, step.path, res.StatusCode, body, step.status)
		}
	}
	for range 3 { // a token comes back in a millisecond
		time.Sleep(10 * time.Millisecond)
		if res, body := do(t, "GET", server.URL+"/c", "", nil); res.StatusCode != 200 {
			t.Errorf("after a pause: %d %s", res.StatusCode, body)
		}
	}
}
