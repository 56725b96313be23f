package contract

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// walk sends a document again and again, each time with another value in one place: for
// each rule of its schema, values just inside and just outside of it. Which of them are
// allowed is not the walk's business.
type walk struct {
	contract *Contract
	verdicts map[string]map[bool]int // by place and rule, the number of values allowed and refused
	patterns map[string]bool         // of which all edges were sent; shared by several walks
	without  map[string]bool         // members that were left out, by place
}

// value walks a value of a schema. at is its JSON pointer, in the document or in a shared
// schema of objects, and send sends the document with another value in its place.
func (w *walk) value(at string, ref *openapi3.SchemaRef, value any, send func(any) (allowed bool)) {
	schema := ref.Value
	if ref.Ref != "" && schema.Type != nil && schema.Type.Is("object") {
		at = path.Base(ref.Ref)
	}
	for _, part := range slices.Concat(schema.AllOf, schema.OneOf) {
		if w.contract.checkValue(part, value) == nil {
			w.value(at, part, value, send)
		}
	}
	try := func(rule string, candidates ...any) {
		place := cmp.Or(at, "/") + " " + rule
		if w.verdicts[place][true]*w.verdicts[place][false] > 0 { // in an example before
			return
		}
		if w.verdicts[place] == nil {
			w.verdicts[place] = map[bool]int{}
		}
		for _, candidate := range candidates {
			w.verdicts[place][send(candidate)]++
		}
	}
	if schema.Type != nil {
		try("type", value, nil, true, 7, "x", "", strings.Repeat("x", 2000), []any{}, map[string]any{})
	}
	for rule, candidates := range w.edges(schema) {
		try(rule, candidates...)
	}
	switch value := value.(type) {
	case map[string]any:
		with := func(name string, member any) map[string]any {
			changed := maps.Clone(value)
			changed[name] = member
			return changed
		}
		for _, name := range schema.Required {
			without := maps.Clone(value)
			delete(without, name)
			try("required "+name, value, without)
		}
		for name := range value {
			if place := at + "/" + name; !slices.Contains(schema.Required, name) && !w.without[place] {
				w.without[place] = true
				without := maps.Clone(value)
				delete(without, name)
				send(without)
			}
		}
		switch may := schema.AdditionalProperties.Has; {
		case may != nil && *may:
			send(with("a name of WeChat's", nil))
		case may != nil:
			try("additionalProperties", value, with("an unknown name", nil))
		}
		if members := schema.AdditionalProperties.Schema; members != nil {
			for name, member := range value {
				w.value(at+"/*", members, member, func(v any) bool { return send(with(name, v)) })
				var others []any
				for _, other := range texts(schema.PropertyNames.Value.Pattern) {
					others = append(others, with(other, member))
				}
				try("propertyNames", others...)
			}
		}
		for name, property := range schema.Properties {
			member, sent := value[name]
			switch {
			case !sent && property.Value.Type.Is("object"): // walked where there is one
				continue
			case !sent:
				member = example(property.Value)
			}
			w.value(at+"/"+name, property, member, func(v any) bool { return send(with(name, v)) })
		}
	case []any:
		if len(value) > 0 && schema.Items != nil {
			for rule, n := range map[string]int{"minItems": int(schema.MinItems), "maxItems": int(*cmp.Or(schema.MaxItems, new(uint64)))} {
				if n > 0 {
					try(rule, repeat(value[0], schema.Items.Value, n), repeat(value[0], schema.Items.Value, n-1), repeat(value[0], schema.Items.Value, n+1))
				}
			}
			w.value(at+"/0", schema.Items, value[0], func(v any) bool { return send([]any{v}) })
		}
	}
}

// repeat returns n copies of an item. Those of an object have its required members only, of
// which objects are empty, and a card_id of their own.
func repeat(item any, schema *openapi3.Schema, n int) any {
	required := schema.Required
	if len(schema.AnyOf) > 0 {
		required = slices.Concat(required, schema.AnyOf[0].Value.Required)
	}
	items := slices.Repeat([]any{item}, n)
	object, ok := item.(map[string]any)
	for i := range items {
		if !ok {
			break
		}
		copied := map[string]any{}
		for _, name := range required {
			copied[name] = object[name]
			if _, isObject := object[name].(map[string]any); isObject {
				copied[name] = map[string]any{}
			}
		}
		if copied["card_id"] != nil {
			copied["card_id"] = fmt.Sprintf("p%d", i)
		}
		items[i] = copied
	}
	return items
}

// example returns a value that a schema of a string, number or boolean allows.
func example(schema *openapi3.Schema) any {
	switch {
	case len(schema.Enum) > 0:
		return schema.Enum[0]
	case schema.Pattern != "":
		return texts(schema.Pattern)[0]
	case schema.ContentEncoding == "base64":
		return "eHg="
	case schema.Type.Is("integer"):
		return 1
	case schema.Type.Is("boolean"):
		return true
	}
	return "x"
}

