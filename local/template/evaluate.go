package template

// This file evaluates the template to plain JSON values: conditions, parameters and
// intrinsic functions are replaced by their values.
//
// An error is a panic with a failure, which Read recovers.

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDepth limits the nesting of values, in order to detect conditions and aliases that
// contain themselves.
const maxDepth = 100

// absent is the value of AWS::NoValue. A member or an item that has it is left out.
type absent struct{}

type evaluator struct {
	path                                        string // of the file, for errors
	params                                      map[string]string
	parameters, mappings, conditions, resources *yaml.Node // nil if missing

	depth int // of nested calls of value
}

type failure struct{ error }

func (e *evaluator) fail(at *yaml.Node, format string, args ...any) {
	panic(failure{fmt.Errorf("%s:%d: %s", e.path, at.Line, fmt.Sprintf(format, args...))})
}

// pairs yields the keys and values of a mapping, and nothing for nil or another node.
func pairs(node *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i], node.Content[i+1]) {
				return
			}
		}
	}
}

// child returns the node of a member of a mapping, or nil if it is missing.
func child(node *yaml.Node, name string) *yaml.Node {
	for key, value := range pairs(node) {
		if key.Value == name {
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			return value
		}
	}
	return nil
}

// value returns what node stands for: a string, int, float64, bool, nil, []any or
// map[string]any, or absent. A parameter is always a string or a list of strings.
func (e *evaluator) value(node *yaml.Node) any {
	if e.depth++; e.depth > maxDepth {
		e.fail(node, "nested more than %d deep", maxDepth)
	}
	defer func() { e.depth-- }()

	if name, arg := call(node); name != "" {
		return e.call(node, name, arg)
	}
	switch node.Kind {
	case yaml.AliasNode:
		return e.value(node.Alias)
	case yaml.MappingNode:
		object := make(map[string]any)
		for key, member := range pairs(node) {
			if value := e.value(member); value != (absent{}) {
				object[key.Value] = value
			}
		}
		return object
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range node.Content {
			if value := e.value(item); value != (absent{}) {
				list = append(list, value)
			}
		}
		return list
	}
	var scalar any = node.Value
	switch node.ShortTag() {
	case "!!bool", "!!float", "!!int", "!!null":
		_ = node.Decode(&scalar) // cannot fail: the parser has recognised the type
	}
	return scalar
}

// call returns the intrinsic function that node calls, without the prefix Fn::, and its
// argument. Both the short form, !Ref x, and the long form, {Ref: x}, are recognized. The
// name is empty if node calls no function.
func call(node *yaml.Node) (name string, arg *yaml.Node) {
	if strings.HasPrefix(node.Tag, "!") && !strings.HasPrefix(node.Tag, "!!") {
		untagged := *node
		untagged.Tag = ""
		return node.Tag[1:], &untagged
	}
	if node.Kind == yaml.MappingNode && len(node.Content) == 2 {
		key := node.Content[0].Value
		if name, ok := strings.CutPrefix(key, "Fn::"); ok || key == "Ref" || key == "Condition" {
			return name, node.Content[1]
		}
	}
	return "", nil
}

// call returns the value of an intrinsic function.
func (e *evaluator) call(node *yaml.Node, name string, arg *yaml.Node) any {
	switch name {
	case "Ref":
		return e.ref(arg, arg.Value)
	case "GetAtt":
		resource, attribute, ok := strings.Cut(arg.Value, ".")
		if arg.Kind == yaml.SequenceNode && len(arg.Content) == 2 {
			resource, attribute, ok = arg.Content[0].Value, e.text(arg.Content[1]), true
		}
		if !ok {
			e.fail(arg, "wrong arguments of GetAtt")
		}
		return e.attribute(arg, resource, attribute)
	case "Sub":
		return e.sub(arg)
	case "Join":
		args := e.args(name, arg, 2, 2)
		return strings.Join(e.texts(args[1]), e.text(args[0]))
	case "Split":
		args := e.args(name, arg, 2, 2)
		return list(strings.Split(e.text(args[1]), e.text(args[0])))
	case "Select":
		args := e.args(name, arg, 2, 2)
		index, items := e.text(args[0]), e.texts(args[1])
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || i >= len(items) {
			e.fail(arg, "Select has no item %s of %d", index, len(items))
		}
		return items[i]
	case "FindInMap":
		value := e.mappings
		for _, arg := range e.args(name, arg, 3, 3) {
			key := e.text(arg)
			if value = child(value, key); value == nil {
				e.fail(arg, "no %s in Mappings", key)
			}
		}
		return e.value(value)
	case "If":
		args := e.args(name, arg, 3, 3)
		if e.condition(args[0]) {
			return e.value(args[1])
		}
		return e.value(args[2])
	case "Condition":
		return e.condition(arg)
	case "Equals":
		args := e.args(name, arg, 2, 2)
		return e.text(args[0]) == e.text(args[1])
	case "Not":
		return !e.boolean(e.args(name, arg, 1, 1)[0])
	case "And":
		return !slices.ContainsFunc(e.args(name, arg, 2, 10), func(operand *yaml.Node) bool { return !e.boolean(operand) })
	case "Or":
		return slices.ContainsFunc(e.args(name, arg, 2, 10), e.boolean)
	}
	e.fail(node, "function %s is not supported", name)
	return nil
}

// args returns the arguments of a function and checks their number.
func (e *evaluator) args(name string, arg *yaml.Node, least, most int) []*yaml.Node {
	if arg.Kind != yaml.SequenceNode || len(arg.Content) < least || len(arg.Content) > most {
		e.fail(arg, "wrong arguments of %s", name)
	}
	return arg.Content
}

