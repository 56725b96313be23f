package template

// This file resolves intrinsic functions. They are rewritten as YAML nodes: the
// value of a node that calls one is the node it stands for.

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds the nesting of intrinsic functions, and so finds conditions
// and aliases that contain themselves.
const maxDepth = 100

type resolver struct {
	path                                        string // of the file, for errors
	params                                      map[string]string
	parameters, mappings, conditions, resources *yaml.Node // nil if missing

	depth int // of eval in eval
}

func (r *resolver) errorf(at *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", r.path, at.Line, fmt.Sprintf(format, args...))
}

// pairs yields the keys and values of a mapping, nothing for any other node or
// nil.
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

// child returns the value of name in a mapping as it is written, nil if it is
// missing.
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

// child returns the value of name in a mapping, nil if it is missing or
// AWS::NoValue.
func (r *resolver) child(node *yaml.Node, name string) (*yaml.Node, error) {
	value := child(node, name)
	if value == nil {
		return nil, nil
	}
	return r.eval(value)
}

func scalar(at *yaml.Node, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value, Line: at.Line}
}

// call returns the intrinsic function node calls and its argument, from the
// short form, !Ref x, or the long one, {Ref: x}. The name of one that is
// "Fn::X" in the long form is X.
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

// eval returns what node stands for: a node that calls no function itself,
// though those inside it may, or nil for AWS::NoValue.
func (r *resolver) eval(node *yaml.Node) (*yaml.Node, error) {
	if r.depth++; r.depth > maxDepth {
		return nil, r.errorf(node, "nested more than %d deep", maxDepth)
	}
	defer func() { r.depth-- }()

	if node.Kind == yaml.AliasNode {
		return r.eval(node.Alias)
	}
	name, arg := call(node)
	switch name {
	case "":
		return node, nil
	case "Ref":
		return r.ref(arg, arg.Value)
	case "Sub":
		return r.sub(arg)
	case "GetAtt":
		return r.getAtt(arg)
	case "Join":
		return r.join(arg)
	case "Select":
		return r.selectOne(arg)
	case "FindInMap":
		return r.findInMap(arg)
	case "If":
		return r.ifElse(arg)
	case "Condition", "Equals", "Not", "And", "Or":
		value, err := r.truth(name, arg)
		return scalar(node, strconv.FormatBool(value)), err
	}
	return nil, r.errorf(node, "function %s is not supported", name)
}

// text returns a node's value, which must be a scalar.
func (r *resolver) text(node *yaml.Node) (string, error) {
	value, err := r.eval(node)
	if err != nil {
		return "", err
	}
	if value == nil || value.Kind != yaml.ScalarNode {
		return "", r.errorf(node, "not a string")
	}
	return value.Value, nil
}

// list returns the values in a list, without those that are AWS::NoValue.
func (r *resolver) list(node *yaml.Node) ([]string, error) {
	value, err := r.eval(node)
	if err != nil {
		return nil, err
	}
	if value == nil || value.Kind != yaml.SequenceNode {
		return nil, r.errorf(node, "not a list")
	}
	var items []string
	for _, item := range value.Content {
		value, err := r.eval(item)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		if value.Kind != yaml.ScalarNode {
			return nil, r.errorf(item, "not a string")
		}
		items = append(items, value.Value)
	}
	return items, nil
}

// args returns the arguments of a function that takes least to most of them.
func (r *resolver) args(name string, arg *yaml.Node, least, most int) ([]*yaml.Node, error) {
	if arg.Kind != yaml.SequenceNode || len(arg.Content) < least || len(arg.Content) > most {
		return nil, r.errorf(arg, "wrong arguments of %s", name)
	}
	return arg.Content, nil
}

func (r *resolver) ref(at *yaml.Node, name string) (*yaml.Node, error) {
	if name == "AWS::NoValue" {
		return nil, nil
	}
	if value, ok := pseudo(name, r.params); ok {
		return scalar(at, value), nil
	}
	if parameter := child(r.parameters, name); parameter != nil {
		value, ok := r.params[name]
		if !ok {
			def := child(parameter, "Default")
			if def == nil {
				return nil, r.errorf(at, "parameter %s has no default and is not given", name)
			}
			value = def.Value
		}
		if kind := child(parameter, "Type"); kind == nil || kind.Value != "CommaDelimitedList" && !strings.HasPrefix(kind.Value, "List<") {
			return scalar(at, value), nil
		}
		list := &yaml.Node{Kind: yaml.SequenceNode, Line: at.Line}
		for item := range strings.SplitSeq(value, ",") {
			list.Content = append(list.Content, scalar(at, strings.TrimSpace(item)))
		}
		return list, nil
	}
	if resource := child(r.resources, name); resource != nil {
		if err := r.refer(at, name, resource); err != nil {
			return nil, err
		}
		return scalar(at, name), nil
	}
	return nil, r.errorf(at, "%s is no parameter and no resource", name)
}

// refer fails if a resource that is referred to at a node does not exist.
func (r *resolver) refer(at *yaml.Node, name string, resource *yaml.Node) error {
	exists, err := r.exists(resource)
	if err == nil && !exists {
		err = r.errorf(at, "%s does not exist, by its condition", name)
	}
	return err
}

// exists returns whether a resource's condition is met.
func (r *resolver) exists(resource *yaml.Node) (bool, error) {
	condition := child(resource, "Condition")
	if condition == nil {
		return true, nil
	}
	return r.condition(condition, condition.Value)
}

