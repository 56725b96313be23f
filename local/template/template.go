// Package template reads the functions, with their settings and HTTP API
// routes, from a SAM template.
//
// Intrinsic functions are resolved in what is read and nowhere else; the rest
// of the template is not interpreted.
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

// A Template is what was read, never without a function.
type Template struct {
	Functions []Function // in the order of the file
}

// A Function is a resource of type AWS::Serverless::Function, merged with
// Globals.
type Function struct {
	LogicalID   string
	Folder      string            // of its code: "functions/merchant-token" for MerchantTokenFunction
	Timeout     time.Duration     // 1 s to 900 s
	MemorySize  int               // MB, 128 to 10240
	Environment map[string]string // resolved
	Routes      []Route           // of its HttpApi events, in the order of the file
}

// A Route is a method and a path with its parameters in braces.
type Route struct{ Method, Path string }

// Key returns API Gateway's route key, "POST /v3/x/{card_id}/y".
func (r Route) Key() string { return r.Method + " " + r.Path }

// Read reads the template at path. Params override the defaults of its
// parameters, and pseudo parameters such as AWS::Region. Errors name the file
// and the line.
func Read(path string, params map[string]string) (*Template, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		// "yaml: line 3: did not find …" in the form of the errors below.
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
	return r.template(root)
}

func (r *resolver) template(root *yaml.Node) (*Template, error) {
	if r.resources == nil {
		return nil, r.errorf(root, "no Resources")
	}
	globals := child(child(root, "Globals"), "Function")
	t := &Template{}
	routes := make(map[Route]string) // the logical ID of the function of each
	for id, resource := range pairs(r.resources) {
		if kind := child(resource, "Type"); kind == nil || kind.Value != "AWS::Serverless::Function" {
			continue
		}
		if condition := child(resource, "Condition"); condition != nil {
			if met, err := r.condition(condition, condition.Value); err != nil {
				return nil, err
			} else if !met {
				continue
			}
		}
		f, err := r.function(id, resource, globals)
		if err != nil {
			return nil, err
		}
		for _, route := range f.Routes {
			if other, ok := routes[route]; ok {
				return nil, r.errorf(resource, "%s has the route %s of %s", id.Value, route.Key(), other)
			}
			routes[route] = id.Value
		}
		t.Functions = append(t.Functions, *f)
	}
	if len(t.Functions) == 0 {
		return nil, r.errorf(r.resources, "no AWS::Serverless::Function in Resources")
	}
	return t, nil
}

func (r *resolver) function(id, resource, globals *yaml.Node) (*Function, error) {
	properties := child(resource, "Properties")
	if properties == nil {
		return nil, r.errorf(id, "%s has no Properties", id.Value)
	}
	f := &Function{
		LogicalID:   id.Value,
		Folder:      "functions/" + kebab(strings.TrimSuffix(id.Value, "Function")),
		Environment: make(map[string]string),
	}
	seconds, err := r.number("Timeout", defaultTimeout, 1, 900, properties, globals)
	if err != nil {
		return nil, err
	}
	f.Timeout = time.Duration(seconds) * time.Second
	f.MemorySize, err = r.number("MemorySize", defaultMemorySize, 128, 10240, properties, globals)
	if err != nil {
		return nil, err
	}
	for _, properties := range []*yaml.Node{globals, properties} {
		if err := r.environment(f.Environment, properties); err != nil {
			return nil, err
		}
	}
	f.Routes, err = r.routes(properties)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// number returns the named property of the first of nodes that has it.
func (r *resolver) number(name string, missing, low, high int, nodes ...*yaml.Node) (int, error) {
	for _, node := range nodes {
		value, err := r.child(node, name)
		if err != nil {
			return 0, err
		}
		if value == nil {
			continue
		}
		n, err := strconv.Atoi(value.Value)
		if err != nil || n < low || n > high {
			return 0, r.errorf(value, "%s %q is not a number from %d to %d", name, value.Value, low, high)
		}
		return n, nil
	}
	return missing, nil
}

// environment adds the variables of properties to env.
func (r *resolver) environment(env map[string]string, properties *yaml.Node) error {
	environment, err := r.child(properties, "Environment")
	if err != nil {
		return err
	}
	variables, err := r.child(environment, "Variables")
	if err != nil {
		return err
	}
	for key, node := range pairs(variables) {
		value, err := r.eval(node)
		if err != nil {
			return err
		}
		switch {
		case value == nil:
			delete(env, key.Value)
		case value.Kind != yaml.ScalarNode:
			return r.errorf(node, "variable %s is not a string", key.Value)
		default:
			env[key.Value] = value.Value
		}
	}
	return nil
}

func (r *resolver) routes(properties *yaml.Node) ([]Route, error) {
	events, err := r.child(properties, "Events")
	if err != nil {
		return nil, err
	}
	var routes []Route
	for name, node := range pairs(events) {
		event, err := r.eval(node)
		if err != nil {
			return nil, err
		}
		if kind := child(event, "Type"); kind == nil || kind.Value != "HttpApi" {
			continue
		}
		properties, err := r.child(event, "Properties")
		if err != nil {
			return nil, err
		}
		var values [2]string
		for i, key := range []string{"Method", "Path"} {
			value, err := r.child(properties, key)
			if err != nil {
				return nil, err
			}
			if value != nil {
				values[i] = value.Value
			}
		}
		route := Route{strings.ToUpper(values[0]), values[1]}
		if route.Method == "" || route.Method == "ANY" || !strings.HasPrefix(route.Path, "/") || strings.Contains(route.Path, "+}") {
			return nil, r.errorf(name, "event %s is not of one method, other than any, and one path without {proxy+}", name.Value)
		}
		routes = append(routes, route)
	}
	return routes, nil
}

// kebab returns a name in camel case in kebab case: "api-key" for APIKey.
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
