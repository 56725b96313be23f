// Package contract checks requests and answers of the API against openapi.yaml: a request
// that succeeds must be valid, a request that the functions' validation refuses must be
// invalid, and every answer must be as described.
package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Contract is openapi.yaml.
type Contract struct {
	document *openapi3.T
	routes   []route

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[*openapi3.SchemaRef]*jsonschema.Schema // compiled
}

type route struct {
	key       string // API Gateway's route key, such as "POST /card/update"
	method    string
	path      string // in openapi.yaml, such as "/card/update"
	operation *openapi3.Operation
}

// Load reads and validates a contract, including its examples.
func Load(file string) (*Contract, error) {
	document, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		return nil, err
	}
	if err := document.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c := &Contract{document: document, compiler: jsonschema.NewCompiler(), schemas: map[*openapi3.SchemaRef]*jsonschema.Schema{}}
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.AssertFormat()
	c.compiler.AssertContent() // JSON in a string
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			c.routes = append(c.routes, route{method + " " + c.greedy(path, operation), method, path, operation})
		}
	}
	slices.SortFunc(c.routes, func(a, b route) int { return strings.Compare(a.key, b.key) })
	return c, nil
}

// greedy returns the path of API Gateway's route. API Gateway decodes the path before it
// looks for the route, so there a parameter that may contain a slash must be greedy,
// {name+}. OpenAPI has no greedy parameters; a slash is sent as %2F.
func (c *Contract) greedy(path string, operation *openapi3.Operation) string {
	for _, parameter := range operation.Parameters {
		if p := parameter.Value; p.In == openapi3.ParameterInPath && c.checkValue(p.Schema, "/") == nil {
			path = strings.Replace(path, "{"+p.Name+"}", "{"+p.Name+"+}", 1)
		}
	}
	return path
}

// Routes returns the sorted keys of API Gateway's routes, such as "POST /card/update".
func (c *Contract) Routes() []string {
	var keys []string
	for _, r := range c.routes {
		keys = append(keys, r.key)
	}
	return keys
}

// find returns the route of a request, or nil, and the decoded parameters in its path. As
// in API Gateway, literal segments take precedence over parameters.
func (c *Contract) find(method string, u *url.URL) (found *route, parameters map[string]string) {
	for i := range c.routes {
		r := &c.routes[i]
		values, ok := match(r.path, u.EscapedPath())
		if ok && r.method == method && (found == nil || len(values) < len(parameters)) {
			found, parameters = r, values
		}
	}
	return found, parameters
}

// match matches an escaped path with a path of the contract, such as /cards/{card_id}, and
// returns the decoded parameters.
func match(template, escaped string) (parameters map[string]string, ok bool) {
	names, segments := strings.Split(template, "/"), strings.Split(escaped, "/")
	if len(names) != len(segments) {
		return nil, false
	}
	parameters = map[string]string{}
	for i, segment := range segments {
		value, err := url.PathUnescape(segment)
		name, isParameter := strings.CutPrefix(names[i], "{")
		switch {
		case err != nil, !isParameter && value != names[i], isParameter && value == "":
			return nil, false
		case isParameter:
			parameters[strings.TrimSuffix(name, "}")] = value
		}
	}
	return parameters, true
}

// unstated are rules that a schema cannot express: a request that breaks one is refused
// although its schema allows it. field is a pattern for path.Match; an empty one matches
// every field.
var unstated = []struct{ field, issue string }{
	{"", "must not be given twice"},
	{"", "must be valid Unicode, without the replacement character U+FFFD"},
	{"", "must not be nested deeper than 100 levels"},
	{"/body", "must have at most 16 KiB"},
	{"/body", "must have at most 64 KiB"},                               // of /card/create
	{"/body/openid", "is required"},                                     // only without a WeChat login
	{"/body/fixed_begintimestamp", "must be a whole number"},            // the schema allows 1e9
	{"/body/cardList/*/fixed_begintimestamp", "must be a whole number"}, // the same
	{"/body/card/*/base_info/sku/quantity", "must be a whole number"},
	{"/body/valid_date_information/available_day_after_receive", "must be a whole number"},
	{"/query/*", "is not a parameter of this operation"},
	{"/query/*", "must be percent-encoded UTF-8"},
	{"/query/encrypt_code", "must be 1 to 384 of the characters A-Z a-z 0-9 + / = - _ %"}, // too long as it was sent
}

// answer has the fields of an error that show where it comes from.
type answer struct {
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
	Detail    struct {
		Field string `json:"field"`
		Issue string `json:"issue"`
	} `json:"detail"`
}

// refusal reports whether the function's own validation refused the request, and not
// WeChat.
func (a *answer) refusal() bool { return a.Code == "PARAM_ERROR" && a.RequestID == "" }

func (a *answer) isUnstated() bool {
	for _, rule := range unstated {
		is, _ := path.Match(rule.field, a.Detail.Field) // the patterns are well-formed
		if (is || rule.field == "") && rule.issue == a.Detail.Issue {
			return true
		}
	}
	return false
}

// Check returns how an exchange violates the contract, or nil.
func (c *Contract) Check(request *http.Request, requestBody []byte, response *http.Response, responseBody []byte) error {
	_, err := c.check(request, requestBody, response, responseBody)
	return err
}

