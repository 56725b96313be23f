// Package template reads a SAM template: the settings of functions; the routes,
// authorizers, throttling and CORS of an HTTP API; and event buses, rules, queues and event
// source mappings.
//
// It resolves intrinsic functions and ignores the rest of the template. A resource whose
// condition is false does not exist.
package template

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

const (
	// Lambda's defaults.
	defaultTimeout    = 3   // s
	defaultMemorySize = 128 // MB
)

// A Template is what was read. It has at least one function.
type Template struct {
	Functions []Function // in the order of the file
	Routes    []Route    // in the order of the file
	CORS      *CORS      // of the API; nil if it has none

	Buses        []string // names of the event buses, besides default
	Rules        []Rule
	Queues       []Queue
	EventSources []EventSource
}

// A Function is a resource of type AWS::Serverless::Function, merged with
// Globals.
type Function struct {
	LogicalID   string
	Folder      string            // of its code, such as "functions/merchant-token" for MerchantTokenFunction
	Timeout     time.Duration     // 1 s to 900 s
	MemorySize  int               // MB, 128 to 10240
	Environment map[string]string // resolved
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
		// Rewrite "yaml: line 3: did not find …" in the form of the errors below.
		message := strings.TrimPrefix(err.Error(), "yaml: ")
		line, rest, ok := strings.Cut(strings.TrimPrefix(message, "line "), ": ")
		if _, err := strconv.Atoi(line); ok && err == nil {
			return nil, fmt.Errorf("%s:%s: %s", path, line, rest)
		}
		return nil, fmt.Errorf("%s: %s", path, message)
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:1: not a template", path)
	}
	root := document.Content[0]
	r := &resolver{
		path:       path,
		params:     params,
		parameters: child(root, "Parameters"),
		mappings:   child(root, "Mappings"),
		conditions: child(root, "Conditions"),
		resources:  child(root, "Resources"),
	}
	for name := range params {
		if child(r.parameters, name) == nil && !strings.HasPrefix(name, "AWS::") {
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
	return r.template(root), nil
}

func (r *resolver) template(root *yaml.Node) *Template {
	if r.resources == nil {
		r.fail(root, "no Resources")
	}
	globals := child(child(root, "Globals"), "Function")
	t := &Template{}
	hasAPI := false
	authorizers := make(map[string]*Authorizer)
	var stages []*yaml.Node
	for id, resource := range pairs(r.resources) {
		kind := child(resource, "Type")
		if kind == nil || !r.exists(resource) {
			continue
		}
		var routes []Route
		switch kind.Value {
		case typeFunction:
			f := r.function(id, resource, globals)
			t.Functions = append(t.Functions, f)
			routes = r.eventRoutes(id.Value, child(resource, "Properties"))
		case typeAPI:
			if hasAPI {
				r.fail(id, "%s is a second API", id.Value)
			}
			hasAPI, t.CORS = true, r.cors(resource)
		case typeRoute:
			routes = []Route{r.route(id, resource, authorizers)}
		case typeStage:
			stages = append(stages, resource)
		case typeBus:
			t.Buses = append(t.Buses, r.busName(id, id.Value))
		case typeRule:
			t.Rules = append(t.Rules, r.rule(id, resource))
		case typeQueue:
			t.Queues = append(t.Queues, r.queue(id, resource))
		case typeEventSource:
			t.EventSources = append(t.EventSources, r.eventSource(id, resource))
		}
		for _, route := range routes {
			for _, other := range t.Routes {
				if other.Key() == route.Key() {
					r.fail(resource, "%s has the route %s of %s", route.Function, route.Key(), other.Function)
				}
			}
			t.Routes = append(t.Routes, route)
		}
	}
	for _, stage := range stages {
		r.throttle(t.Routes, child(stage, "Properties"))
	}
	if len(t.Functions) == 0 {
		r.fail(r.resources, "no AWS::Serverless::Function in Resources")
	}
	return t
}

// resource returns the resource with the given ID and type that the node at refers to.
func (r *resolver) resource(at *yaml.Node, id, kind string) *yaml.Node {
	if found := child(child(r.resources, id), "Type"); found == nil || found.Value != kind {
		r.fail(at, "%q is no %s", id, kind)
	}
	return r.refer(at, id)
}

func (r *resolver) function(id, resource, globals *yaml.Node) Function {
	properties := r.properties(id, resource)
	f := Function{
		LogicalID:   id.Value,
		Folder:      "functions/" + kebab(strings.TrimSuffix(id.Value, "Function")),
		Timeout:     time.Duration(r.number("Timeout", defaultTimeout, 1, 900, properties, globals)) * time.Second,
		MemorySize:  r.number("MemorySize", defaultMemorySize, 128, 10240, properties, globals),
		Environment: make(map[string]string),
	}
	for _, properties := range []*yaml.Node{globals, properties} {
		for key, node := range pairs(r.child(r.child(properties, "Environment"), "Variables")) {
			value := r.eval(node)
			switch {
			case value == nil:
				delete(f.Environment, key.Value)
			case value.Kind != yaml.ScalarNode:
				r.fail(node, "variable %s is not a string", key.Value)
			default:
				f.Environment[key.Value] = value.Value
			}
		}
	}
	return f
}

// number returns the named property from the first node that has it, or byDefault.
func (r *resolver) number(name string, byDefault, low, high int, nodes ...*yaml.Node) int {
	for _, node := range nodes {
		value := r.child(node, name)
		if value == nil {
			continue
		}
		n, err := strconv.Atoi(value.Value)
		if err != nil || n < low || n > high {
			r.fail(value, "%s %q is not a number from %d to %d", name, value.Value, low, high)
		}
		return n
	}
	return byDefault
}

// eventRoutes returns the routes of a function's HttpApi events, whose authorization is
// AWS_IAM.
func (r *resolver) eventRoutes(function string, properties *yaml.Node) (routes []Route) {
	for name, node := range pairs(r.child(properties, "Events")) {
		event := r.eval(node)
		if kind := child(event, "Type"); kind == nil || kind.Value != "HttpApi" {
			continue
		}
		properties := r.child(event, "Properties")
		route := Route{
			Method:        strings.ToUpper(r.optional(properties, "Method")),
			Path:          r.optional(properties, "Path"),
			Function:      function,
			Authorization: "AWS_IAM",
		}
		if !route.single() {
			r.fail(name, "event %s does not have a single method and path", name.Value)
		}
		routes = append(routes, route)
	}
	return routes
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

// pseudo returns the value of a pseudo parameter other than AWS::NoValue.
func pseudo(name string, params map[string]string) (value string, ok bool) {
	switch name {
	case "AWS::AccountId":
		value = "123456789012"
	case "AWS::Partition":
		value = "aws"
	case "AWS::Region":
		value = "us-east-1"
	case "AWS::StackName":
		value = "local"
	case "AWS::URLSuffix":
		value = "amazonaws.com"
	default:
		return "", false
	}
	return cmp.Or(params[name], value), true
}
