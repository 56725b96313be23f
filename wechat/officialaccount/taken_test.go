package officialaccount

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTakeCard takes cards with wx.addCard and decrypts their codes.
func TestTakeCard(t *testing.T) {
	c := newSandbox(t)
	current := c.do(t, ticket("type=wx_card")).Ticket
	ext := func(ticket, card, code, nonce string) string {
		values := []string{ticket, "1616127000", card, code, "", nonce}
		slices.Sort(values)
		sum := sha1.Sum([]byte(strings.Join(values, "")))
		return fmt.Sprintf(`{"code":%q,"timestamp":"1616127000","nonce_str":%q,"outer_str":"x","signature":%q}`, code, nonce, hex.EncodeToString(sum[:]))
	}
	for _, tt := range []struct {
		name, card, ext string
		want            string // the code, "any", or a part of the error
	}{
		{"a code of WeChat's", member, ext(current, member, "", "a"), "any"},
		{"a code of the merchant's", member, ext(current, member, "110201201245", "b"), "110201201245"},
		{"another card", "pbLatjCash", ext(current, "pbLatjCash", "", "c"), "any"},
		{"unknown card", "pbLatjNone", ext(current, "pbLatjNone", "", "d"), "no such card"},
		{"signed for another card", "pbLatjCash", ext(current, member, "", "e"), "signature"},
		{"signed with another ticket", member, ext("x", member, "", "f"), "signature"},
		{"nonce used", member, ext(current, member, "", "a"), "nonce_str"},
		{"no nonce", member, ext(current, member, "", ""), "signature"},
		{"code changed", member, strings.Replace(ext(current, member, "1", "g"), `"code":"1"`, `"code":"2"`, 1), "signature"},
		{"not JSON", member, "x", "JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			encrypted, err := c.TakeCard(tt.card, tt.ext)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %s", err, tt.want)
				}
				return
			}
			got := c.do(t, call{path: codePath, body: `{"encrypt_code":"` + encrypted + `"}`})
			if got.Errmsg != "ok" || got.Code != tt.want && (tt.want != "any" || len(got.Code) != 12) {
				t.Errorf("%+v, want %s", got, tt.want)
			}
		})
	}
	c.pass(2 * time.Hour)
	if _, err := c.TakeCard(member, ext(current, member, "", "h")); err == nil {
		t.Error("the ticket has expired")
	}
}
