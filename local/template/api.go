package template

// This file reads the HTTP API's resources.

import (
	"cmp"
	"math"
	"slices"
	"strconv"
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
	typeStage       = "AWS::ApiGatewayV2::Stage"
)

// A Route is a method and a path with its parameters in braces: an event of type
// HttpApi, or a resource of type AWS::ApiGatewayV2::Route.
type Route struct {
	Method, Path  string
	Function      string      // logical ID
	Authorization string      // NONE, AWS_IAM, JWT or CUSTOM
	Authorizer    *Authorizer // for JWT and CUSTOM; shared by routes
	Throttling    *Throttling // nil means no limit
}

// Throttling limits the requests of a route.
type Throttling struct {
	Rate  float64 // requests per second
	Burst int     // requests at once
}

// Key returns API Gateway's route key, "POST /v3/x/{card_id}/y".
func (r Route) Key() string { return r.Method + " " + r.Path }

// single returns whether r is for a single method and path. The path may end with a greedy
// parameter, {name+}.
func (r Route) single() bool {
	return r.Method != "" && r.Method != "ANY" && strings.HasPrefix(r.Path, "/") && !strings.Contains(strings.TrimSuffix(r.Path, "+}"), "+}")
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

	MaxAge           time.Duration // 0 if it is not set
	AllowCredentials bool
}

// optional returns the text of a property, or "" if it is missing.
func (r *resolver) optional(properties *yaml.Node, name string) string {
	if value := r.child(properties, name); value != nil {
		return r.text(value)
	}
	return ""
}

// required returns the text of a property that the resource id must have.
func (r *resolver) required(id string, properties *yaml.Node, name string) string {
	value := r.optional(properties, name)
	if value == "" {
		r.fail(properties, "%s has no %s", id, name)
	}
	return value
}

// optionalList returns a property that is a list, or nil if it is missing.
func (r *resolver) optionalList(properties *yaml.Node, name string) []string {
	if value := r.child(properties, name); value != nil {
		return r.list(value)
	}
	return nil
}

// seconds returns a property that is a duration, or 0 if it is missing.
func (r *resolver) seconds(properties *yaml.Node, name string, high int) time.Duration {
	return time.Duration(r.number(name, 0, 0, high, properties)) * time.Second
}

// requireValue fails unless the property has the only supported value.
func (r *resolver) requireValue(id string, properties *yaml.Node, name, value string) {
	if got := r.required(id, properties, name); got != value {
		r.fail(properties, "%s has the %s %s, and only %s is supported", id, name, got, value)
	}
}

func (r *resolver) properties(id, resource *yaml.Node) *yaml.Node {
	properties := child(resource, "Properties")
	if properties == nil {
		r.fail(id, "%s has no Properties", id.Value)
	}
	return properties
}

func (r *resolver) cors(api *yaml.Node) *CORS {
	configuration := r.child(child(api, "Properties"), "CorsConfiguration")
	if configuration == nil {
		return nil
	}
	return &CORS{
		AllowOrigins:     r.optionalList(configuration, "AllowOrigins"),
		AllowMethods:     r.optionalList(configuration, "AllowMethods"),
		AllowHeaders:     r.optionalList(configuration, "AllowHeaders"),
		ExposeHeaders:    r.optionalList(configuration, "ExposeHeaders"),
		MaxAge:           r.seconds(configuration, "MaxAge", 86400),
		AllowCredentials: r.optional(configuration, "AllowCredentials") == "true",
	}
}

// route reads a route, and its authorizer unless that is in authorizers, which are by
// logical ID.
func (r *resolver) route(id, resource *yaml.Node, authorizers map[string]*Authorizer) Route {
	properties := r.properties(id, resource)
	var route Route
	route.Method, route.Path, _ = strings.Cut(r.required(id.Value, properties, "RouteKey"), " ")
	if !route.single() {
		r.fail(id, "%s does not have a single method and path", id.Value)
	}
	route.Function = r.target(id, properties)
	route.Authorization = cmp.Or(r.optional(properties, "AuthorizationType"), "NONE")
	switch route.Authorization {
	case "NONE", "AWS_IAM":
		return route
	case "JWT", "CUSTOM":
	default:
		r.fail(id, "%s has the AuthorizationType %s, not NONE, AWS_IAM, JWT or CUSTOM", id.Value, route.Authorization)
	}
	name := r.required(id.Value, properties, "AuthorizerId")
	if authorizers[name] == nil {
		authorizers[name] = r.authorizer(id, name)
	}
	route.Authorizer = authorizers[name]
	if (route.Authorization == "JWT") != (route.Authorizer.Function == "") {
		r.fail(id, "%s has the AuthorizationType %s, but %s is of another type", id.Value, route.Authorization, name)
	}
	return route
}

