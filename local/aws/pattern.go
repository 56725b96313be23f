package aws

// This file matches events with the event patterns of rules.

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A matcher returns whether a value of an event matches a part of a pattern. present is
// false if the event does not have the value.
type matcher func(value any, present bool) bool

// newPattern returns the matcher of a whole event.
func newPattern(text []byte) (matcher, error) {
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil || len(members) == 0 {
		return nil, errors.New("it is not an object with a member")
	}
	return newMatcher(members, "")
}

// newMatcher returns the matcher of a part of a pattern. All members of an object must
// match, and at least one item of a list: a string, a number, true, false, null,
// {"prefix": "…"} or {"suffix": "…"}. Other comparisons are an error.
func newMatcher(pattern any, path string) (matcher, error) {
	switch pattern := pattern.(type) {
	case map[string]any:
		members := make(map[string]matcher)
		for name, member := range pattern {
			var err error
			if members[name], err = newMatcher(member, path+"/"+name); err != nil {
				return nil, err
			}
		}
		return func(value any, _ bool) bool {
			object, _ := value.(map[string]any)
			for name, matches := range members {
				if member, present := object[name]; !matches(member, present) {
					return false
				}
			}
			return true
		}, nil
	case []any:
		var comparisons []func(any) bool
		for _, item := range pattern {
			comparison, err := newComparison(item, path)
			if err != nil {
				return nil, err
			}
			comparisons = append(comparisons, comparison)
		}
		return func(value any, present bool) bool {
			values, isList := value.([]any)
			if !isList && present {
				values = []any{value}
			}
			return slices.ContainsFunc(values, func(value any) bool {
				return slices.ContainsFunc(comparisons, func(compare func(any) bool) bool { return compare(value) })
			})
		}, nil
	}
	return nil, fmt.Errorf("%s is not an object or a list", path)
}

func newComparison(item any, path string) (func(value any) bool, error) {
	comparison, isObject := item.(map[string]any)
	if _, isList := item.([]any); isList || isObject && len(comparison) != 1 {
		return nil, fmt.Errorf("%s has a comparison that is not supported", path)
	}
	if !isObject {
		return func(value any) bool {
			switch value.(type) {
			case map[string]any, []any: // can't be compared
				return false
			}
			return value == item
		}, nil
	}
	for name, operand := range comparison {
		has := map[string]func(s, part string) bool{"prefix": strings.HasPrefix, "suffix": strings.HasSuffix}[name]
		part, isText := operand.(string)
		if has == nil || !isText {
			return nil, fmt.Errorf("%s has the comparison %s, and only prefix and suffix of a string are supported", path, name)
		}
		return func(value any) bool {
			text, ok := value.(string)
			return ok && has(text, part)
		}, nil
	}
	panic("unreachable")
}
