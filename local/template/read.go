package template

// This file decodes the evaluated resources. What the properties' values may be is not
// checked again: cfn-lint does that.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// A reader reads a template from its root. Its errors are panics with a failure.
type reader struct {
	*evaluator
	Template
	authorizers map[string]*Authorizer // by logical ID
}

func (r *reader) read(root *yaml.Node) {
	r.Parameters, r.Resources, r.Outputs = map[string]string{}, map[string]string{}, map[string]string{}
	for id, node := range pairs(r.parameters) {
		if value, given := r.params[id.Value]; given {
			r.Parameters[id.Value] = value
		} else if byDefault := child(node, "Default"); byDefault != nil {
			r.Parameters[id.Value] = byDefault.Value
		}
	}
	var stages []*yaml.Node
	for id, resource := range pairs(r.resources) {
		if !r.exists(resource) {
			continue
		}
		_, kind := r.refer(id, id.Value)
		r.Resources[id.Value] = r.ref(id, id.Value).(string)
		switch properties := child(resource, "Properties"); kind {
		case typeAlarm:
			alarm := Alarm{LogicalID: id.Value}
			r.decode(id, properties, &alarm)
			r.Alarms = append(r.Alarms, alarm)
		case typeFunction:
			r.function(id, properties, child(child(root, "Globals"), "Function"))
		case typeAPI:
			var api struct {
				CorsConfiguration  *CORS
				Name, ProtocolType any
			}
			r.decode(id, properties, &api)
			r.CORS = api.CorsConfiguration
		case typeRoute:
			r.route(id, properties)
		case typeStage:
			stages = append(stages, id, properties)
		case typeBus:
			r.Buses = append(r.Buses, r.Resources[id.Value])
		case typeRule:
			r.rule(id, properties)
		case typeQueue:
			r.queue(id, properties)
		case typeEventSource:
			r.eventSource(id, properties)
		}
	}
	for i := 0; i < len(stages); i += 2 {
		r.throttle(stages[i], stages[i+1])
	}
	for id, output := range pairs(child(root, "Outputs")) {
		if r.exists(output) {
			r.Outputs[id.Value] = r.text(child(output, "Value"))
		}
	}
	if len(r.Functions) == 0 {
		r.fail(root, "no %s in Resources", typeFunction)
	}
}

