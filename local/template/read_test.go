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
		return &Authorizer{LogicalID: "RequestAuthorizer", IdentitySource: []string{"Authorization", "X-Login"}, Function: "AskFunction", TTL: ttl}
	}
	jwt := func(audience ...string) *Authorizer {
		return &Authorizer{LogicalID: "JwtAuthorizer", IdentitySource: []string{"Authorization"}, Issuer: "https://issuer.example.com", Audience: audience}
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

func TestCORS(t *testing.T) {
	some := func(origins ...string) *CORS {
		return &CORS{
			AllowOrigins: origins, AllowMethods: []string{"POST"}, AllowHeaders: []string{"authorization", "content-type"},
			ExposeHeaders: []string{"retry-after"}, MaxAge: 3600,
		}
	}
	tests := []struct {
		name, origins string
		old, new      string // in the text
		want          *CORS
	}{
		{"none", "", "", "", nil},
		{"one", "https://a", "", "", some("https://a")},
		{"two", "https://a,https://b", "", "", some("https://a", "https://b")},
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

func TestAPIFails(t *testing.T) {
	requireFailures(t, api, nil, []failing{
		{"other format", `PayloadFormatVersion: "2.0"}`, `PayloadFormatVersion: "1.0"}`, "Route has an integration without the format 2.0"},
		{"absent function", "!GetAtt DoFunction.Arn", "!GetAtt AskFunction.Arn", "AskFunction does not exist, by its condition"},
		{"origins", "CorsConfiguration: !If", "CorsConfiguration: {AllowOrigins: x}\n      Body: !If", `Api: cannot unmarshal string into Go struct field CORS.CorsConfiguration.AllowOrigins of type []string`},
	})
	requireFailures(t, api, map[string]string{"Auth": "JWT"}, []failing{
		{"an authorizer without the type", "[IsJWT, JWT,", "[IsJWT, AWS_IAM,", "Route has the AuthorizationType AWS_IAM and another authorizer"},
		{"absent authorizer", "!Ref JwtAuthorizer", "!Ref RequestAuthorizer", "RequestAuthorizer does not exist, by its condition"},
		{"authorizer of another type", "[IsJWT, JWT,", "[IsJWT, CUSTOM,", "Route has the AuthorizationType CUSTOM and another authorizer"},
	})
	const other = "RequestAuthorizer does not have the format 2.0 with simple responses"
	requireFailures(t, api, map[string]string{"Auth": "CUSTOM"}, []failing{
		{"other payload", `AuthorizerPayloadFormatVersion: "2.0"`, `AuthorizerPayloadFormatVersion: "1.0"`, other},
		{"policies", "EnableSimpleResponses: true", "EnableSimpleResponses: false", other},
	})
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
		{"a parameter", `RouteSettings: {"GET /open": {ThrottlingRateLimit: !Ref Seconds}}`, nil, nil, "Stage: cannot unmarshal string into Go struct field .RouteSettings.ThrottlingRateLimit of type float64"},
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

// carriers is a template with a bus, a rule, a queue, its dead-letter queue and a
// mapping, all on a condition.
const carriers = `
Parameters:
  Confirm: {Type: String, Default: AUTO}
  Count: {Type: Number, Default: 12}
Conditions:
  Confirms: !Equals [!Ref Confirm, AUTO]
  Never: !Equals [a, b]
Resources:
  DoFunction:
    Type: AWS::Serverless::Function
    Properties:
      Environment:
        Variables:
          BUS: !Ref Bus
          QUEUE: !If [Confirms, !Ref Queue, ""]
          ARN: !If [Confirms, !GetAtt Queue.Arn, ""]
  Bus:
    Type: AWS::Events::EventBus
    Properties: {Name: !Sub "${AWS::StackName}-cards"}
  Rule:
    Type: AWS::Events::Rule
    Condition: Confirms
    Properties:
      EventBusName: !Ref Bus
      EventPattern: {source: [!Ref Count, a], detail-type: [{suffix: .CREATE}], detail: {n: [1, true, null, 1.5]}, resources: !If [Confirms, !Ref AWS::NoValue, [x]]}
      Targets: [{Id: a, Arn: !GetAtt Queue.Arn, DeadLetterConfig: {Arn: !GetAtt Dead.Arn}}]
  Queue:
    Type: AWS::SQS::Queue
    Condition: Confirms
    Properties:
      VisibilityTimeout: 180
      DelaySeconds: 5
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: !Ref Count}
      SqsManagedSseEnabled: true
  Dead: {Type: AWS::SQS::Queue, Condition: Confirms}
  Mapping:
    Type: AWS::Lambda::EventSourceMapping
    Condition: Confirms
    Properties: {EventSourceArn: !GetAtt Queue.Arn, FunctionName: !Ref DoFunction, BatchSize: 5, FunctionResponseTypes: [ReportBatchItemFailures], ScalingConfig: {MaximumConcurrency: 2}}
`

func TestCarriers(t *testing.T) {
	got, err := read(t, carriers, map[string]string{"AWS::Region": "eu-west-1", "AWS::StackName": "stack"})
	if err != nil {
		t.Fatal(err)
	}
	const arn, url = "arn:aws:sqs:eu-west-1:123456789012:", "https://sqs.eu-west-1.amazonaws.com/123456789012/"
	want := Template{
		Buses: []string{"stack-cards"},
		Rules: []Rule{{LogicalID: "Rule", Bus: "stack-cards", Pattern: []byte(`{"detail":{"n":[1,true,null,1.5]},"detail-type":[{"suffix":".CREATE"}],"source":["12","a"]}`), Queues: []string{"Queue"}}},
		Queues: []Queue{
			{LogicalID: "Queue", ARN: arn + "Queue", URL: url + "Queue", VisibilityTimeout: 180, DelaySeconds: 5, RedrivePolicy: RedrivePolicy{arn + "Dead", 12}, SqsManagedSseEnabled: true},
			{LogicalID: "Dead", ARN: arn + "Dead", URL: url + "Dead", VisibilityTimeout: 30},
		},
		EventSources: []EventSource{{"Mapping", "Queue", "DoFunction", 5, 2, true}},
	}
	env := map[string]string{"BUS": "stack-cards", "QUEUE": url + "Queue", "ARN": arn + "Queue"}
	if !reflect.DeepEqual(got.Functions[0].Environment, env) {
		t.Errorf("environment %v, want %v", got.Functions[0].Environment, env)
	}
	got.Functions, got.Parameters, got.Resources, got.Outputs, got.Alarms = nil, nil, nil, nil, nil
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, want %+v", *got, want)
	}

	got, err = read(t, carriers, map[string]string{"Confirm": "OWN"})
	if err != nil || got.Rules != nil || got.Queues != nil || got.EventSources != nil || len(got.Buses) != 1 {
		t.Errorf("without the condition %+v, %v", got, err)
	}
}

// TestCarrierDefaults takes out what is optional.
func TestCarrierDefaults(t *testing.T) {
	text := strings.NewReplacer("      EventBusName: !Ref Bus\n", "", ", BatchSize: 5, FunctionResponseTypes: [ReportBatchItemFailures], ScalingConfig: {MaximumConcurrency: 2}", "").Replace(carriers)
	got, err := read(t, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (EventSource{"Mapping", "Queue", "DoFunction", 10, 0, false}); got.EventSources[0] != want || got.Rules[0].Bus != "default" {
		t.Errorf("got %+v, and bus %s", got.EventSources[0], got.Rules[0].Bus)
	}
}

func TestCarriersFail(t *testing.T) {
	requireFailures(t, carriers, nil, []failing{
		{"schedule", "      EventPattern:", "      ScheduleExpression: rate(1 day)\n      EventPattern:", `Rule: unknown field "ScheduleExpression"`},
		{"other target", "{Id: a, Arn: !GetAtt Queue.Arn", "{Id: a, Arn: !GetAtt DoFunction.Arn", `Rule: "DoFunction" is no AWS::SQS::Queue`},
		{"part of the event", "{Id: a,", "{Id: a, InputPath: $.detail,", `Rule: unknown field "InputPath"`},
		{"queue of another kind", "      DelaySeconds: 5", "      FifoQueue: true", `Queue: unknown field "FifoQueue"`},
		{"other source", "EventSourceArn: !GetAtt Queue.Arn", "EventSourceArn: !GetAtt Bus.Arn", `Mapping: "Bus" is no AWS::SQS::Queue`},
		{"window", "BatchSize: 5", "MaximumBatchingWindowInSeconds: 5", `Mapping: unknown field "MaximumBatchingWindowInSeconds"`},
		{"absent queue", "  Dead: {Type: AWS::SQS::Queue, Condition: Confirms}", "  Dead: {Type: AWS::SQS::Queue, Condition: Never}", "Dead does not exist, by its condition"},
	})
}
