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
			compare := newComparison(item)
			if compare == nil {
				return nil, fmt.Errorf("%s has a comparison that is not supported", path)
			}
			comparisons = append(comparisons, compare)
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

// newComparison returns the comparison for an item of a list, or nil.
func newComparison(item any) func(value any) bool {
	switch item := item.(type) {
	case []any:
		return nil
	case map[string]any:
		for name, has := range map[string]func(s, part string) bool{"prefix": strings.HasPrefix, "suffix": strings.HasSuffix} {
			if part, ok := item[name].(string); ok && len(item) == 1 {
				return func(value any) bool {
					text, ok := value.(string)
					return ok && has(text, part)
				}
			}
		}
		return nil
	}
	return func(value any) bool {
		switch value.(type) {
		case map[string]any, []any: // can't be compared
			return false
		}
		return value == item
	}
}
