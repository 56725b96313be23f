// Package validation has the rules that WeChat's documents set for single values. A
// length counts characters, not bytes.
package validation

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"membercard/shared/apierror"
)

// A Rule tells what is wrong with a value, to be read after its name, or "".
type Rule func(value string) (issue string)

// Check holds the value at a pointer (/body/brand_id, /path/card_id) against
// rules in order, and returns a PARAM_ERROR for the first that it breaks. But
// for [Required], every rule lets pass what was not sent.
func Check(pointer, value string, rules ...Rule) error {
	return check(pointer, value, value, rules)
}

// CheckPrivate is [Check] for a value that no answer may repeat: an openid.
func CheckPrivate(pointer, value string, rules ...Rule) error {
	return check(pointer, value, "", rules)
}

func check(pointer, value, shown string, rules []Rule) error {
	for _, rule := range rules {
		issue := rule(value)
		if issue == "" {
			continue
		}
		location, _, _ := strings.Cut(pointer[1:], "/")
		detail := apierror.Detail{Field: pointer, Issue: issue, Location: location}
		if shown != "" {
			detail.Value = shown
		}
		return apierror.InvalidParam(detail)
	}
	return nil
}

// Required refuses a field that was not sent.
func Required(value string) string {
	if value == "" {
		return "is required"
	}
	return ""
}

// MaxLength limits a value to n characters.
func MaxLength(n int) Rule {
	return func(value string) string {
		if utf8.RuneCountInString(value) > n {
			return fmt.Sprintf("must have at most %d characters", n)
		}
		return ""
	}
}

// OneOf lists the values that there are.
func OneOf(values ...string) Rule {
	return func(value string) string {
		for _, v := range values {
			if v == value || value == "" {
				return ""
			}
		}
		return "must be " + strings.Join(values, " or ")
	}
}

// CardID is the rule of card_id in all documents, 1 to 32 characters; the
// alphabet is ours, as the ID becomes part of a signed URL path.
func CardID(value string) string {
	foreign := func(c rune) bool {
		return !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-')
	}
	if len(value) > 32 || strings.ContainsFunc(value, foreign) {
		return "must be 1 to 32 of the characters A-Z a-z 0-9 _ -"
	}
	return ""
}

// WebURL is the rule of links: absolute, http or https.
func WebURL(value string) string {
	const issue = "must be an absolute http or https URL"
	if value == "" {
		return ""
	}
	if strings.ContainsFunc(value, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		return issue
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "[]") || u.Scheme != "http" && u.Scheme != "https" {
		return issue
	}
	return ""
}

// OuterStr is the alphabet of outer_str: digits, Chinese and English letters and
// half-width punctuation.
func OuterStr(value string) string {
	for _, c := range value {
		if !(c > ' ' && c < unicode.MaxASCII) && !unicode.Is(unicode.Han, c) {
			return "must be digits, Chinese or English letters, or half-width punctuation, without blanks"
		}
	}
	return ""
}
