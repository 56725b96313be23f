// Package template reads a SAM template: it evaluates the template to plain values, and
// decodes from them what runs on one machine: functions; the routes, authorizers,
// throttling and CORS of an HTTP API; event buses, rules, queues and event source mappings;
// and the alarms, for the tests that play CloudWatch.
//
// A resource whose condition is false does not exist. A property of an event, a queue or
// the API that is not known here is an error, because ignoring it could make a difference.
// Other resources are evaluated and ignored.
package template

import (
	"fmt"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	typeAlarm       = "AWS::CloudWatch::Alarm"
	typeAPI         = "AWS::ApiGatewayV2::Api"
	typeAuthorizer  = "AWS::ApiGatewayV2::Authorizer"
	typeBus         = "AWS::Events::EventBus"
	typeEventSource = "AWS::Lambda::EventSourceMapping"
	typeFunction    = "AWS::Serverless::Function"
	typeIntegration = "AWS::ApiGatewayV2::Integration"
	typeQueue       = "AWS::SQS::Queue"
	typeRoute       = "AWS::ApiGatewayV2::Route"
	typeRule        = "AWS::Events::Rule"
	typeStage       = "AWS::ApiGatewayV2::Stage"
)

// A Template is what was read. It has at least one function. Lists are in the order of the
// file.
type Template struct {
	Functions []Function
	Routes    []Route
	CORS      *CORS // of the API; nil if it has none

	Buses        []string // names of the event buses, besides default
	Rules        []Rule
	Queues       []Queue
	EventSources []EventSource
	Alarms       []Alarm

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
	Method, Path  string
	Function      string      // logical ID
	Authorization string      // NONE, AWS_IAM, JWT or CUSTOM
	Authorizer    *Authorizer // for JWT and CUSTOM; shared by routes
	Throttling    *Throttling // nil means no limit
}

// Key returns API Gateway's route key, "POST /v3/x/{card_id}/y".
func (r Route) Key() string { return r.Method + " " + r.Path }

// Throttling limits the requests of a route.
type Throttling struct {
	Rate  float64 // requests per second
	Burst int     // requests at once
}

// An Authorizer is a resource of type AWS::ApiGatewayV2::Authorizer.
type Authorizer struct {
	IdentitySource []string // names of headers

	// Of type JWT.
	Issuer   string
	Audience []string

	// Of type REQUEST, with payload format 2.0 and simple responses.
	Function string        // logical ID
	TTL      time.Duration // of a cached result; 0 disables the cache
}

// CORS is the API's CorsConfiguration.
type CORS struct {
	AllowOrigins, AllowMethods, AllowHeaders, ExposeHeaders []string

	MaxAge           Number // s; 0 if it is not set
	AllowCredentials bool
}

// A Queue is a standard queue of SQS. Its name is its logical ID.
type Queue struct {
	LogicalID, ARN, URL string
	VisibilityTimeout   time.Duration
	Delay               time.Duration // of a message
	DeadLetters         string        // logical ID of the dead-letter queue; empty if there is none
	MaxReceiveCount     int           // before a message goes to the dead-letter queue
}

// A Rule sends events of a bus to queues, or invokes a function for them.
type Rule struct {
	LogicalID string
	Bus       string   // name
	Pattern   []byte   // JSON
	Queues    []string // logical IDs
	Function  string   // logical ID; empty if there is none
	Input     string   // of the function, instead of the event
}

// An EventSource is a resource of type AWS::Lambda::EventSourceMapping for a queue.
type EventSource struct {
	LogicalID       string
	Queue, Function string // logical IDs
	BatchSize       int
	MaxConcurrency  int  // of invocations; 0 if it is not set
	ReportsFailures bool // ReportBatchItemFailures
}

// An Alarm is a resource of type AWS::CloudWatch::Alarm. It goes on when all of its
// EvaluationPeriods breach the threshold: DatapointsToAlarm is not supported.
type Alarm struct {
	LogicalID string
	Metric                  // of an alarm without Metrics
	Metrics   []AlarmMetric // an expression, and what it refers to

	Threshold          Number
	ComparisonOperator string
	EvaluationPeriods  Number
	TreatMissingData   string

	EvaluateLowSampleCountPercentile                 string
	AlarmActions, InsufficientDataActions, OKActions []string
	AlarmDescription                                 string
}

// A Metric is a metric of CloudWatch and how its data points are made.
type Metric struct {
	Namespace, MetricName        string
	Dimensions                   []struct{ Name, Value string }
	Statistic, ExtendedStatistic string
	Period                       Number // seconds
}

// An AlarmMetric is an item of an alarm's Metrics: an expression or a metric.
type AlarmMetric struct {
	Id, Expression string
	ReturnData     *bool
	MetricStat     *struct {
		Metric Metric
		Stat   string
		Period Number // seconds
	}
}

// Read reads the template at path. params override the defaults of its parameters and of
// pseudo parameters such as AWS::Region. Errors name the file and the line.
func Read(path string, params map[string]string) (t *Template, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:1: not a template", path)
	}
	root := document.Content[0]
	e := &evaluator{
		path:       path,
		params:     params,
		parameters: child(root, "Parameters"),
		mappings:   child(root, "Mappings"),
		conditions: child(root, "Conditions"),
		resources:  child(root, "Resources"),
	}
	for name := range params {
		if child(e.parameters, name) == nil && !strings.HasPrefix(name, "AWS::") {
			return nil, fmt.Errorf("%s: no parameter %s", path, name)
		}
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
	r := &reader{evaluator: e, authorizers: map[string]*Authorizer{}}
	r.read(root)
	return &r.Template, nil
}
