// Package validation has the rules of WeChat's documents for single values. Lengths
// are in characters, not bytes.
package validation

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"membercard/shared/apierror"
)

// A Rule returns what is wrong with a value, as the predicate of a sentence about
// the field, or "".
type Rule func(value string) (issue string)

// Check applies rules, in order, to the value at a JSON pointer such as
// /body/brand_id or /path/card_id. It returns a PARAM_ERROR for the first violation.
// All rules except [Required] accept the empty string, which means that the field was
// not sent.
func Check(pointer, value string, rules ...Rule) error {
	return check(pointer, value, value, rules)
}

// CheckPrivate is [Check] for a value that the answer must not repeat, such as an
// openid.
func CheckPrivate(pointer, value string, rules ...Rule) error {
	return check(pointer, value, "", rules)
}

func check(pointer, value, shown string, rules []Rule) error {
	for _, rule := range rules {
		if issue := rule(value); issue != "" {
			detail := apierror.Detail{Field: pointer, Issue: issue}
			if shown != "" {
				detail.Value = shown
			}
			return apierror.InvalidParam(detail)
		}
	}
	return nil
}

// RefuseIf returns a PARAM_ERROR, for the field at a JSON pointer, if a rule is broken that
// concerns more than the field's value. The answer does not repeat the value.
func RefuseIf(broken bool, pointer, issue string) error {
	if !broken {
		return nil
	}
	return apierror.InvalidParam(apierror.Detail{Field: pointer, Issue: issue})
}

// Required requires a value.
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

// OneOf requires one of the given values.
func OneOf(values ...string) Rule {
	return func(value string) string {
		if value == "" || slices.Contains(values, value) {
			return ""
		}
		return "must be " + strings.Join(values, " or ")
	}
}

// CardID requires a card_id: 1 to 32 of the characters A-Z a-z 0-9 _ -. The documents
// limit only the length. The alphabet is limited here because the ID becomes part of
// a signed URL path.
func CardID(value string) string { return Alphanumeric(32, "_-")(value) }

// Code requires the code of a user's card (code, user_card_code): 1 to 32 characters.
// The documents allow digits, letters and half-width punctuation. Of the punctuation
// only _ and - are accepted, because the code becomes part of a signed URL path.
func Code(value string) string { return Alphanumeric(32, "_-")(value) }

// Alphanumeric requires 1 to n of the characters A-Z, a-z, 0-9 and punctuation.
func Alphanumeric(n int, punctuation string) Rule {
	return func(value string) string {
		foreign := func(c rune) bool {
			return !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune(punctuation, c))
		}
		if len(value) > n || strings.ContainsFunc(value, foreign) {
			return fmt.Sprintf("must be 1 to %d of the characters A-Z a-z 0-9 %s", n, strings.Join(strings.Split(punctuation, ""), " "))
		}
		return ""
	}
}

// WholeNumber requires a whole number from least to most in decimal digits, without a sign
// and without leading zeros.
func WholeNumber(least, most int) Rule {
	return func(value string) string {
		n, err := strconv.Atoi(value)
		if value == "" || err == nil && strconv.Itoa(n) == value && least <= n && n <= most {
			return ""
		}
		return fmt.Sprintf("must be a whole number from %d to %d, without leading zeros", least, most)
	}
}

// HalfWidth requires digits, English letters and half-width punctuation, without
// blanks.
func HalfWidth(value string) string {
	if strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c >= unicode.MaxASCII }) {
		return "must be digits, letters or half-width punctuation, without blanks"
	}
	return ""
}

// VisibleASCII requires visible ASCII characters, as in a key or an ID. The issue says
// where a character is that nobody sees, such as a no-break space, and which one.
func VisibleASCII(value string) string {
	at := strings.IndexFunc(value, func(c rune) bool { return c <= ' ' || c >= unicode.MaxASCII })
	if at < 0 {
		return ""
	}
	c, size := utf8.DecodeRuneInString(value[at:])
	if unicode.IsGraphic(c) && !unicode.IsSpace(c) {
		return "must be ASCII characters"
	}
	where := "within"
	switch {
	case at == 0:
		where = "at its beginning"
	case strings.TrimFunc(value[at+size:], func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsGraphic(c) }) == "":
		where = "at its end"
	}
	return fmt.Sprintf("must not have a blank, line break or other invisible character: %U is %s", c, where)
}

// WebURL requires an absolute http or https URL without a user or a password, which would
// pass another host off as the one before the @.
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
	if strings.HasPrefix(u.Host, "[") && strings.ContainsAny(u.Hostname(), ".%") {
		return issue // an IPv4 address in an IPv6 address, or a zone of this machine
	}
	if u.User != nil {
		return issue + " without user information"
	}
	return ""
}

// Time requires a time that [ParseTime] takes.
func Time(value string) string {
	if _, ok := ParseTime(value); value != "" && !ok {
		return "must be a time in RFC 3339, such as 2025-06-22T13:29:35+08:00"
	}
	return ""
}

// ParseTime parses a time in RFC 3339, with T and Z in upper case and without leap
// seconds. [time.Parse] alone also takes an hour of one digit, a comma before the fraction,
// and offsets up to 24:60.
func ParseTime(value string) (t time.Time, ok bool) {
	t, err := time.Parse(time.RFC3339, value)
	if err != nil || value[len("2006-01-02T15")] != ':' || strings.Contains(value, ",") {
		return t, false
	}
	offset := value[len(value)-len("07:00"):]
	return t, strings.HasSuffix(value, "Z") || offset[:2] < "24" && offset[3:] < "60"
}

// OuterStr requires digits, Chinese and English letters and half-width punctuation,
// without blanks: what the document of the merchant pre-authorisation allows in
// outer_str. Unicode's planes 2 and 3 are for Chinese characters only, and get further ones
// that Go's tables do not have yet.
func OuterStr(value string) string {
	for _, c := range value {
		if plane := c >> 16; !(c > ' ' && c < unicode.MaxASCII) && !unicode.Is(unicode.Han, c) && plane != 2 && plane != 3 {
			return "must be digits, Chinese or English letters, or half-width punctuation, without blanks"
		}
	}
	return ""
}