// check is Check, and also returns why the contract does not allow the request, or nil.
func (c *Contract) check(request *http.Request, requestBody []byte, response *http.Response, responseBody []byte) (fault, violation error) {
	r, parameters := c.find(request.Method, request.URL)
	if r == nil {
		isUnknown := response.StatusCode == http.StatusNotFound && string(bytes.TrimSpace(responseBody)) == `{"message":"Not Found"}`
		isPreflight := request.Method == http.MethodOptions && response.StatusCode == http.StatusNoContent && len(responseBody) == 0
		if isUnknown || isPreflight {
			return nil, nil
		}
		return nil, fmt.Errorf("%s %s: answered %d, but the contract has no such route", request.Method, request.URL.Path, response.StatusCode)
	}
	var violations []error
	violate := func(format string, args ...any) {
		violations = append(violations, fmt.Errorf("%s: %w", r.key, fmt.Errorf(format, args...)))
	}
	var a answer
	_ = json.Unmarshal(responseBody, &a) // checkResponse reports errors
	fault = c.checkRequest(r.operation, request, parameters, requestBody)
	switch {
	case fault != nil && response.StatusCode < 300:
		violate("answered %d, but the contract does not allow the request: %w", response.StatusCode, fault)
	case fault == nil && response.StatusCode == http.StatusBadRequest && a.refusal() && !a.isUnstated():
		violate("the contract allows the request, but it is refused: %s %s", a.Detail.Field, a.Detail.Issue)
	}
	if err := c.checkResponse(r.operation, response, responseBody, a.Code != ""); err != nil {
		const most = 500
		violate("answered %d, but not as in the contract: %w: %s", response.StatusCode, err, responseBody[:min(most, len(responseBody))])
	}
	return fault, errors.Join(violations...)
}

// checkRequest returns why a request is invalid, or nil. parameters are those in its path.
// The contract does not restrict the Content-Type.
func (c *Contract) checkRequest(operation *openapi3.Operation, request *http.Request, parameters map[string]string, body []byte) error {
	for _, parameter := range operation.Parameters {
		p := parameter.Value
		value, sent := parameters[p.Name]
		switch p.In {
		case openapi3.ParameterInHeader:
			value, sent = request.Header.Get(p.Name), request.Header.Get(p.Name) != ""
		case openapi3.ParameterInQuery:
			value, sent = queryValue(request.URL.RawQuery, p)
		}
		if !sent && !p.Required {
			continue
		}
		if !sent {
			return fmt.Errorf("%s is missing", p.Name)
		}
		var typed any = value
		if p.Schema.Value.Type.Is("integer") && wholeNumber.MatchString(value) {
			typed = json.Number(value)
		}
		if err := c.checkValue(p.Schema, typed); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	if operation.RequestBody == nil || len(body) == 0 && !operation.RequestBody.Value.Required {
		return nil
	}
	return c.checkJSON(operation.RequestBody.Value.Content.Get("application/json").Schema, body)
}

var wholeNumber = regexp.MustCompile(`^(?:0|[1-9][0-9]*)$`)

// queryValue returns a parameter of a query, decoded. One that allows reserved characters is
// the only one: its pattern does not allow &, so a second parameter is a violation.
func queryValue(query string, p *openapi3.Parameter) (value string, sent bool) {
	if p.AllowReserved {
		value, sent = strings.CutPrefix(query, p.Name+"=")
		return decodeQuery(value), sent
	}
	for part := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(part, "="); decodeQuery(name) == p.Name {
			return decodeQuery(value), true
		}
	}
	return "", false
}

var escape = regexp.MustCompile("%[0-9A-Fa-f]{2}")

// decodeQuery decodes a value of a query as browsers do: what is no escape stays as it is.
func decodeQuery(value string) string {
	return escape.ReplaceAllStringFunc(strings.ReplaceAll(value, "+", " "), func(found string) string {
		decoded, _ := url.PathUnescape(found) // an escape
		return decoded
	})
}

// checkResponse returns how an answer violates the contract, or nil. The functions' own
// headers are required except in API Gateway's errors.
func (c *Contract) checkResponse(operation *openapi3.Operation, response *http.Response, body []byte, hasCode bool) error {
	promised := operation.Responses.Status(response.StatusCode)
	if promised == nil {
		return errors.New("it does not have this status")
	}
	for name, header := range promised.Value.Headers {
		values := response.Header.Values(name)
		isOurs := hasCode && name != "X-WeChat-Request-Id"
		if len(values) == 0 && (header.Value.Required || isOurs) {
			return fmt.Errorf("the header %s is missing", name)
		}
		for _, value := range values {
			if err := c.checkValue(header.Value.Schema, value); err != nil {
				return fmt.Errorf("the header %s: %w", name, err)
			}
		}
	}
	contentType := response.Header.Get("Content-Type")
	if len(promised.Value.Content) == 0 {
		if len(body) > 0 || contentType != "" {
			return errors.New("it has no body and no Content-Type")
		}
		return nil
	}
	content := promised.Value.Content.Get(contentType)
	if content == nil {
		return fmt.Errorf("it does not have the Content-Type %q", contentType)
	}
	return c.checkJSON(content.Schema, body)
}

// checkJSON validates a JSON text against a schema.
func (c *Contract) checkJSON(schema *openapi3.SchemaRef, text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	return c.checkValue(schema, value)
}

// checkValue validates a value against a schema, including strings that contain JSON.
func (c *Contract) checkValue(schema *openapi3.SchemaRef, value any) error {
	compiled, err := c.compile(schema)
	if err != nil {
		return err
	}
	return compiled.Validate(value)
}

// compile compiles a schema, once.
func (c *Contract) compile(schema *openapi3.SchemaRef) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if compiled := c.schemas[schema]; compiled != nil {
		return compiled, nil
	}
	// The references in a schema are to the components of its document.
	text, err := json.Marshal(map[string]any{"components": map[string]any{"schemas": c.document.Components.Schemas}, "schema": schema})
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	location := fmt.Sprintf("schema:%d", len(c.schemas))
	if err := c.compiler.AddResource(location, document); err != nil {
		return nil, err
	}
	c.schemas[schema], err = c.compiler.Compile(location + "#/schema")
	return c.schemas[schema], err
}
