package template

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// api is a template with one authorizer of each type and a route whose
// authorization is the parameter Auth.
const api = `
Parameters:
  Auth: {Type: String, Default: IAM}
  Audience: {Type: CommaDelimitedList, Default: ""}
  Origins: {Type: CommaDelimitedList, Default: ""}
  Seconds: {Type: Number, Default: 1800}
Conditions:
  IsIAM: !Equals [!Ref Auth, IAM]
  IsJWT: !Equals [!Ref Auth, JWT]
  IsCustom: !Equals [!Ref Auth, CUSTOM]
  HasOrigins: !Not [!Equals [!Join ["", !Ref Origins], ""]]
Resources:
  Route:
    Type: AWS::ApiGatewayV2::Route
    Properties:
      RouteKey: POST /v3/{id}
      Target: !Sub integrations/${Integration}
      AuthorizationType: !If [IsIAM, AWS_IAM, !If [IsJWT, JWT, CUSTOM]]
      AuthorizerId: !If [IsIAM, !Ref AWS::NoValue, !If [IsJWT, !Ref JwtAuthorizer, !Ref RequestAuthorizer]]
  Open:
    Type: AWS::ApiGatewayV2::Route
    Properties: {RouteKey: GET /open, Target: !Join [/, [integrations, !Ref Integration]]}
  Unless:
    Type: AWS::ApiGatewayV2::Route
    Condition: IsIAM
    Properties: {RouteKey: GET /iam, Target: !Sub "integrations/${Integration}", AuthorizationType: AWS_IAM}
  JwtAuthorizer:
    Type: AWS::ApiGatewayV2::Authorizer
    Condition: IsJWT
    Properties:
      Name: jwt
      AuthorizerType: JWT
      IdentitySource: [$request.header.Authorization]
      JwtConfiguration: {Issuer: "https://issuer.example.com", Audience: !Ref Audience}
  RequestAuthorizer:
    Type: AWS::ApiGatewayV2::Authorizer
    Condition: IsCustom
    Properties:
      Name: request
      AuthorizerType: REQUEST
      IdentitySource: [$request.header.Authorization, $request.header.X-Login]
      AuthorizerPayloadFormatVersion: "2.0"
      EnableSimpleResponses: true
      AuthorizerResultTtlInSeconds: !Ref Seconds
      AuthorizerUri: !Sub arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${AskFunction.Arn}/invocations
  Integration:
    Type: AWS::ApiGatewayV2::Integration
    Properties: {IntegrationType: AWS_PROXY, IntegrationUri: !GetAtt DoFunction.Arn, PayloadFormatVersion: "2.0"}
  Api:
    Type: AWS::ApiGatewayV2::Api
    Properties:
      CorsConfiguration: !If
        - HasOrigins
        - AllowOrigins: !Ref Origins
          AllowMethods: [POST]
          AllowHeaders: [authorization, content-type]
          ExposeHeaders: [retry-after]
          MaxAge: 3600
        - !Ref AWS::NoValue
  DoFunction: {Type: AWS::Serverless::Function, Properties: {CodeUri: .}}
  AskFunction: {Type: AWS::Serverless::Function, Condition: IsCustom, Properties: {CodeUri: .}}
`

func TestRoutes(t *testing.T) {
	first := func(authorization string, authorizer *Authorizer) Route {
		return Route{"POST", "/v3/{id}", "DoFunction", authorization, authorizer, nil}
	}
	open := Route{"GET", "/open", "DoFunction", "NONE", nil, nil}
	request := func(ttl time.Duration) *Authorizer {
		return &Authorizer{IdentitySource: []string{"Authorization", "X-Login"}, Function: "AskFunction", TTL: ttl}
	}
	jwt := func(audience ...string) *Authorizer {
		return &Authorizer{IdentitySource: []string{"Authorization"}, Issuer: "https://issuer.example.com", Audience: audience}
	}
	tests := []struct {
		params    map[string]string
		routes    []Route
		functions int
	}{
		{nil, []Route{first("AWS_IAM", nil), open, {"GET", "/iam", "DoFunction", "AWS_IAM", nil, nil}}, 1},
		{map[string]string{"Auth": "JWT"}, []Route{first("JWT", jwt("")), open}, 1},
		{map[string]string{"Auth": "JWT", "Audience": "a"}, []Route{first("JWT", jwt("a")), open}, 1},
		{map[string]string{"Auth": "JWT", "Audience": "a, b"}, []Route{first("JWT", jwt("a", "b")), open}, 1},
		{map[string]string{"Auth": "CUSTOM"}, []Route{first("CUSTOM", request(30*time.Minute)), open}, 2},
		{map[string]string{"Auth": "CUSTOM", "Seconds": "0"}, []Route{first("CUSTOM", request(0)), open}, 2},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.params), func(t *testing.T) {
			got, err := read(t, api, test.params)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Routes, test.routes) {
				t.Errorf("got %+v, want %+v", got.Routes, test.routes)
			}
			if len(got.Functions) != test.functions {
				t.Errorf("functions %+v, want %d", got.Functions, test.functions)
			}
		})
	}
}