// decode decodes the properties of the resource id into a struct. A property that the
// struct does not have is an error.
func (r *reader) decode(id, properties *yaml.Node, into any) {
	if properties == nil {
		return
	}
	text, err := json.Marshal(r.value(properties))
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(into)
	}
	if err != nil {
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

func (n Number) seconds() time.Duration { return time.Duration(n) * time.Second }

// target returns the logical ID of the resource of a type that an ARN, a URI of API Gateway
// or a name ends with.
func (r *reader) target(at *yaml.Node, kind, arn string) string {
	arn = strings.TrimSuffix(arn, "/invocations")
	id := arn[strings.LastIndexAny(arn, ":/")+1:]
	if resource := child(r.resources, id); resource == nil || child(resource, "Type").Value != kind {
		r.fail(at, "%s: %q is no %s", at.Value, id, kind)
	}
	r.refer(at, id)
	return id
}

func (r *reader) function(id, properties, globals *yaml.Node) {
	f := Function{
		LogicalID:   id.Value,
		Folder:      "functions/" + kebab(strings.TrimSuffix(id.Value, "Function")),
		Environment: make(map[string]string),
	}
	timeout, memorySize := Number(3), Number(128) // Lambda's defaults
	for _, node := range []*yaml.Node{globals, properties} {
		for name, into := range map[string]any{"Timeout": &timeout, "MemorySize": &memorySize} {
			if value := child(node, name); value != nil {
				r.decode(id, value, into)
			}
		}
		for name, value := range pairs(child(child(node, "Environment"), "Variables")) {
			if delete(f.Environment, name.Value); r.value(value) != (absent{}) {
				f.Environment[name.Value] = r.text(value)
			}
		}
	}
	f.Timeout, f.MemorySize = timeout.seconds(), int(memorySize)
	r.Functions = append(r.Functions, f)
	for name, event := range pairs(child(properties, "Events")) {
		switch kind := r.text(child(event, "Type")); kind {
		case "EventBridgeRule":
			rule := Rule{LogicalID: id.Value + name.Value, Function: id.Value}
			var bus struct {
				EventBusName, Input                  string
				Pattern                              json.RawMessage
				DeadLetterConfig, RetryPolicy, State any
			}
			r.decode(name, child(event, "Properties"), &bus)
			rule.Bus, rule.Pattern, rule.Input = cmp.Or(bus.EventBusName, "default"), bus.Pattern, bus.Input
			r.Rules = append(r.Rules, rule)
		case "Schedule": // nothing here has a schedule
		default:
			r.fail(name, "%s has the event %s of type %s, which is not supported", id.Value, name.Value, kind)
		}
	}
}

// kebab converts a name from camel case to kebab case: APIKey becomes "api-key".
func kebab(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, c := range runes {
		begins := unicode.IsUpper(c) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

func (r *reader) route(id, properties *yaml.Node) {
	var route struct {
		RouteKey, Target, AuthorizationType, AuthorizerId string
		ApiId                                             any
	}
	r.decode(id, properties, &route)
	method, path, _ := strings.Cut(route.RouteKey, " ")
	if method == "ANY" || !strings.HasPrefix(path, "/") || strings.Contains(strings.TrimSuffix(path, "+}"), "+}") {
		r.fail(id, "%s does not have a single method and path", id.Value)
	}
	if slices.ContainsFunc(r.Routes, func(other Route) bool { return other.Key() == route.RouteKey }) {
		r.fail(id, "%s has the route %s of another", id.Value, route.RouteKey)
	}
	var integration struct {
		IntegrationType, IntegrationUri, PayloadFormatVersion string
		ApiId, CredentialsArn                                 any
	}
	r.decode(id, child(child(r.resources, r.target(id, typeIntegration, route.Target)), "Properties"), &integration)
	if integration.IntegrationType != "AWS_PROXY" || integration.PayloadFormatVersion != "2.0" {
		r.fail(id, "%s has an integration that is not AWS_PROXY with the format 2.0", id.Value)
	}
	read := Route{
		Method: method, Path: path,
		Function:      r.target(id, typeFunction, integration.IntegrationUri),
		Authorization: cmp.Or(route.AuthorizationType, "NONE"),
	}
	switch read.Authorization {
	case "NONE", "AWS_IAM":
	case "JWT", "CUSTOM":
		read.Authorizer = r.authorizer(id, r.target(id, typeAuthorizer, route.AuthorizerId))
		if (read.Authorization == "JWT") != (read.Authorizer.Function == "") {
			r.fail(id, "%s has the AuthorizationType %s, but %s is of another type", id.Value, read.Authorization, route.AuthorizerId)
		}
	default:
		r.fail(id, "%s has the AuthorizationType %s, not NONE, AWS_IAM, JWT or CUSTOM", id.Value, read.Authorization)
	}
	r.Routes = append(r.Routes, read)
}

// authorizer returns the authorizer that the node at refers to.
func (r *reader) authorizer(at *yaml.Node, id string) *Authorizer {
	if a := r.authorizers[id]; a != nil {
		return a
	}
	var read struct {
		AuthorizerType, AuthorizerPayloadFormatVersion, AuthorizerUri string
		EnableSimpleResponses                                         bool
		AuthorizerResultTtlInSeconds                                  Number
		IdentitySource                                                []string
		JwtConfiguration                                              struct {
			Issuer   string
			Audience []string
		}
		ApiId, Name, AuthorizerCredentialsArn any
	}
	r.decode(at, child(child(r.resources, id), "Properties"), &read)
	a := &Authorizer{Issuer: read.JwtConfiguration.Issuer, Audience: read.JwtConfiguration.Audience, TTL: read.AuthorizerResultTtlInSeconds.seconds()}
	for _, source := range read.IdentitySource {
		header, ok := strings.CutPrefix(source, "$request.header.")
		if !ok {
			r.fail(at, "%s has the identity source %s, and only headers are supported", id, source)
		}
		a.IdentitySource = append(a.IdentitySource, header)
	}
	if read.AuthorizerType == "REQUEST" {
		if read.AuthorizerPayloadFormatVersion != "2.0" || !read.EnableSimpleResponses {
			r.fail(at, "%s does not have the format 2.0 with simple responses", id)
		}
		a.Function = r.target(at, typeFunction, read.AuthorizerUri)
	}
	r.authorizers[id] = a
	return a
}

// throttle sets the routes' throttling to the stage's settings for the route, or to its
// default.
func (r *reader) throttle(id, properties *yaml.Node) {
	var stage struct {
		DefaultRouteSettings *struct {
			ThrottlingRateLimit  json.Number
			ThrottlingBurstLimit Number
		}
		// CloudFormation passes these on as free-form JSON, in which the value of a
		// parameter would be a string. So a string is an error here.
		RouteSettings map[string]struct {
			ThrottlingRateLimit    *float64
			ThrottlingBurstLimit   int
			DetailedMetricsEnabled any
		}
		ApiId, StageName, Description, AutoDeploy, AccessLogSettings any
	}
	r.decode(id, properties, &stage)
	for i, route := range r.Routes {
		if s := stage.DefaultRouteSettings; s != nil && s.ThrottlingRateLimit != "" {
			rate, _ := s.ThrottlingRateLimit.Float64() // cannot fail: it was decoded
			r.Routes[i].Throttling = &Throttling{rate, int(s.ThrottlingBurstLimit)}
		}
		if s, ok := stage.RouteSettings[route.Key()]; ok && s.ThrottlingRateLimit != nil {
			r.Routes[i].Throttling = &Throttling{*s.ThrottlingRateLimit, s.ThrottlingBurstLimit}
		}
		delete(stage.RouteSettings, route.Key())
	}
	for key := range stage.RouteSettings {
		r.fail(id, "RouteSettings have the route %s, which does not exist", key)
	}
}

func (r *reader) queue(id, properties *yaml.Node) {
	read := struct {
		VisibilityTimeout, DelaySeconds Number
		RedrivePolicy                   *struct {
			DeadLetterTargetArn string
			MaxReceiveCount     Number
		}
		MessageRetentionPeriod, SqsManagedSseEnabled, KmsMasterKeyId, KmsDataKeyReusePeriodSeconds, Tags any
	}{VisibilityTimeout: 30}
	r.decode(id, properties, &read)
	q := Queue{
		LogicalID:         id.Value,
		ARN:               r.attribute(id, id.Value, "Arn"),
		URL:               r.Resources[id.Value],
		VisibilityTimeout: read.VisibilityTimeout.seconds(),
		Delay:             read.DelaySeconds.seconds(),
	}
	if policy := read.RedrivePolicy; policy != nil {
		q.DeadLetters, q.MaxReceiveCount = r.target(id, typeQueue, policy.DeadLetterTargetArn), int(policy.MaxReceiveCount)
	}
	r.Queues = append(r.Queues, q)
}

func (r *reader) rule(id, properties *yaml.Node) {
	var read struct {
		EventBusName string
		EventPattern json.RawMessage
		Targets      []struct {
			Arn                               string
			Id, DeadLetterConfig, RetryPolicy any // no effect: sending to a queue never fails here
		}
		Name, Description any
	}
	r.decode(id, properties, &read)
	rule := Rule{LogicalID: id.Value, Bus: cmp.Or(read.EventBusName, "default"), Pattern: read.EventPattern}
	for _, target := range read.Targets {
		rule.Queues = append(rule.Queues, r.target(id, typeQueue, target.Arn))
	}
	r.Rules = append(r.Rules, rule)
}

func (r *reader) eventSource(id, properties *yaml.Node) {
	read := struct {
		EventSourceArn, FunctionName string
		BatchSize                    Number
		FunctionResponseTypes        []string
		ScalingConfig                struct{ MaximumConcurrency Number }
	}{BatchSize: 10}
	r.decode(id, properties, &read)
	r.EventSources = append(r.EventSources, EventSource{
		LogicalID:       id.Value,
		Queue:           r.target(id, typeQueue, read.EventSourceArn),
		Function:        r.target(id, typeFunction, read.FunctionName),
		BatchSize:       int(read.BatchSize),
		MaxConcurrency:  int(read.ScalingConfig.MaximumConcurrency),
		ReportsFailures: slices.Contains(read.FunctionResponseTypes, "ReportBatchItemFailures"),
	})
}
