package template

// This file evaluates the template to plain values: conditions, parameters and intrinsic
// functions are replaced by what they stand for. It has the functions that template.yaml
// uses, in their short form; another one is an error. Whether their arguments are well
// formed is checked by cfn-lint.
//
// An error is a panic with a failure, which Read recovers.

import (
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// absent is the value of AWS::NoValue. A member or an item that has it is left out.
type absent struct{}

type evaluator struct {
	path                              string            // of the file, for errors
	values                            map[string]string // of parameters and pseudo parameters
	parameters, conditions, resources *yaml.Node
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
			return value
		}
	}
	return nil
}

// value returns what node stands for: a string, int, float64, bool, nil, []any or
// map[string]any, or absent. A parameter is always a string or a list of strings.
func (e *evaluator) value(node *yaml.Node) any {
	if name, ok := strings.CutPrefix(node.Tag, "!"); ok && !strings.HasPrefix(name, "!") {
		argument := *node
		argument.Tag = ""
		return e.call(name, &argument)
	}
	switch node.Kind {
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

// call returns the value of an intrinsic function.
func (e *evaluator) call(name string, arg *yaml.Node) any {
	args := arg.Content
	switch name {
	case "Ref":
		return e.ref(arg, arg.Value)
	case "GetAtt":
		resource, attribute, _ := strings.Cut(arg.Value, ".")
		return e.attribute(arg, resource, attribute)
	case "Sub":
		return e.sub(arg)
	case "Join":
		var items []string
		for _, item := range e.value(args[1]).([]any) {
			items = append(items, fmt.Sprint(item))
		}
		return strings.Join(items, e.text(args[0]))
	case "If":
		if e.condition(args[0]) {
			return e.value(args[1])
		}
		return e.value(args[2])
	case "Condition":
		return e.condition(arg)
	case "Equals":
		return e.text(args[0]) == e.text(args[1])
	case "Not":
		return !e.isTrue(args[0])
	case "And":
		return !slices.ContainsFunc(args, func(operand *yaml.Node) bool { return !e.isTrue(operand) })
	}
	e.fail(arg, "function %s is not supported", name)
	return nil
}

// condition returns the value of the condition that node names.
func (e *evaluator) condition(node *yaml.Node) bool {
	condition := child(e.conditions, node.Value)
	if condition == nil {
		e.fail(node, "no condition %s", node.Value)
	}
	return e.isTrue(condition)
}

func (e *evaluator) isTrue(node *yaml.Node) bool { return e.value(node) == true }

// text returns the value of a node that must be a scalar.
func (e *evaluator) text(node *yaml.Node) string {
	switch value := e.value(node).(type) {
	case string, int, float64, bool:
		return fmt.Sprint(value)
	}
	e.fail(node, "not a string")
	return ""
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
	if value, ok := e.values[name]; ok {
		if kind := child(child(e.parameters, name), "Type"); kind == nil || kind.Value != "CommaDelimitedList" {
			return value
		}
		var items []any
		for item := range strings.SplitSeq(value, ",") {
			items = append(items, strings.TrimSpace(item))
		}
		return items
	}
	switch resource, kind := e.refer(at, name); kind {
	case "AWS::Events::EventBus":
		return e.text(child(child(resource, "Properties"), "Name"))
	case typeQueue:
		return fmt.Sprintf("https://sqs.%s.%s/%s/%s", e.values["AWS::Region"], e.values["AWS::URLSuffix"], e.values["AWS::AccountId"], name)
	}
	return name
}

// refer returns the resource that the node at refers to, and its type. It must exist. For
// the rule that SAM makes of a function's event, it is the function.
func (e *evaluator) refer(at *yaml.Node, name string) (resource *yaml.Node, kind string) {
	resource = child(e.resources, name)
	for function, properties := range pairs(e.resources) {
		event, is := strings.CutPrefix(name, function.Value)
		if is && child(child(child(properties, "Properties"), "Events"), event) != nil {
			resource = properties
		}
	}
	if resource == nil {
		e.fail(at, "%s is neither a parameter with a value nor a resource", name)
	}
	if !e.exists(resource) {
		e.fail(at, "%s does not exist, by its condition", name)
	}
	return resource, child(resource, "Type").Value
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
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", e.values["AWS::Partition"], service, e.values["AWS::Region"], e.values["AWS::AccountId"], resource)
}

var placeholder = regexp.MustCompile(`\$\{[^}]*\}`)

// sub replaces ${x} with the value of x.
func (e *evaluator) sub(arg *yaml.Node) string {
	text, own := arg, (*yaml.Node)(nil)
	if arg.Kind == yaml.SequenceNode {
		text, own = arg.Content[0], arg.Content[1]
	}
	return placeholder.ReplaceAllStringFunc(text.Value, func(found string) string {
		name := found[2 : len(found)-1]
		if value := child(own, name); value != nil {
			return e.text(value)
		}
		if resource, attribute, ok := strings.Cut(name, "."); ok {
			return e.attribute(text, resource, attribute)
		}
		return fmt.Sprint(e.ref(text, name))
	})
}
