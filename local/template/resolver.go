package template

// This file resolves intrinsic functions. The result of a function is a YAML node, which
// replaces the node that calls it.
//
// An error is a panic with a failure, which Read recovers.

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDepth limits the nesting of intrinsic functions, in order to detect conditions and
// aliases that contain themselves.
const maxDepth = 100

type resolver struct {
	path                                        string // of the file, for errors
	params                                      map[string]string
	parameters, mappings, conditions, resources *yaml.Node // nil if missing

	depth int // of nested calls of eval
}

type failure struct{ error }

func (r *resolver) fail(at *yaml.Node, format string, args ...any) {
	panic(failure{fmt.Errorf("%s:%d: %s", r.path, at.Line, fmt.Sprintf(format, args...))})
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

// child returns the unresolved value of name in a mapping, or nil if it is missing.
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

// child returns the resolved value of name in a mapping, or nil if it is missing or
// AWS::NoValue.
func (r *resolver) child(node *yaml.Node, name string) *yaml.Node {
	if value := child(node, name); value != nil {
		return r.eval(value)
	}
	return nil
}

func scalar(at *yaml.Node, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value, Line: at.Line}
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

// eval returns the value of node, or nil for AWS::NoValue. The value itself calls no
// function, but nodes inside it may.
func (r *resolver) eval(node *yaml.Node) *yaml.Node {
	if r.depth++; r.depth > maxDepth {
		r.fail(node, "nested more than %d deep", maxDepth)
	}
	defer func() { r.depth-- }()

	if node.Kind == yaml.AliasNode {
		return r.eval(node.Alias)
	}
	name, arg := call(node)
	switch name {
	case "":
		return node
	case "Ref":
		return r.ref(arg, arg.Value)
	case "GetAtt":
		resource, attribute, ok := strings.Cut(arg.Value, ".")
		if arg.Kind == yaml.SequenceNode && len(arg.Content) == 2 {
			resource, attribute, ok = arg.Content[0].Value, arg.Content[1].Value, true
		}
		if !ok {
			r.fail(arg, "wrong arguments of GetAtt")
		}
		return r.attribute(arg, resource, attribute)
	case "Sub":
		return r.sub(arg)
	case "Join":
		args := r.args(name, arg, 2, 2)
		return scalar(arg, strings.Join(r.list(args[1]), r.text(args[0])))
	case "Select":
		args := r.args(name, arg, 2, 2)
		index, items := r.text(args[0]), r.list(args[1])
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || i >= len(items) {
			r.fail(arg, "Select has no item %s of %d", index, len(items))
		}
		return scalar(arg, items[i])
	case "FindInMap":
		value := r.mappings
		for _, arg := range r.args(name, arg, 3, 3) {
			key := r.text(arg)
			if value = child(value, key); value == nil {
				r.fail(arg, "no %s in Mappings", key)
			}
		}
		return value
	case "If":
		args := r.args(name, arg, 3, 3)
		if r.condition(args[0]) {
			return r.eval(args[1])
		}
		return r.eval(args[2])
	case "Condition", "Equals", "Not", "And", "Or":
		return scalar(node, strconv.FormatBool(r.conditionFunction(name, arg)))
	}
	r.fail(node, "function %s is not supported", name)
	return nil
}

// conditionFunction returns the value of a condition function.
func (r *resolver) conditionFunction(name string, arg *yaml.Node) bool {
	switch name {
	case "Condition":
		return r.condition(arg)
	case "Equals":
		args := r.args(name, arg, 2, 2)
		return r.text(args[0]) == r.text(args[1])
	case "Not":
		return !r.boolean(r.args(name, arg, 1, 1)[0])
	case "And":
		isFalse := func(operand *yaml.Node) bool { return !r.boolean(operand) }
		return !slices.ContainsFunc(r.args(name, arg, 2, 10), isFalse)
	default: // Or
		return slices.ContainsFunc(r.args(name, arg, 2, 10), r.boolean)
	}
}

// condition returns the value of the condition that node names.
func (r *resolver) condition(node *yaml.Node) bool {
	condition := child(r.conditions, node.Value)
	if condition == nil {
		r.fail(node, "no condition %s", node.Value)
	}
	return r.boolean(condition)
}

func (r *resolver) boolean(node *yaml.Node) bool {
	value := r.text(node)
	if value != "true" && value != "false" {
		r.fail(node, "%q is not a condition", value)
	}
	return value == "true"
}

// text returns a node's value, which must be a scalar.
func (r *resolver) text(node *yaml.Node) string {
	value := r.eval(node)
	if value == nil || value.Kind != yaml.ScalarNode {
		r.fail(node, "not a string")
	}
	return value.Value
}

// list returns the values in a list, except AWS::NoValue.
func (r *resolver) list(node *yaml.Node) []string {
	value := r.eval(node)
	if value == nil || value.Kind != yaml.SequenceNode {
		r.fail(node, "not a list")
	}
	var items []string
	for _, item := range value.Content {
		if value := r.eval(item); value != nil {
			items = append(items, r.text(value))
		}
	}
	return items
}

// args returns the arguments of a function and checks their number.
func (r *resolver) args(name string, arg *yaml.Node, least, most int) []*yaml.Node {
	if arg.Kind != yaml.SequenceNode || len(arg.Content) < least || len(arg.Content) > most {
		r.fail(arg, "wrong arguments of %s", name)
	}
	return arg.Content
}

func (r *resolver) ref(at *yaml.Node, name string) *yaml.Node {
	if name == "AWS::NoValue" {
		return nil
	}
	if value, ok := pseudo(name, r.params); ok {
		return scalar(at, value)
	}
	if parameter := child(r.parameters, name); parameter != nil {
		return r.parameter(at, name, parameter)
	}
	if child(r.resources, name) == nil {
		r.fail(at, "%s is neither a parameter nor a resource", name)
	}
	switch kind := child(r.refer(at, name), "Type"); {
	case kind != nil && kind.Value == typeBus:
		return scalar(at, r.busName(at, name))
	case kind != nil && kind.Value == typeQueue:
		return scalar(at, r.queueURL(name))
	}
	return scalar(at, name)
}

func (r *resolver) parameter(at *yaml.Node, name string, parameter *yaml.Node) *yaml.Node {
	value, ok := r.params[name]
	if !ok {
		byDefault := child(parameter, "Default")
		if byDefault == nil {
			r.fail(at, "parameter %s has no default and is not given", name)
		}
		value = byDefault.Value
	}
	if kind := child(parameter, "Type"); kind == nil || kind.Value != "CommaDelimitedList" && !strings.HasPrefix(kind.Value, "List<") {
		return scalar(at, value)
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Line: at.Line}
	for item := range strings.SplitSeq(value, ",") {
		list.Content = append(list.Content, scalar(at, strings.TrimSpace(item)))
	}
	return list
}

// refer returns the resource that the node at refers to. It must exist.
func (r *resolver) refer(at *yaml.Node, name string) *yaml.Node {
	resource := child(r.resources, name)
	if resource == nil {
		r.fail(at, "%s is not a resource", name)
	}
	if !r.exists(resource) {
		r.fail(at, "%s does not exist, by its condition", name)
	}
	return resource
}

// exists returns whether a resource's condition is met.
func (r *resolver) exists(resource *yaml.Node) bool {
	condition := child(resource, "Condition")
	return condition == nil || r.condition(condition)
}

// attribute returns a placeholder for an attribute of a resource. An ARN is well-formed but
// does not exist in AWS.
func (r *resolver) attribute(at *yaml.Node, resource, name string) *yaml.Node {
	kind := child(r.refer(at, resource), "Type")
	if name != "Arn" {
		return scalar(at, resource+"."+name)
	}
	service := "local"
	if kind != nil && kind.Value == typeQueue {
		service = "sqs"
	}
	return scalar(at, r.arn(service, resource))
}

func (r *resolver) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", r.pseudo("AWS::Partition"), service, r.pseudo("AWS::Region"), r.pseudo("AWS::AccountId"), resource)
}