// attribute returns a placeholder for an attribute of a resource: its ARN is
// one in form only.
func (r *resolver) attribute(at *yaml.Node, resource, name string) (*yaml.Node, error) {
	node := child(r.resources, resource)
	if node == nil {
		return nil, r.errorf(at, "%s is no resource", resource)
	}
	if err := r.refer(at, resource, node); err != nil {
		return nil, err
	}
	if name != "Arn" {
		return scalar(at, resource+"."+name), nil
	}
	part := func(name string) string {
		value, _ := pseudo(name, r.params)
		return value
	}
	return scalar(at, fmt.Sprintf("arn:%s:local:%s:%s:%s", part("AWS::Partition"), part("AWS::Region"), part("AWS::AccountId"), resource)), nil
}

func (r *resolver) getAtt(arg *yaml.Node) (*yaml.Node, error) {
	resource, name, ok := strings.Cut(arg.Value, ".")
	if arg.Kind == yaml.SequenceNode && len(arg.Content) == 2 {
		resource, name, ok = arg.Content[0].Value, arg.Content[1].Value, true
	}
	if !ok {
		return nil, r.errorf(arg, "wrong arguments of GetAtt")
	}
	return r.attribute(arg, resource, name)
}

// sub replaces ${x}, and ${!x} by ${x}.
func (r *resolver) sub(arg *yaml.Node) (*yaml.Node, error) {
	text, vars := arg, (*yaml.Node)(nil)
	if arg.Kind == yaml.SequenceNode {
		args, err := r.args("Sub", arg, 2, 2)
		if err != nil {
			return nil, err
		}
		text, vars = args[0], args[1]
	}
	rest, err := r.text(text)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(rest, "${")
		b.WriteString(before)
		if !found {
			return scalar(arg, b.String()), nil
		}
		var name string
		if name, rest, found = strings.Cut(after, "}"); !found {
			return nil, r.errorf(text, "${ is not closed")
		}
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			b.WriteString("${" + literal + "}")
			continue
		}
		value, err := r.variable(text, strings.TrimSpace(name), vars)
		if err != nil {
			return nil, err
		}
		b.WriteString(value)
	}
}

// variable returns the value of ${name} in a text at the given node.
func (r *resolver) variable(at *yaml.Node, name string, vars *yaml.Node) (string, error) {
	if own := child(vars, name); own != nil {
		return r.text(own)
	}
	var value *yaml.Node
	var err error
	if resource, attribute, ok := strings.Cut(name, "."); ok {
		value, err = r.attribute(at, resource, attribute)
	} else {
		value, err = r.ref(at, name)
	}
	if err != nil {
		return "", err
	}
	if value == nil || value.Kind != yaml.ScalarNode {
		return "", r.errorf(at, "${%s} is not a string", name)
	}
	return value.Value, nil
}

func (r *resolver) join(arg *yaml.Node) (*yaml.Node, error) {
	args, err := r.args("Join", arg, 2, 2)
	if err != nil {
		return nil, err
	}
	separator, err := r.text(args[0])
	if err != nil {
		return nil, err
	}
	items, err := r.list(args[1])
	if err != nil {
		return nil, err
	}
	return scalar(arg, strings.Join(items, separator)), nil
}

func (r *resolver) selectOne(arg *yaml.Node) (*yaml.Node, error) {
	args, err := r.args("Select", arg, 2, 2)
	if err != nil {
		return nil, err
	}
	index, err := r.text(args[0])
	if err != nil {
		return nil, err
	}
	items, err := r.list(args[1])
	if err != nil {
		return nil, err
	}
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(items) {
		return nil, r.errorf(arg, "Select has no item %s of %d", index, len(items))
	}
	return scalar(arg, items[i]), nil
}

func (r *resolver) findInMap(arg *yaml.Node) (*yaml.Node, error) {
	args, err := r.args("FindInMap", arg, 3, 3)
	if err != nil {
		return nil, err
	}
	value := r.mappings
	for _, arg := range args {
		key, err := r.text(arg)
		if err != nil {
			return nil, err
		}
		if value = child(value, key); value == nil {
			return nil, r.errorf(arg, "no %s in Mappings", key)
		}
	}
	return value, nil
}

func (r *resolver) ifElse(arg *yaml.Node) (*yaml.Node, error) {
	args, err := r.args("If", arg, 3, 3)
	if err != nil {
		return nil, err
	}
	met, err := r.condition(args[0], args[0].Value)
	if err != nil {
		return nil, err
	}
	if met {
		return r.eval(args[1])
	}
	return r.eval(args[2])
}

// condition returns the value of a named condition.
func (r *resolver) condition(at *yaml.Node, name string) (bool, error) {
	node := child(r.conditions, name)
	if node == nil {
		return false, r.errorf(at, "no condition %s", name)
	}
	return r.boolean(node)
}

func (r *resolver) boolean(node *yaml.Node) (bool, error) {
	value, err := r.text(node)
	if err != nil {
		return false, err
	}
	if value != "true" && value != "false" {
		return false, r.errorf(node, "%q is not a condition", value)
	}
	return value == "true", nil
}

// truth returns the value of a function that is a condition.
func (r *resolver) truth(name string, arg *yaml.Node) (bool, error) {
	switch name {
	case "Condition":
		return r.condition(arg, arg.Value)
	case "Equals":
		args, err := r.args(name, arg, 2, 2)
		if err != nil {
			return false, err
		}
		left, err := r.text(args[0])
		if err != nil {
			return false, err
		}
		right, err := r.text(args[1])
		return left == right, err
	case "Not":
		args, err := r.args(name, arg, 1, 1)
		if err != nil {
			return false, err
		}
		value, err := r.boolean(args[0])
		return !value, err
	}
	// And, Or: the value that one operand has decides.
	args, err := r.args(name, arg, 2, 10)
	if err != nil {
		return false, err
	}
	decisive := name == "Or"
	for _, operand := range args {
		if value, err := r.boolean(operand); err != nil || value == decisive {
			return value, err
		}
	}
	return !decisive, nil
}
