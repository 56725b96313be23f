package main

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// serveLambda serves API Gateway's requests with a handler.
func serveLambda(handler http.Handler) func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	return func(ctx context.Context, e events.APIGatewayV2HTTPRequest) (response events.APIGatewayV2HTTPResponse, err error) {
		if e.IsBase64Encoded {
			body, _ := base64.StdEncoding.DecodeString(e.Body) // API Gateway encoded it
			e.Body = string(body)
		}
		address := "https://" + e.RequestContext.DomainName + e.RawPath + "?" + e.RawQueryString
		request, err := http.NewRequestWithContext(ctx, e.RequestContext.HTTP.Method, address, strings.NewReader(e.Body))
		if err != nil {
			return response, err
		}
		for name, value := range e.Headers {
			request.Header.Set(name, value)
		}
		request.Header.Set("Cookie", strings.Join(e.Cookies, "; "))
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		response = events.APIGatewayV2HTTPResponse{StatusCode: answer.Code, Headers: map[string]string{}, Body: answer.Body.String(), Cookies: answer.Header()["Set-Cookie"]}
		for name, values := range answer.Header() {
			response.Headers[name] = values[0]
		}
		delete(response.Headers, "Set-Cookie") // it has Cookies
		return response, nil
	}
}
