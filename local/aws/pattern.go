package aws

// This file matches events with the event patterns of rules.

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// readPattern reads the pattern of a rule. It fails if matches does not support it.
func readPattern(text []byte) (pattern map[string]any, err error) {
	if err := json.Unmarshal(text, &pattern); err != nil || len(pattern) == 0 {
		return nil, errors.New("it is not an object with a member")
	}
	return pattern, supported(pattern, "")
}

func supported(pattern any, path string) error {
	switch pattern := pattern.(type) {
	case map[string]any:
		for name, member := range pattern {
			if err := supported(member, path+"/"+name); err != nil {
				return err
			}
		}
		return nil
	case []any:
		for _, item := range pattern {
			object, _ := item.(map[string]any)
			_, isText := item.(string)
			_, hasSuffix := object["suffix"].(string)
			if !isText && (!hasSuffix || len(object) > 1) {
				return fmt.Errorf("%s has a comparison that is not supported", path)
			}
		}
		return nil
	}
	return fmt.Errorf("%s is not an object or a list", path)
}

// matches returns whether a value of an event matches a part of a pattern: all members of
// an object, and an item of a list, which is a string or {"suffix": "…"}.
func matches(pattern, value any) bool {
	if members, ok := pattern.(map[string]any); ok {
		object, _ := value.(map[string]any)
		for name, member := range members {
			if !matches(member, object[name]) {
				return false
			}
		}
		return true
	}
	text, isText := value.(string)
	return isText && slices.ContainsFunc(pattern.([]any), func(item any) bool {
		if object, ok := item.(map[string]any); ok {
			return strings.HasSuffix(text, object["suffix"].(string))
		}
		return text == item
	})
}
