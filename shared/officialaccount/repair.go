package officialaccount

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// repair returns an answer as valid JSON. WeChat passes on texts that people typed, and
// does not escape everything in them: inside strings it repairs raw control characters,
// which become escapes, and bytes that are not UTF-8, which become U+FFFD. Any other
// fault stays. An answer without such faults is returned unchanged.
//
// Only the answers of the official account are read in this way. Requests, the plan,
// secrets and WeChat Pay's answers are not.
func repair(answer []byte) []byte {
	if utf8.Valid(answer) && !bytes.ContainsFunc(answer, isControl) {
		return answer
	}
	repaired := make([]byte, 0, len(answer)+64)
	var inString, escaped bool // escaped: after a backslash
	for len(answer) > 0 {
		c, size := utf8.DecodeRune(answer)
		broken := c == utf8.RuneError && size == 1
		if inString && escaped && (broken || isControl(c)) {
			repaired = append(repaired, '\\') // the backslash escapes nothing
		}
		switch {
		case inString && broken:
			repaired = utf8.AppendRune(repaired, utf8.RuneError)
		case inString && isControl(c):
			repaired = fmt.Appendf(repaired, `\u%04x`, c)
		default:
			repaired = append(repaired, answer[:size]...)
		}
		if c == '"' && !escaped {
			inString = !inString
		}
		escaped = inString && c == '\\' && !escaped
		answer = answer[size:]
	}
	return repaired
}

// isControl reports whether JSON requires an escape for a character in a string.
func isControl(c rune) bool { return c < ' ' }