// TestShared has two routes with one authorizer.
func TestShared(t *testing.T) {
	got, err := read(t, strings.Replace(api, "RouteKey: GET /open,", "RouteKey: GET /open, AuthorizationType: CUSTOM, AuthorizerId: !Ref RequestAuthorizer,", 1), map[string]string{"Auth": "CUSTOM"})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := got.Routes[0].Authorizer, got.Routes[1].Authorizer; a == nil || a != b {
		t.Errorf("authorizers %p and %p, want one", a, b)
	}
}

func TestCORS(t *testing.T) {
	some := func(origins ...string) *CORS {
		return &CORS{
			AllowOrigins: origins, AllowMethods: []string{"POST"}, AllowHeaders: []string{"authorization", "content-type"},
			ExposeHeaders: []string{"retry-after"}, MaxAge: time.Hour,
		}
	}
	withCredentials := some("https://a")
	withCredentials.AllowCredentials = true
	tests := []struct {
		name, origins string
		old, new      string // in the text
		want          *CORS
	}{
		{"none", "", "", "", nil},
		{"one", "https://a", "", "", some("https://a")},
		{"two", "https://a,https://b", "", "", some("https://a", "https://b")},
		{"credentials", "https://a", "MaxAge: 3600", "MaxAge: 3600\n          AllowCredentials: true", withCredentials},
		{"empty", "", "CorsConfiguration: !If", "CorsConfiguration: {}\n      Other: !If", &CORS{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := api
			if test.old != "" {
				text = strings.Replace(text, test.old, test.new, 1)
			}
			got, err := read(t, text, map[string]string{"Origins": test.origins})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.CORS, test.want) {
				t.Errorf("got %+v, want %+v", got.CORS, test.want)
			}
		})
	}
}

// TestAPIFails changes the template above: new replaces old.
func TestAPIFails(t *testing.T) {
	const notOne = "Route does not have a single method and path"
	tests := []struct {
		name     string
		auth     string
		old, new string
		err      string // without the file and line
	}{
		{"no route key", "IAM", "      RouteKey: POST /v3/{id}\n", "", "Route has no RouteKey"},
		{"default route", "IAM", "POST /v3/{id}", "$default", notOne},
		{"any method", "IAM", "POST /v3/{id}", "ANY /v3", notOne},
		{"greedy parameter before the end", "IAM", "POST /v3/{id}", "GET /{id+}/v3", notOne},
		{"same route", "IAM", "POST /v3/{id}", "GET /open", "DoFunction has the route GET /open of DoFunction"},
		{"no target", "IAM", "      Target: !Sub integrations/${Integration}\n", "", "Route has no Target"},
		{"no integration", "IAM", "integrations/${Integration}", "${Integration}", "Route has a Target that is not an integration"},
		{"unknown integration", "IAM", "integrations/${Integration}", "integrations/x", `"x" is no AWS::ApiGatewayV2::Integration`},
		{"other integration", "IAM", "AWS_PROXY", "HTTP_PROXY", "Integration has the IntegrationType HTTP_PROXY, and only AWS_PROXY is supported"},
		{"other format", "IAM", `PayloadFormatVersion: "2.0"}`, `PayloadFormatVersion: "1.0"}`, "Integration has the PayloadFormatVersion 1.0, and only 2.0 is supported"},
		{"no function", "IAM", "!GetAtt DoFunction.Arn", "!GetAtt Api.Arn", `"Api" is no AWS::Serverless::Function`},
		{"absent function", "IAM", "!GetAtt DoFunction.Arn", "!GetAtt AskFunction.Arn", "AskFunction does not exist, by its condition"},
		{"other authorization", "IAM", "[IsIAM, AWS_IAM,", "[IsIAM, X,", "Route has the AuthorizationType X, not NONE, AWS_IAM, JWT or CUSTOM"},
		{"no authorizer", "IAM", "[IsIAM, AWS_IAM,", "[IsIAM, JWT,", "Route has no AuthorizerId"},
		{"unknown authorizer", "JWT", "!Ref JwtAuthorizer", "x", `"x" is no AWS::ApiGatewayV2::Authorizer`},
		{"absent authorizer", "JWT", "!Ref JwtAuthorizer", "!Ref RequestAuthorizer", "RequestAuthorizer does not exist, by its condition"},
		{"authorizer of another type", "JWT", "[IsJWT, JWT,", "[IsJWT, CUSTOM,", "Route has the AuthorizationType CUSTOM, but JwtAuthorizer is of another type"},
		{"no authorizer's type", "JWT", "      AuthorizerType: JWT\n", "", "JwtAuthorizer has no AuthorizerType"},
		{"unknown authorizer's type", "JWT", "AuthorizerType: JWT", "AuthorizerType: X", "JwtAuthorizer has the AuthorizerType X, not JWT or REQUEST"},
		{"no identity source", "JWT", "[$request.header.Authorization]", "[]", "JwtAuthorizer has no IdentitySource"},
		{"other identity source", "JWT", "$request.header.Authorization", "$request.querystring.a", "JwtAuthorizer has the identity source $request.querystring.a, and only headers are supported"},
		{"no issuer", "JWT", `Issuer: "https://issuer.example.com", `, "", "JwtAuthorizer has no Issuer"},
		{"no JWT configuration", "JWT", "JwtConfiguration", "Other", "JwtAuthorizer has no JwtConfiguration"},
		{"other payload", "CUSTOM", `AuthorizerPayloadFormatVersion: "2.0"`, `AuthorizerPayloadFormatVersion: "1.0"`, "RequestAuthorizer has the AuthorizerPayloadFormatVersion 1.0, and only 2.0 is supported"},
		{"policies", "CUSTOM", "EnableSimpleResponses: true", "EnableSimpleResponses: false", "RequestAuthorizer has the EnableSimpleResponses false, and only true is supported"},
		{"ttl", "CUSTOM", "!Ref Seconds", "3601", `AuthorizerResultTtlInSeconds "3601" is not a number from 0 to 3600`},
		{"no authorizer's function", "CUSTOM", "${AskFunction.Arn}", "x", `"x" is no AWS::Serverless::Function`},
		{"origins", "IAM", "CorsConfiguration: !If", "CorsConfiguration: {AllowOrigins: x}\n      Other: !If", "not a list"},
		{"age", "IAM", "CorsConfiguration: !If", "CorsConfiguration: {MaxAge: x}\n      Other: !If", `MaxAge "x" is not a number from 0 to 86400`},
		{"second API", "IAM", "  DoFunction:", "  Api2: {Type: AWS::ApiGatewayV2::Api}\n  DoFunction:", "Api2 is a second API"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(api, test.old, test.new, 1)
			if text == api {
				t.Fatalf("no %s in the template", test.old)
			}
			_, err := read(t, text, map[string]string{"Auth": test.auth})
			if err == nil || !strings.HasPrefix(err.Error(), "template.yaml:") || !strings.HasSuffix(err.Error(), ": "+test.err) {
				t.Errorf("error %v, want %s", err, test.err)
			}
		})
	}
}

