package apigateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
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
	"membercard/wechat/network/networktest"
)

// TestMain also is the function under test: this binary, where it has a Runtime API. It
// answers with the event as a body.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	runtime.Start(func(_ context.Context, event json.RawMessage) (any, error) {
		return map[string]any{"statusCode": 200, "body": string(event)}, nil
	})
}

// serve serves routes of the given keys, all to the function under test, and returns the
// API's URL.
func serve(t *testing.T, keys ...string) (url string) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := lambda.New(lambda.Config{Name: "echo", Binary: binary, Timeout: time.Minute})
	t.Cleanup(func() { f.Close() })
	var routes []Route
	for _, key := range keys {
		routes = append(routes, Route{Key: key, Function: f})
	}
	server := httptest.NewServer(New(routes, nil))
	t.Cleanup(server.Close)
	return server.URL
}

// send sends a request, and returns the status and the function's event.
func send(t *testing.T, method, url, contentType, body string) (status int, event events.APIGatewayV2HTTPRequest) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, text := networktest.Do(t, http.DefaultTransport.RoundTrip, request) // redirects are answers too
	if err := json.Unmarshal(text, &event); err != nil {
		t.Fatalf("%d %s: %v", response.StatusCode, text, err)
	}
	return response.StatusCode, event
}

// As an HTTP API has it: the path is decoded once and then matched, and ends at a decoded
// question mark; the query is passed on as it came. The functions must make the best of it.
func TestRouting(t *testing.T) {
	api := serve(t, "POST /a/{x}", "GET /a/{x}", "GET /a/{x}/b/{y}", "GET /a/b", "GET /a/{x}/b/c", "GET /g/{t+}", "GET /g/{x}/z")
	for _, row := range []struct {
		request string
		key     string // empty: not found
		params  map[string]string
		query   string
	}{
		{"GET /a/1", "GET /a/{x}", map[string]string{"x": "1"}, ""},
		{"POST /a/1", "POST /a/{x}", map[string]string{"x": "1"}, ""},
		{"GET /a/b", "GET /a/b", nil, ""},
		{"GET /a/b/b/c", "GET /a/{x}/b/c", map[string]string{"x": "b"}, ""},
		{"GET /a/%E5%8D%A1%20+%25", "GET /a/{x}", map[string]string{"x": "卡 +%"}, ""},
		{"GET /a/1%2Fb%2F2", "GET /a/{x}/b/{y}", map[string]string{"x": "1", "y": "2"}, ""},
		{"GET /a/1%3Fx=2/b/3?y=3", "GET /a/{x}", map[string]string{"x": "1"}, "y=3"},
		{"GET /a/1%253F", "GET /a/{x}", map[string]string{"x": "1%3F"}, ""},
		{"GET /a/1?code=a%2Fb%2B+c==&x&&a=1?b", "GET /a/{x}", map[string]string{"x": "1"}, "code=a%2Fb%2B+c==&x&&a=1?b"},
		{"GET /g/1/z", "GET /g/{x}/z", map[string]string{"x": "1"}, ""},
		{"GET /g/1%2F2%2F%2F3", "GET /g/{t+}", map[string]string{"t": "1/2//3"}, ""},
		{"GET /g/a+b%2B%20=", "GET /g/{t+}", map[string]string{"t": "a+b+ ="}, ""},
		{"GET /g/", "", nil, ""},
		{"GET /a/1/", "", nil, ""},
		{"GET //a/1", "", nil, ""},
		{"PUT /a/1", "", nil, ""},
	} {
		t.Run(row.request, func(t *testing.T) {
			method, path, _ := strings.Cut(row.request, " ")
			status, event := send(t, method, api+path, "", "")
			if (status == 404) != (row.key == "") || event.RouteKey != row.key || !reflect.DeepEqual(event.PathParameters, row.params) || event.RawQueryString != row.query {
				t.Errorf("%d, route %s %v, query %s", status, event.RouteKey, event.PathParameters, event.RawQueryString)
			}
		})
	}
}

func TestBodyEncoding(t *testing.T) {
	api := serve(t, "POST /")
	for _, row := range []struct {
		contentType, body string
		encoded           bool
	}{
		{"", "text", false},
		{"Text/Html; charset=utf-8", "text", false},
		{"application/json", `[1]`, false},
		{"application/problem+json", `[1]`, true},
		{"application/octet-stream", "text", true},
		{"application/json", "\xff", true},
	} {
		want := row.body
		if row.encoded {
			want = base64.StdEncoding.EncodeToString([]byte(want))
		}
		if _, event := send(t, "POST", api, row.contentType, row.body); event.Body != want || event.IsBase64Encoded != row.encoded {
			t.Errorf("%s %q: body %q, encoded %v", row.contentType, row.body, event.Body, event.IsBase64Encoded)
		}
	}
}
