package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// serveLambda serves API Gateway's requests with a handler.
func serveLambda(handler http.Handler) func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	return func(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		body := []byte(e.Body)
		if e.IsBase64Encoded {
			body, _ = base64.StdEncoding.DecodeString(e.Body) // API Gateway encoded it
		}
		target := e.RawPath
		if e.RawQueryString != "" {
			target += "?" + e.RawQueryString
		}
		request, err := http.NewRequestWithContext(ctx, e.RequestContext.HTTP.Method, "https://"+e.RequestContext.DomainName+target, bytes.NewReader(body))
		if err != nil {
			return events.APIGatewayV2HTTPResponse{StatusCode: http.StatusBadRequest}, nil
		}
		for name, value := range e.Headers {
			request.Header.Set(name, value)
		}
		request.Header.Set("Cookie", strings.Join(e.Cookies, "; "))
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		response := events.APIGatewayV2HTTPResponse{StatusCode: answer.Code, Headers: map[string]string{}, Body: answer.Body.String(), Cookies: answer.Header().Values("Set-Cookie")}
		for name := range answer.Header() {
			if name != "Set-Cookie" {
				response.Headers[name] = answer.Header().Get(name)
			}
		}
		return response, nil
	}
}
