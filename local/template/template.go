// Package template reads a SAM template: it evaluates the template to plain values, and
// decodes from them what runs on one machine: functions; the routes, authorizers,
// throttling and CORS of an HTTP API; rules, queues and event source mappings. A resource
// whose condition is false does not exist.
package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	typeFunction = "AWS::Serverless::Function"
	typeQueue    = "AWS::SQS::Queue"
)

// A Template is what was read. It has at least one function. Lists are in the order of the
// file.
type Template struct {
	Functions []Function
	Routes    []Route
	CORS      *CORS // of the API; nil if it has none

	Rules        []Rule
	Queues       []Queue
	EventSources []EventSource
	Alarms       map[string]json.RawMessage // properties by logical ID

	Parameters map[string]string // values; lists are comma-separated
	Resources  map[string]string // physical IDs by logical ID
	Outputs    map[string]string
}

// A Function is a resource of type AWS::Serverless::Function, merged with
// Globals.
type Function struct {
	LogicalID   string
	Folder      string            // of its code, such as "functions/merchant-token" for MerchantTokenFunction
	Timeout     time.Duration     // of an invocation
	MemorySize  int               // MB
	Environment map[string]string // resolved
}

// A Route is a method and a path with its parameters in braces. The path may end with a
// greedy parameter, {name+}.
type Route struct {
	Key           string      `json:"RouteKey"`          // "POST /v3/x/{card_id}/y"
	Function      string      `json:"-"`                 // logical ID
	Folder        string      `json:"-"`                 // of the function's code
	Authorization string      `json:"AuthorizationType"` // NONE, AWS_IAM, JWT or CUSTOM
	Authorizer    *Authorizer `json:"-"`                 // for JWT and CUSTOM
	Throttling    *Throttling `json:"-"`                 // nil means no limit
}

// Throttling limits the requests of a route.
type Throttling struct {
	Rate  float64 // requests per second
	Burst int     // requests at once
}

// An Authorizer is a resource of type AWS::ApiGatewayV2::Authorizer.
type Authorizer struct {
	LogicalID      string
	IdentitySource []string // one: $request.header.NAME

	// Of type JWT.
	JwtConfiguration struct {
		Issuer   string
		Audience []string
	}

	// Of type REQUEST, with payload format 2.0 and simple responses.
	Function string `json:"AuthorizerUri"`                // logical ID
	TTL      Number `json:"AuthorizerResultTtlInSeconds"` // of a cached result; 0 disables the cache
}

// CORS is the API's CorsConfiguration.
type CORS struct {
	AllowOrigins, AllowMethods, AllowHeaders, ExposeHeaders []string

	MaxAge Number // s; 0 if it is not set
}

// A Queue is a standard queue of SQS. Its name is its logical ID.
type Queue struct {
	LogicalID, ARN, URL string `json:"-"`
	VisibilityTimeout   Number // of a message, seconds
	RedrivePolicy       RedrivePolicy
}

// A RedrivePolicy says when a message goes to the dead-letter queue. The zero value has
// no such queue.
type RedrivePolicy struct {
	DeadLetterTargetArn string
	MaxReceiveCount     Number
}

// A Rule sends events of a bus to queues, or invokes a function for them.
type Rule struct {
	Bus      string         `json:"EventBusName"` // name
	Pattern  map[string]any // as JSON is decoded
	Queues   []string       `json:"-"` // logical IDs
	Function string         `json:"-"` // logical ID; empty if there is none
	Input    string         // of the function, instead of the event
}

// An EventSource is a resource of type AWS::Lambda::EventSourceMapping for a queue. The
// function reports batch item failures.
type EventSource struct {
	Queue         string `json:"EventSourceArn"` // logical ID
	Function      string `json:"FunctionName"`   // logical ID
	BatchSize     int
	ScalingConfig struct{ MaximumConcurrency int } // of invocations
}

// Read reads the template at path. params override the defaults of its parameters and of
// pseudo parameters such as AWS::Region. Errors name the file and the line.
func Read(path string, params map[string]string) (t *Template, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	var root map[string]yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	section := func(name string) *yaml.Node {
		node := root[name]
		return &node
	}
	e := &evaluator{path: path, parameters: section("Parameters"), conditions: section("Conditions"), resources: section("Resources"), values: map[string]string{
		"AWS::AccountId": "123456789012",
		"AWS::Partition": "aws",
		"AWS::Region":    "us-east-1",
		"AWS::StackName": "local",
		"AWS::URLSuffix": "amazonaws.com",
	}}
	r := &reader{evaluator: e}
	r.Parameters = map[string]string{}
	for name, parameter := range pairs(e.parameters) {
		value, given := params[name.Value]
		if byDefault := child(parameter, "Default"); !given && byDefault != nil {
			value, given = byDefault.Value, true
		}
		if given {
			r.Parameters[name.Value] = value
		}
	}
	maps.Copy(e.values, r.Parameters)
	for name, value := range params {
		if _, known := e.values[name]; !known {
			return nil, fmt.Errorf("%s: no parameter %s", path, name)
		}
		e.values[name] = value
	}
	defer func() {
		switch v := recover().(type) {
		case nil:
		case failure:
			t, err = nil, v.error
		default:
			panic(v)
		}
	}()
	r.read(section("Globals"), section("Outputs"))
	return &r.Template, nil
}
