// Package template reads the functions and the HTTP API in front of them from a
// SAM template: the functions' settings, and the API's routes, authorizers and
// CORS.
//
// Intrinsic functions are resolved in what is read and nowhere else; the rest
// of the template is not interpreted. A resource whose condition is not met does
// not exist.
package template

import (
	"cmp"
	"fmt"
	"os"
	"slices"
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
	Routes    []Route    // in the order of the file
	CORS      *CORS      // of the API; nil without
}

// A Function is a resource of type AWS::Serverless::Function, merged with
// Globals.
type Function struct {
	LogicalID   string
	Folder      string            // of its code: "functions/merchant-token" for MerchantTokenFunction
	Timeout     time.Duration     // 1 s to 900 s
	MemorySize  int               // MB, 128 to 10240
	Environment map[string]string // resolved
	Routes      []Route           // to it, in the order of the file
}

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
	add := func(at *yaml.Node, routes ...Route) error {
		for _, route := range routes {
			for _, other := range t.Routes {
				if other.Key() == route.Key() {
					return r.errorf(at, "%s has the route %s of %s", route.Function, route.Key(), other.Function)
				}
			}
			t.Routes = append(t.Routes, route)
		}
		return nil
	}
	apis := 0
	authorizers := make(map[string]*Authorizer)
	for id, resource := range pairs(r.resources) {
		kind := child(resource, "Type")
		if kind == nil || !slices.Contains([]string{typeAPI, typeFunction, typeRoute}, kind.Value) {
			continue
		}
		if exists, err := r.exists(resource); err != nil {
			return nil, err
		} else if !exists {
			continue
		}
		switch kind.Value {
		case typeFunction:
			f, routes, err := r.function(id, resource, globals)
			if err != nil {
				return nil, err
			}
			if err := add(resource, routes...); err != nil {
				return nil, err
			}
			t.Functions = append(t.Functions, *f)
		case typeAPI:
			if apis++; apis > 1 {
				return nil, r.errorf(id, "%s is a second API", id.Value)
			}
			cors, err := r.cors(resource)
			if err != nil {
				return nil, err
			}
			t.CORS = cors
		case typeRoute:
			route, err := r.route(id, resource, authorizers)
			if err != nil {
				return nil, err
			}
			if err := add(resource, *route); err != nil {
				return nil, err
			}
		}
	}
	if len(t.Functions) == 0 {
		return nil, r.errorf(r.resources, "no AWS::Serverless::Function in Resources")
	}
	for i := range t.Functions {
		f := &t.Functions[i]
		for _, route := range t.Routes {
			if route.Function == f.LogicalID {
				f.Routes = append(f.Routes, route)
			}
		}
	}
	return t, nil
}

// resource returns the resource of the given type that a reference at a node
// leads to.
func (r *resolver) resource(at *yaml.Node, id, kind string) (*yaml.Node, error) {
	resource := child(r.resources, id)
	if resource == nil || child(resource, "Type") == nil || child(resource, "Type").Value != kind {
		return nil, r.errorf(at, "%q is no %s", id, kind)
	}
	return resource, r.refer(at, id, resource)
}

func (r *resolver) function(id, resource, globals *yaml.Node) (*Function, []Route, error) {
	properties := child(resource, "Properties")
	if properties == nil {
		return nil, nil, r.errorf(id, "%s has no Properties", id.Value)
	}
	f := &Function{
		LogicalID:   id.Value,
		Folder:      "functions/" + kebab(strings.TrimSuffix(id.Value, "Function")),
		Environment: make(map[string]string),
	}
	seconds, err := r.number("Timeout", defaultTimeout, 1, 900, properties, globals)
	if err != nil {
		return nil, nil, err
	}
	f.Timeout = time.Duration(seconds) * time.Second
	f.MemorySize, err = r.number("MemorySize", defaultMemorySize, 128, 10240, properties, globals)
	if err != nil {
		return nil, nil, err
	}
	for _, properties := range []*yaml.Node{globals, properties} {
		if err := r.environment(f.Environment, properties); err != nil {
			return nil, nil, err
		}
	}
	routes, err := r.eventRoutes(id.Value, properties)
	return f, routes, err
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

// eventRoutes returns the routes in a function's HttpApi events, which take
// signed requests.
func (r *resolver) eventRoutes(function string, properties *yaml.Node) ([]Route, error) {
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
		route := Route{Method: strings.ToUpper(values[0]), Path: values[1], Function: function, Authorization: "AWS_IAM"}
		if !route.single() {
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
