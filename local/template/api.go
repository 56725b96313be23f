package template

// This file reads the HTTP API's resources.

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	typeAPI         = "AWS::ApiGatewayV2::Api"
	typeAuthorizer  = "AWS::ApiGatewayV2::Authorizer"
	typeFunction    = "AWS::Serverless::Function"
	typeIntegration = "AWS::ApiGatewayV2::Integration"
	typeRoute       = "AWS::ApiGatewayV2::Route"
)

// A Route is a method and a path with its parameters in braces: an event of type
// HttpApi, or a resource of type AWS::ApiGatewayV2::Route.
type Route struct {
	Method, Path  string
	Function      string      // logical ID
	Authorization string      // NONE, AWS_IAM, JWT or CUSTOM
	Authorizer    *Authorizer // of JWT and CUSTOM; routes share it
}

// Key returns API Gateway's route key, "POST /v3/x/{card_id}/y".
func (r Route) Key() string { return r.Method + " " + r.Path }

// single returns whether r is of one method and one path.
func (r Route) single() bool {
	return r.Method != "" && r.Method != "ANY" && strings.HasPrefix(r.Path, "/") && !strings.Contains(r.Path, "+}")
}

// An Authorizer is a resource of type AWS::ApiGatewayV2::Authorizer: with an
// issuer one for JWTs, with a function one of type REQUEST, of payload format
// 2.0 and with simple responses.
type Authorizer struct {
	Name           string
	IdentitySource []string // names of the headers it reads

	Issuer   string
	Audience []string

	Function string        // logical ID
	TTL      time.Duration // of a result; 0 keeps none
}

// CORS is the API's CorsConfiguration.
type CORS struct {
	AllowOrigins, AllowMethods, AllowHeaders, ExposeHeaders []string

	MaxAge           time.Duration // 0 says nothing
	AllowCredentials bool
}

// optional returns the text of a property, or "" if it is missing.
func (r *resolver) optional(properties *yaml.Node, name string) (string, error) {
	value, err := r.child(properties, name)
	if value == nil || err != nil {
		return "", err
	}
	return r.text(value)
}

// required returns the text of a property of the resource id.
func (r *resolver) required(id string, properties *yaml.Node, name string) (string, error) {
	value, err := r.optional(properties, name)
	if err == nil && value == "" {
		err = r.errorf(properties, "%s has no %s", id, name)
	}
	return value, err
}

// optionalList returns a property that is a list, or nil if it is missing.
func (r *resolver) optionalList(properties *yaml.Node, name string) ([]string, error) {
	value, err := r.child(properties, name)
	if value == nil || err != nil {
		return nil, err
	}
	return r.list(value)
}

func (r *resolver) properties(id, resource *yaml.Node) (*yaml.Node, error) {
	properties := child(resource, "Properties")
	if properties == nil {
		return nil, r.errorf(id, "%s has no Properties", id.Value)
	}
	return properties, nil
}

func (r *resolver) cors(api *yaml.Node) (*CORS, error) {
	configuration, err := r.child(child(api, "Properties"), "CorsConfiguration")
	if configuration == nil || err != nil {
		return nil, err
	}
	c := &CORS{}
	for _, list := range []struct {
		name  string
		items *[]string
	}{
		{"AllowOrigins", &c.AllowOrigins},
		{"AllowMethods", &c.AllowMethods},
		{"AllowHeaders", &c.AllowHeaders},
		{"ExposeHeaders", &c.ExposeHeaders},
	} {
		if *list.items, err = r.optionalList(configuration, list.name); err != nil {
			return nil, err
		}
	}
	seconds, err := r.number("MaxAge", 0, 0, 86400, configuration)
	if err != nil {
		return nil, err
	}
	c.MaxAge = time.Duration(seconds) * time.Second
	credentials, err := r.optional(configuration, "AllowCredentials")
	c.AllowCredentials = credentials == "true"
	return c, err
}

