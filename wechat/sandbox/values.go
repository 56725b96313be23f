package sandbox

// This file makes the values of answers.

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// JSON encodes v without escapes for HTML. It panics if v can't be encoded.
func JSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Beijing returns a time in the time zone of WeChat's answers.
func Beijing(t time.Time) time.Time { return t.In(time.FixedZone("", 8*60*60)) }

// RandomText returns n random characters of base32.
func RandomText(n int) string {
	var text string
	for len(text) < n {
		text += rand.Text()
	}
	return text[:n]
}

// RandomDigits returns n random digits.
func RandomDigits(n int) string {
	most := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	return fmt.Sprintf("%0*d", n, Must(rand.Int(rand.Reader, most)))
}

// RandomBase64 returns n random bytes in base64 that contains both + and /. n must be at
// least 8.
func RandomBase64(n int) string {
	b := make([]byte, n)
	for {
		rand.Read(b)
		if text := base64.StdEncoding.EncodeToString(b); strings.Contains(text, "+") && strings.Contains(text, "/") {
			return text
		}
	}
}

// MustUnmarshal decodes JSON that is known to be valid.
func MustUnmarshal(text []byte, into any) {
	if err := json.Unmarshal(text, into); err != nil {
		panic(err)
	}
}

// Must returns the result of a call that cannot fail.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
