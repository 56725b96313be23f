package template

// This file decodes the evaluated resources. What the properties' values may be is not
// checked again: cfn-lint does that.

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A reader reads a template from its root. Its errors are panics with a failure.
type reader struct {
	*evaluator
	Template
	stage stage
}

func (r *reader) read(globals, outputs *yaml.Node) {
	r.Resources, r.Outputs, r.Alarms = map[string]string{}, map[string]string{}, map[string]json.RawMessage{}
	for id, resource := range pairs(r.resources) {
		if !r.exists(resource) {
			continue
		}
		_, kind := r.refer(id, id.Value)
		r.Resources[id.Value] = r.ref(id, id.Value).(string)
		switch properties := child(resource, "Properties"); kind {
		case "AWS::CloudWatch::Alarm":
			r.Alarms[id.Value] = r.json(properties)
		case typeFunction:
			r.function(id, properties, child(globals, "Function"))
		case "AWS::ApiGatewayV2::Api":
			var api struct{ CorsConfiguration *CORS }
			r.decode(id, properties, &api)
			r.CORS = api.CorsConfiguration
		case "AWS::ApiGatewayV2::Route":
			r.route(id, properties)
		case "AWS::ApiGatewayV2::Stage":
			r.decode(id, properties, &r.stage)
		case "AWS::Events::Rule":
			r.rule(id, properties)
		case typeQueue:
			r.queue(id, properties)
		case "AWS::Lambda::EventSourceMapping":
			r.eventSource(id, properties)
		}
	}
	for i, route := range r.Routes {
		r.Routes[i].Throttling = r.stage.throttling(route.Key)
	}
	for id, output := range pairs(outputs) {
		if r.exists(output) {
			r.Outputs[id.Value] = r.text(child(output, "Value"))
		}
	}
	if len(r.Functions) == 0 {
		panic(failure{fmt.Errorf("%s: no %s in Resources", r.path, typeFunction)})
	}
}

// json returns the evaluated properties of a resource as JSON.
func (r *reader) json(properties *yaml.Node) json.RawMessage {
	if properties == nil {
		return json.RawMessage("{}")
	}
	text, _ := json.Marshal(r.value(properties)) // plain values always marshal
	return text
}

// decode decodes the properties of the resource id into a struct.
func (r *reader) decode(id, properties *yaml.Node, into any) {
	if err := json.Unmarshal(r.json(properties), into); err != nil {
		r.fail(id, "%s: %s", id.Value, strings.TrimPrefix(err.Error(), "json: "))
	}
}

// A Number may be written as a string, as the value of a parameter is.
type Number int

func (n *Number) UnmarshalJSON(text []byte) error {
	value, err := strconv.Atoi(strings.Trim(string(text), `"`))
	*n = Number(value)
	return err
}

func (n Number) Seconds() time.Duration { return time.Duration(n) * time.Second }

// target returns the logical ID of the resource of a type that an ARN, a URI of API Gateway
// or a name ends with.
func (r *reader) target(at *yaml.Node, kind, arn string) string {
	arn = strings.TrimSuffix(arn, "/invocations")
	id := arn[strings.LastIndexAny(arn, ":/")+1:]
	if _, found := r.refer(at, id); found != kind {
		r.fail(at, "%s: %q is no %s", at.Value, id, kind)
	}
	return id
}

func (r *reader) function(id, properties, globals *yaml.Node) {
	read := struct {
		Timeout, MemorySize Number
		Environment         struct{ Variables map[string]any }
	}{Timeout: 3, MemorySize: 128} // Lambda's defaults
	r.decode(id, globals, &read)
	r.decode(id, properties, &read)
	f := Function{
		LogicalID:   id.Value,
		Folder:      Folder(id.Value),
		Timeout:     read.Timeout.Seconds(),
		MemorySize:  int(read.MemorySize),
		Environment: map[string]string{},
	}
	for name, value := range read.Environment.Variables {
		f.Environment[name] = fmt.Sprint(value)
	}
	r.Functions = append(r.Functions, f)
	for name, event := range pairs(child(properties, "Events")) {
		if child(event, "Type").Value == "EventBridgeRule" { // the others are schedules, which nothing here has
			rule := Rule{Bus: "default", Function: id.Value}
			r.decode(name, child(event, "Properties"), &rule)
			r.Rules = append(r.Rules, rule)
		}
	}
}