// target returns the function behind a route.
func (r *resolver) target(id, properties *yaml.Node) (function string) {
	name, ok := strings.CutPrefix(r.required(id.Value, properties, "Target"), "integrations/")
	if !ok {
		r.fail(id, "%s has a Target that is not an integration", id.Value)
	}
	integration := child(r.resource(id, name, typeIntegration), "Properties")
	r.requireValue(name, integration, "IntegrationType", "AWS_PROXY")
	r.requireValue(name, integration, "PayloadFormatVersion", "2.0")
	return r.functionOf(name, integration, "IntegrationUri")
}

// functionOf returns the logical ID of the function that a property names by its ARN or by
// the URI of its invocations.
func (r *resolver) functionOf(id string, properties *yaml.Node, name string) (function string) {
	uri := r.required(id, properties, name)
	if _, arn, ok := strings.Cut(uri, ":lambda:path/2015-03-31/functions/"); ok {
		uri = strings.TrimSuffix(arn, "/invocations")
	}
	function = uri[strings.LastIndex(uri, ":")+1:]
	r.resource(properties, function, typeFunction)
	return function
}

// authorizer reads the authorizer that a route refers to.
func (r *resolver) authorizer(route *yaml.Node, name string) *Authorizer {
	properties := child(r.resource(route, name, typeAuthorizer), "Properties")
	a := &Authorizer{}
	for _, source := range r.optionalList(properties, "IdentitySource") {
		header, ok := strings.CutPrefix(source, "$request.header.")
		if !ok {
			r.fail(properties, "%s has the identity source %s, and only headers are supported", name, source)
		}
		a.IdentitySource = append(a.IdentitySource, header)
	}
	if len(a.IdentitySource) == 0 {
		r.fail(properties, "%s has no IdentitySource", name)
	}
	switch kind := r.required(name, properties, "AuthorizerType"); kind {
	case "JWT":
		configuration := r.child(properties, "JwtConfiguration")
		if configuration == nil {
			r.fail(properties, "%s has no JwtConfiguration", name)
		}
		a.Issuer = r.required(name, configuration, "Issuer")
		a.Audience = r.optionalList(configuration, "Audience")
	case "REQUEST":
		r.requireValue(name, properties, "AuthorizerPayloadFormatVersion", "2.0")
		r.requireValue(name, properties, "EnableSimpleResponses", "true")
		a.TTL = r.seconds(properties, "AuthorizerResultTtlInSeconds", 3600)
		a.Function = r.functionOf(name, properties, "AuthorizerUri")
	default:
		r.fail(properties, "%s has the AuthorizerType %s, not JWT or REQUEST", name, kind)
	}
	return a
}

// throttle sets the routes' throttling to the stage's settings for the route, or to its
// default.
func (r *resolver) throttle(routes []Route, stage *yaml.Node) {
	byDefault := r.throttling(r.child(stage, "DefaultRouteSettings"))
	own := make(map[string]*Throttling)
	for key, node := range pairs(r.child(stage, "RouteSettings")) {
		settings := r.eval(node)
		if settings == nil {
			continue
		}
		for name, value := range pairs(settings) {
			// CloudFormation passes the settings on as free-form JSON, in which the
			// value of a parameter would be a string.
			if function, _ := call(value); function != "" {
				r.fail(value, "%s of a route must be a literal", name.Value)
			}
		}
		if !slices.ContainsFunc(routes, func(route Route) bool { return route.Key() == key.Value }) {
			r.fail(key, "RouteSettings have the route %s, which does not exist", key.Value)
		}
		own[key.Value] = r.throttling(settings)
	}
	for i := range routes {
		routes[i].Throttling = cmp.Or(own[routes[i].Key()], byDefault)
	}
}

// throttling returns the throttling in a route's settings, or nil.
func (r *resolver) throttling(settings *yaml.Node) *Throttling {
	rate := r.optional(settings, "ThrottlingRateLimit")
	if rate == "" {
		return nil
	}
	limit, err := strconv.ParseFloat(rate, 64)
	if err != nil || limit < 0 {
		r.fail(settings, "ThrottlingRateLimit %q is not a rate", rate)
	}
	return &Throttling{limit, r.number("ThrottlingBurstLimit", 0, 0, math.MaxInt32, settings)}
}