// route reads a route and what it refers to. Authorizers are by logical ID.
func (r *resolver) route(id, resource *yaml.Node, authorizers map[string]*Authorizer) (*Route, error) {
	properties, err := r.properties(id, resource)
	if err != nil {
		return nil, err
	}
	key, err := r.required(id.Value, properties, "RouteKey")
	if err != nil {
		return nil, err
	}
	route := &Route{Authorization: "NONE"}
	route.Method, route.Path, _ = strings.Cut(key, " ")
	if !route.single() {
		return nil, r.errorf(id, "%s is not of one method, other than any, and one path without {proxy+}", id.Value)
	}
	if route.Function, err = r.target(id, properties); err != nil {
		return nil, err
	}
	kind, err := r.optional(properties, "AuthorizationType")
	if err != nil {
		return nil, err
	}
	if kind != "" {
		route.Authorization = kind
	}
	switch route.Authorization {
	case "NONE", "AWS_IAM":
		return route, nil
	case "JWT", "CUSTOM":
	default:
		return nil, r.errorf(id, "%s has the AuthorizationType %s, not NONE, AWS_IAM, JWT or CUSTOM", id.Value, kind)
	}
	name, err := r.required(id.Value, properties, "AuthorizerId")
	if err != nil {
		return nil, err
	}
	if authorizers[name] == nil {
		if authorizers[name], err = r.authorizer(id, name); err != nil {
			return nil, err
		}
	}
	route.Authorizer = authorizers[name]
	if (route.Authorization == "JWT") != (route.Authorizer.Function == "") {
		return nil, r.errorf(id, "%s has the AuthorizationType %s, and %s another", id.Value, kind, name)
	}
	return route, nil
}

// target returns the function behind a route.
func (r *resolver) target(id, properties *yaml.Node) (function string, err error) {
	target, err := r.required(id.Value, properties, "Target")
	if err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(target, "integrations/")
	if !ok {
		return "", r.errorf(id, "%s has a Target that is no integration", id.Value)
	}
	integration, err := r.resource(id, name, typeIntegration)
	if err != nil {
		return "", err
	}
	properties = child(integration, "Properties")
	for _, fixed := range [][2]string{{"IntegrationType", "AWS_PROXY"}, {"PayloadFormatVersion", "2.0"}} {
		if err := r.only(name, properties, fixed[0], fixed[1]); err != nil {
			return "", err
		}
	}
	return r.uri(name, properties, "IntegrationUri")
}

// only fails if the property is not of the one value that is played.
func (r *resolver) only(id string, properties *yaml.Node, name, value string) error {
	got, err := r.required(id, properties, name)
	if err == nil && got != value {
		err = r.errorf(properties, "%s has the %s %s, and only %s is supported", id, name, got, value)
	}
	return err
}

// uri returns the function that a property names by its ARN or by the URI of its
// invocations.
func (r *resolver) uri(id string, properties *yaml.Node, name string) (function string, err error) {
	uri, err := r.required(id, properties, name)
	if err != nil {
		return "", err
	}
	if _, arn, ok := strings.Cut(uri, ":lambda:path/2015-03-31/functions/"); ok {
		uri = strings.TrimSuffix(arn, "/invocations")
	}
	function = uri[strings.LastIndex(uri, ":")+1:]
	_, err = r.resource(properties, function, typeFunction)
	return function, err
}

// authorizer reads the authorizer that a route refers to.
func (r *resolver) authorizer(route *yaml.Node, name string) (*Authorizer, error) {
	resource, err := r.resource(route, name, typeAuthorizer)
	if err != nil {
		return nil, err
	}
	properties := child(resource, "Properties")
	a := &Authorizer{}
	if a.Name, err = r.required(name, properties, "Name"); err != nil {
		return nil, err
	}
	sources, err := r.optionalList(properties, "IdentitySource")
	if err != nil {
		return nil, err
	}
	for _, source := range sources {
		header, ok := strings.CutPrefix(source, "$request.header.")
		if !ok {
			return nil, r.errorf(properties, "%s has the identity source %s, and only headers are supported", name, source)
		}
		a.IdentitySource = append(a.IdentitySource, header)
	}
	if len(sources) == 0 {
		return nil, r.errorf(properties, "%s has no IdentitySource", name)
	}
	kind, err := r.required(name, properties, "AuthorizerType")
	if err != nil {
		return nil, err
	}
	switch kind {
	case "JWT":
		configuration, err := r.child(properties, "JwtConfiguration")
		if err != nil {
			return nil, err
		}
		if configuration == nil {
			return nil, r.errorf(properties, "%s has no JwtConfiguration", name)
		}
		if a.Issuer, err = r.required(name, configuration, "Issuer"); err != nil {
			return nil, err
		}
		a.Audience, err = r.optionalList(configuration, "Audience")
		return a, err
	case "REQUEST":
		for _, fixed := range [][2]string{{"AuthorizerPayloadFormatVersion", "2.0"}, {"EnableSimpleResponses", "true"}} {
			if err := r.only(name, properties, fixed[0], fixed[1]); err != nil {
				return nil, err
			}
		}
		seconds, err := r.number("AuthorizerResultTtlInSeconds", 0, 0, 3600, properties)
		if err != nil {
			return nil, err
		}
		a.TTL = time.Duration(seconds) * time.Second
		a.Function, err = r.uri(name, properties, "AuthorizerUri")
		return a, err
	}
	return nil, r.errorf(properties, "%s has the AuthorizerType %s, not JWT or REQUEST", name, kind)
}