var capital = regexp.MustCompile(`\B[A-Z]`)

// Folder returns the folder of a function's code, such as functions/merchant-token for
// MerchantTokenFunction.
func Folder(logicalID string) string {
	return "functions/" + strings.ToLower(capital.ReplaceAllString(strings.TrimSuffix(logicalID, "Function"), "-$0"))
}

func (r *reader) route(id, properties *yaml.Node) {
	route := Route{Authorization: "NONE"}
	var read struct{ Target, AuthorizerId string }
	var integration struct{ IntegrationUri string }
	r.decode(id, properties, &route)
	r.decode(id, properties, &read)
	r.decode(id, child(child(r.resources, r.target(id, "AWS::ApiGatewayV2::Integration", read.Target)), "Properties"), &integration)
	route.Function = r.target(id, typeFunction, integration.IntegrationUri)
	route.Folder = Folder(route.Function)
	if read.AuthorizerId != "" {
		route.Authorizer = r.authorizer(id, r.target(id, "AWS::ApiGatewayV2::Authorizer", read.AuthorizerId))
	}
	r.Routes = append(r.Routes, route)
}

// authorizer returns the authorizer that the node at refers to.
func (r *reader) authorizer(at *yaml.Node, id string) *Authorizer {
	a := &Authorizer{LogicalID: id}
	r.decode(at, child(child(r.resources, id), "Properties"), a)
	if a.Function != "" {
		a.Function = r.target(at, typeFunction, a.Function)
	}
	return a
}

// A stage has the throttling of all routes, and that of single ones by key.
type stage struct {
	DefaultRouteSettings *struct {
		ThrottlingRateLimit  json.Number
		ThrottlingBurstLimit Number
	}
	// CloudFormation passes these on as free-form JSON, in which the value of a parameter
	// would be a string. So a string is an error here.
	RouteSettings map[string]struct {
		ThrottlingRateLimit  float64
		ThrottlingBurstLimit int
	}
}

// throttling returns the settings of a route, or nil if there are none.
func (s stage) throttling(key string) *Throttling {
	if own, ok := s.RouteSettings[key]; ok {
		return &Throttling{own.ThrottlingRateLimit, own.ThrottlingBurstLimit}
	}
	if all := s.DefaultRouteSettings; all != nil {
		limit, _ := all.ThrottlingRateLimit.Float64() // cannot fail: it was decoded
		return &Throttling{limit, int(all.ThrottlingBurstLimit)}
	}
	return nil
}

func (r *reader) queue(id, properties *yaml.Node) {
	q := Queue{LogicalID: id.Value, ARN: r.attribute(id, id.Value, "Arn"), URL: r.Resources[id.Value], VisibilityTimeout: 30}
	r.decode(id, properties, &q)
	r.Queues = append(r.Queues, q)
}

func (r *reader) rule(id, properties *yaml.Node) {
	var read struct {
		EventBusName string
		EventPattern map[string]any
		Targets      []struct{ Arn string }
	}
	r.decode(id, properties, &read)
	rule := Rule{Bus: read.EventBusName, Pattern: read.EventPattern}
	for _, target := range read.Targets {
		rule.Queues = append(rule.Queues, r.target(id, typeQueue, target.Arn))
	}
	r.Rules = append(r.Rules, rule)
}

func (r *reader) eventSource(id, properties *yaml.Node) {
	var source EventSource
	r.decode(id, properties, &source)
	source.Queue, source.Function = r.target(id, typeQueue, source.Queue), r.target(id, typeFunction, source.Function)
	r.EventSources = append(r.EventSources, source)
}
