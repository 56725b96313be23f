// The answers.

package officialaccount

import (
	"crypto/rand"
	"fmt"
	"time"
)

// refusal is an error answer.
type refusal struct {
	Errcode int    `json:"errcode"`
	Errmsg  string `json:"errmsg"`
}

func refuse(errcode int, errmsg string) *refusal { return &refusal{errcode, errmsg} }

// newRID makes the number of a request that WeChat ends its errors with: the
// time and two random words.
func newRID(now time.Time) string {
	b := make([]byte, 8)
	rand.Read(b)
	return fmt.Sprintf("%08x-%x-%x", now.Unix(), b[:4], b[4:])
}