// condition returns the value of the condition that node names.
func (e *evaluator) condition(node *yaml.Node) bool {
	condition := child(e.conditions, node.Value)
	if condition == nil {
		e.fail(node, "no condition %s", node.Value)
	}
	return e.boolean(condition)
}

func (e *evaluator) boolean(node *yaml.Node) bool {
	value := e.text(node)
	if value != "true" && value != "false" {
		e.fail(node, "%q is not a condition", value)
	}
	return value == "true"
}

// text returns the value of a node that must be a string, a number or a boolean.
func (e *evaluator) text(node *yaml.Node) string {
	text, ok := asText(e.value(node))
	if !ok {
		e.fail(node, "not a string")
	}
	return text
}

func asText(value any) (text string, ok bool) {
	switch value.(type) {
	case string, int, float64, bool:
		return fmt.Sprint(value), true
	}
	return "", false
}

// texts returns the items of a list.
func (e *evaluator) texts(node *yaml.Node) (items []string) {
	values, ok := e.value(node).([]any)
	if !ok {
		e.fail(node, "not a list")
	}
	for _, value := range values {
		text, ok := asText(value)
		if !ok {
			e.fail(node, "not a list of strings")
		}
		items = append(items, text)
	}
	return items
}

func list(items []string) []any {
	values := make([]any, len(items))
	for i, item := range items {
		values[i] = item
	}
	return values
}

// exists returns whether a resource's or an output's condition is met.
func (e *evaluator) exists(node *yaml.Node) bool {
	condition := child(node, "Condition")
	return condition == nil || e.condition(condition)
}

// ref returns the value of a parameter, or the physical ID of a resource.
func (e *evaluator) ref(at *yaml.Node, name string) any {
	if name == "AWS::NoValue" {
		return absent{}
	}
	if value := e.pseudo(name); value != "" {
		return value
	}
	if parameter := child(e.parameters, name); parameter != nil {
		return e.parameter(at, name, parameter)
	}
	switch resource, kind := e.refer(at, name); kind {
	case typeBus:
		named := child(child(resource, "Properties"), "Name")
		if named == nil {
			e.fail(at, "%s has no Name", name)
		}
		return e.text(named)
	case typeQueue:
		return fmt.Sprintf("https://sqs.%s.%s/%s/%s", e.pseudo("AWS::Region"), e.pseudo("AWS::URLSuffix"), e.pseudo("AWS::AccountId"), name)
	}
	return name
}

func (e *evaluator) parameter(at *yaml.Node, name string, parameter *yaml.Node) any {
	value, ok := e.params[name]
	if !ok {
		byDefault := child(parameter, "Default")
		if byDefault == nil {
			e.fail(at, "parameter %s has no default and is not given", name)
		}
		value = byDefault.Value
	}
	if kind := child(parameter, "Type"); kind == nil || kind.Value != "CommaDelimitedList" && !strings.HasPrefix(kind.Value, "List<") {
		return value
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return list(items)
}

// refer returns the resource that the node at refers to, and its type. It must exist.
func (e *evaluator) refer(at *yaml.Node, name string) (resource *yaml.Node, kind string) {
	if resource = child(e.resources, name); resource == nil {
		e.fail(at, "%s is neither a parameter nor a resource", name)
	}
	if !e.exists(resource) {
		e.fail(at, "%s does not exist, by its condition", name)
	}
	if node := child(resource, "Type"); node != nil {
		kind = node.Value
	}
	return resource, kind
}

// attribute returns a placeholder for an attribute of a resource. An ARN is well-formed but
// does not exist in AWS.
func (e *evaluator) attribute(at *yaml.Node, resource, name string) string {
	_, kind := e.refer(at, resource)
	if name != "Arn" {
		return resource + "." + name
	}
	service := "local"
	if kind == typeQueue {
		service = "sqs"
	}
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", e.pseudo("AWS::Partition"), service, e.pseudo("AWS::Region"), e.pseudo("AWS::AccountId"), resource)
}

// pseudo returns the value of a pseudo parameter other than AWS::NoValue, or "".
func (e *evaluator) pseudo(name string) string {
	byDefault := map[string]string{
		"AWS::AccountId": "123456789012",
		"AWS::Partition": "aws",
		"AWS::Region":    "us-east-1",
		"AWS::StackName": "local",
		"AWS::URLSuffix": "amazonaws.com",
	}[name]
	if byDefault == "" {
		return ""
	}
	return cmp.Or(e.params[name], byDefault)
}

// sub replaces ${x} with the value of x, and ${!x} with ${x}.
func (e *evaluator) sub(arg *yaml.Node) string {
	text, vars := arg, (*yaml.Node)(nil)
	if arg.Kind == yaml.SequenceNode {
		args := e.args("Sub", arg, 2, 2)
		text, vars = args[0], args[1]
	}
	rest := e.text(text)
	var b strings.Builder
	for {
		before, after, found := strings.Cut(rest, "${")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		var name string
		if name, rest, found = strings.Cut(after, "}"); !found {
			e.fail(text, "${ is not closed")
		}
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			b.WriteString("${" + literal + "}")
			continue
		}
		var value any
		if own := child(vars, name); own != nil {
			value = e.value(own)
		} else if resource, attribute, ok := strings.Cut(name, "."); ok {
			value = e.attribute(text, resource, attribute)
		} else {
			value = e.ref(text, name)
		}
		replacement, ok := asText(value)
		if !ok {
			e.fail(text, "${%s} is not a string", name)
		}
		b.WriteString(replacement)
	}
}