func TestThrottling(t *testing.T) {
	limit := func(rate float64, burst int) *Throttling { return &Throttling{rate, burst} }
	const byDefault = "DefaultRouteSettings: {ThrottlingRateLimit: !Ref Seconds, ThrottlingBurstLimit: 7}"
	for _, test := range []struct {
		name        string
		properties  string // of the stage
		first, open *Throttling
		err         string
	}{
		{"none", "StageName: $default", nil, nil, ""},
		{"default", byDefault, limit(1800, 7), limit(1800, 7), ""},
		{"one route", `RouteSettings: {"GET /open": {ThrottlingRateLimit: 0.5, ThrottlingBurstLimit: 5}}`, nil, limit(0.5, 5), ""},
		{"both", byDefault + `, RouteSettings: {"POST /v3/{id}": {ThrottlingRateLimit: 5, ThrottlingBurstLimit: 5}}`, limit(5, 5), limit(1800, 7), ""},
		{"other settings of a route", byDefault + `, RouteSettings: {"GET /open": {DetailedMetricsEnabled: true}}`, limit(1800, 7), limit(1800, 7), ""},
		{"a route's that is left out", byDefault + `, RouteSettings: {"GET /none": !If [IsJWT, {ThrottlingRateLimit: 5}, !Ref AWS::NoValue]}`, limit(1800, 7), limit(1800, 7), ""},
		{"all routes' that are left out", `RouteSettings: !If [IsJWT, {"GET /none": {ThrottlingRateLimit: 5}}, !Ref AWS::NoValue]`, nil, nil, ""},
		{"unknown route", `RouteSettings: {"GET /none": {ThrottlingRateLimit: 5}}`, nil, nil, "RouteSettings have the route GET /none, which does not exist"},
		{"a parameter", `RouteSettings: {"GET /open": {ThrottlingRateLimit: !Ref Seconds}}`, nil, nil, "ThrottlingRateLimit of a route must be a literal"},
		{"no number", `DefaultRouteSettings: {ThrottlingRateLimit: x}`, nil, nil, `ThrottlingRateLimit "x" is not a rate`},
		{"no burst", `DefaultRouteSettings: {ThrottlingRateLimit: 1, ThrottlingBurstLimit: x}`, nil, nil, `ThrottlingBurstLimit "x" is not a number from 0 to 2147483647`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(t, api+"  Stage: {Type: AWS::ApiGatewayV2::Stage, Properties: {"+test.properties+"}}\n", nil)
			if test.err != "" {
				if err == nil || !strings.HasSuffix(err.Error(), ": "+test.err) {
					t.Errorf("error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if first, open := got.Routes[0].Throttling, got.Routes[1].Throttling; !reflect.DeepEqual(first, test.first) || !reflect.DeepEqual(open, test.open) {
				t.Errorf("got %+v and %+v, want %+v and %+v", first, open, test.first, test.open)
			}
		})
	}
}
