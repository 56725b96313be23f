package apigateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"membercard/local/template"
)

// accessControl returns the CORS headers of an answer.
func accessControl(header http.Header) map[string]string {
	found := map[string]string{}
	for name, values := range header {
		if strings.HasPrefix(name, corsHeaders) {
			found[strings.TrimPrefix(name, corsHeaders)] = strings.Join(values, "|")
		}
	}
	return found
}

const shop, evil = "https://shop.example.com", "https://evil.example.com"

func strict() *template.CORS {
	return &template.CORS{
		AllowOrigins:  []string{"https://www.example.com", shop},
		AllowMethods:  []string{"POST", "PUT"},
		AllowHeaders:  []string{"authorization", "content-type"},
		ExposeHeaders: []string{"retry-after", "x-id"},
		MaxAge:        3600,
	}
}

func TestPreflight(t *testing.T) {
	whole := map[string]string{
		"Allow-Origin": shop, "Allow-Methods": "POST,PUT", "Allow-Headers": "authorization,content-type", "Max-Age": "3600",
	}
	tests := []struct {
		name                 string
		cors                 *template.CORS
		path, origin, method string
		status               int
		want                 map[string]string
	}{
		{"allowed", strict(), "/a", shop, "POST", 204, whole},
		{"another method", strict(), "/a", shop, "PUT", 204, whole},
		{"unknown path", strict(), "/x/y", shop, "POST", 204, whole},
		{"origin not allowed", strict(), "/a", evil, "POST", 204, nil},
		{"origin with more", strict(), "/a", shop + ".evil.example.com", "POST", 204, nil},
		{"other scheme", strict(), "/a", "http://shop.example.com", "POST", 204, nil},
		{"method not allowed", strict(), "/a", shop, "DELETE", 204, nil},
		{"no origin", strict(), "/a", "", "POST", 404, nil},
		{"no method", strict(), "/a", shop, "", 404, map[string]string{"Allow-Origin": shop, "Expose-Headers": "retry-after,x-id"}},
		{"no CORS", nil, "/a", shop, "POST", 404, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := IAM("", "", "") // which is not asked
			server := httptest.NewServer(New([]Route{{Key: "POST /a", Authorizer: a}}, test.cors))
			defer server.Close()
			req, err := http.NewRequest("OPTIONS", server.URL+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{"Origin": test.origin, "Access-Control-Request-Method": test.method} {
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			res, body := send(t, req)
			want := test.want
			if want == nil {
				want = map[string]string{}
			}
			if got := accessControl(res.Header); res.StatusCode != test.status || !reflect.DeepEqual(got, want) {
				t.Errorf("%d %v, want %d %v", res.StatusCode, got, test.status, want)
			}
			if test.status == 204 && body != "" {
				t.Errorf("body %q, want none", body)
			}
		})
	}
}

func TestCORS(t *testing.T) {
	f := newFunction(t)
	routes := []Route{
		{Key: "POST /", Function: f},
		{Key: "POST /iam", Function: f, Authorizer: IAM("", "", "")},
		{Key: "POST /ask", Function: f, Authorizer: ask(t, 0, "X-Login")},
	}
	marked := map[string]string{"Allow-Origin": shop, "Expose-Headers": "retry-after,x-id"}
	own := answer(`{"statusCode":200,"headers":{"access-control-allow-origin":"*","Access-Control-Max-Age":"1","x-id":"7","access-control-expose-headers":"x"}}`)
	tests := []struct {
		name         string
		cors         *template.CORS
		method, path string
		origin       string
		order        string
		status       int
		want         map[string]string
	}{
		{"allowed", strict(), "POST", "/", shop, answer(`{"statusCode":200}`), 200, marked},
		{"not allowed", strict(), "POST", "/", evil, answer(`{"statusCode":200}`), 200, nil},
		{"no origin", strict(), "POST", "/", "", answer(`{"statusCode":200}`), 200, nil},
		{"the function's own", strict(), "POST", "/", shop, own, 200, marked},
		{"the function's own, not allowed", strict(), "POST", "/", evil, own, 200, nil},
		{"the function's own, without CORS", nil, "POST", "/", shop, own, 200, map[string]string{"Allow-Origin": "*", "Max-Age": "1", "Expose-Headers": "x"}},
		{"the function's error", strict(), "POST", "/", shop, answer(`{"statusCode":400}`), 400, marked},
		{"401", strict(), "POST", "/ask", shop, "", 401, marked},
		{"403", strict(), "POST", "/iam", shop, "", 403, marked},
		{"404", strict(), "POST", "/x", shop, "", 404, marked},
		{"method not allowed", strict(), "GET", "/", shop, "", 404, marked},
		{"500", strict(), "POST", "/", shop, `{"do":"error"}`, 500, marked},
		{"nothing configured", &template.CORS{}, "POST", "/", shop, answer(`{"statusCode":200}`), 200, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(New(routes, test.cors))
			defer server.Close()
			req, err := http.NewRequest(test.method, server.URL+test.path, strings.NewReader(test.order))
			if err != nil {
				t.Fatal(err)
			}
			if test.origin != "" {
				req.Header.Set("Origin", test.origin)
			}
			res, body := send(t, req)
			if got := accessControl(res.Header); res.StatusCode != test.status || fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("%d %v %s, want %d %v", res.StatusCode, got, body, test.status, test.want)
			}
			if id := res.Header.Get("X-Id"); test.order == own && id != "7" {
				t.Errorf("the function's x-id is %q, want 7", id)
			}
		})
	}
}