// edges returns values on both sides of the rules of a schema for strings or numbers.
func (w *walk) edges(schema *openapi3.Schema) map[string][]any {
	edges := map[string][]any{}
	add := func(rule string, values ...any) { edges[rule] = append(edges[rule], values...) }
	for _, value := range schema.Enum {
		text, _ := value.(string)
		add("enum", value, text+"x", strings.ToLower(text), "")
	}
	if schema.Pattern != "" {
		all := texts(schema.Pattern)
		if w.patterns[schema.Pattern] { // elsewhere
			all = []string{all[0], all[0] + "\n", " " + all[0]}
		}
		w.patterns[schema.Pattern] = true
		for _, text := range all {
			add("pattern", text)
		}
	}
	if schema.Format == "date-time" {
		add("format", "2028-02-29T00:00:00Z", "2027-02-29T00:00:00Z", "2027-13-01T00:00:00Z", "2025-06-22T3:29:35,5+08:00")
	}
	if schema.MinLength > 0 {
		add("minLength", example(schema), "")
	}
	if schema.MaxLength != nil {
		n := int(*schema.MaxLength)
		for _, text := range []string{"a", "卡", "😀", strings.TrimPrefix(example(schema).(string), "x")} {
			last, size := utf8.DecodeLastRuneInString(text)
			if rest := n - utf8.RuneCountInString(text); size > 0 && rest > 0 {
				add("maxLength", text+strings.Repeat(string(last), rest), text+strings.Repeat(string(last), rest+1))
			}
		}
	}
	if schema.Type.Is("integer") && len(schema.Enum) == 0 {
		for _, number := range strings.Fields("-9223372036854775809 -9223372036854775808 -1 0 1 9223372036854775807 9223372036854775808 0.5 1e400") {
			add("integer", json.Number(number))
		}
		const exact = 1 << 53 // as far as float64 has every whole number
		if least := schema.Min; least != nil && math.Abs(*least) < exact {
			add("minimum", json.Number(strconv.Itoa(int(*least))), json.Number(strconv.Itoa(int(*least)-1)))
		}
		if most := schema.Max; most != nil && math.Abs(*most) < exact {
			add("maximum", json.Number(strconv.Itoa(int(*most))), json.Number(strconv.Itoa(int(*most)+1)))
		}
	}
	return edges
}

// texts returns texts at the edges of a pattern: one that matches, and those that differ
// from it in one choice, which may match or not.
func texts(pattern string) []string {
	expression, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		panic(err)
	}
	found := slices.DeleteFunc(variants(expression), func(text string) bool {
		return !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError)
	})
	slices.Sort(found[1:])
	return slices.Compact(found)
}

func variants(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		text := string(re.Rune)
		return []string{text, strings.ToUpper(text), strings.ToLower(text), text[1:], text + text}
	case syntax.OpCharClass:
		found := []string{string(min(re.Rune[0]+1, re.Rune[1]))} // 1 of [0-9]: there is no month 00
		for i, edge := range re.Rune {
			found = append(found, string(edge), string(edge+1-2*rune((i+1)%2)))
		}
		return found
	case syntax.OpCapture:
		return variants(re.Sub[0])
	case syntax.OpAlternate:
		var found []string
		for _, sub := range re.Sub {
			found = append(found, variants(sub)...)
		}
		if found[0] == "" { // "" may clear a field
			found = append(found[1:], "")
		}
		return found
	case syntax.OpConcat:
		found := []string{""}
		for _, sub := range re.Sub {
			choices := variants(sub)
			for i := range found {
				found[i] += choices[0]
			}
			before := strings.TrimSuffix(found[0], choices[0])
			for _, choice := range choices[1:] {
				found = append(found, before+choice)
			}
		}
		return found
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		least, most := re.Min, re.Max
		switch re.Op {
		case syntax.OpStar, syntax.OpQuest:
			least, most = 0, 1
		case syntax.OpPlus:
			least, most = 1, 1
		}
		choices := variants(re.Sub[0])
		found := []string{strings.Repeat(choices[0], max(least, 1))}
		for _, n := range []int{least - 1, least, most, most + 1} {
			found = append(found, strings.Repeat(choices[0], max(n, 0)))
		}
		for _, choice := range choices[1:] {
			found = append(found, choice+strings.Repeat(choices[0], max(least, 1)-1))
		}
		return found
	}
	return []string{""} // the ends of the text
}

// requireEdges fails the test if a rule was not seen from both sides.
func (w *walk) requireEdges(t *testing.T) {
	t.Helper()
	for place, verdicts := range w.verdicts {
		if verdicts[true] == 0 || verdicts[false] == 0 {
			t.Errorf("%s: %d values are allowed, %d refused", place, verdicts[true], verdicts[false])
		}
	}
}