// pseudo returns the value of a pseudo parameter other than AWS::NoValue.
func (r *resolver) pseudo(name string) string {
	value, _ := pseudo(name, r.params)
	return value
}

// sub replaces ${x} with the value of x, and ${!x} with ${x}.
func (r *resolver) sub(arg *yaml.Node) *yaml.Node {
	text, vars := arg, (*yaml.Node)(nil)
	if arg.Kind == yaml.SequenceNode {
		args := r.args("Sub", arg, 2, 2)
		text, vars = args[0], args[1]
	}
	rest := r.text(text)
	var b strings.Builder
	for {
		before, after, found := strings.Cut(rest, "${")
		b.WriteString(before)
		if !found {
			return scalar(arg, b.String())
		}
		var name string
		if name, rest, found = strings.Cut(after, "}"); !found {
			r.fail(text, "${ is not closed")
		}
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			b.WriteString("${" + literal + "}")
		} else {
			b.WriteString(r.variable(text, strings.TrimSpace(name), vars))
		}
	}
}

// variable returns the value of ${name} in the text of the node at.
func (r *resolver) variable(at *yaml.Node, name string, vars *yaml.Node) string {
	if own := child(vars, name); own != nil {
		return r.text(own)
	}
	var value *yaml.Node
	if resource, attribute, ok := strings.Cut(name, "."); ok {
		value = r.attribute(at, resource, attribute)
	} else {
		value = r.ref(at, name)
	}
	if value == nil || value.Kind != yaml.ScalarNode {
		r.fail(at, "${%s} is not a string", name)
	}
	return value.Value
}
