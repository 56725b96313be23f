package officialaccount

// This file has the cards that users have taken with wx.addCard.

import (
	"cmp"
	"crypto/sha1" // WeChat's signature of cardExt
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"membercard/wechat/sandbox"
)

// takenCard is a user's card.
type takenCard struct {
	encryptCode string // what the page gets
	code        string
}

// newTakenCard returns a card with the given code, or a random one if it is empty.
func newTakenCard(code string) takenCard {
	return takenCard{sandbox.RandomBase64(48), cmp.Or(code, sandbox.RandomDigits(12))}
}

// TakeCard takes a card for a user, as wx.addCard does. It checks the signature of cardExt,
// a JSON object, with the current card ticket, and returns the encrypted code for the
// page. Each nonce_str can be used only once.
func (s *Sandbox) TakeCard(cardID, cardExt string) (encryptCode string, err error) {
	var ext struct {
		Code      string `json:"code"`
		OpenID    string `json:"openid"`
		Timestamp string `json:"timestamp"`
		NonceStr  string `json:"nonce_str"`
		Signature string `json:"signature"`
	}
	if err := json.Unmarshal([]byte(cardExt), &ext); err != nil {
		return "", errors.New("officialaccount: cardExt is not the JSON of wx.addCard")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	values := []string{s.ticket.value, ext.Timestamp, cardID, ext.Code, ext.OpenID, ext.NonceStr}
	slices.Sort(values)
	sum := sha1.Sum([]byte(strings.Join(values, "")))
	switch {
	case s.find(cardID) == nil:
		return "", errors.New("officialaccount: there is no such card")
	case !s.now().Before(s.ticket.expires):
		return "", errors.New("officialaccount: there is no card ticket")
	case ext.Timestamp == "" || ext.NonceStr == "" || ext.Signature != hex.EncodeToString(sum[:]):
		return "", errors.New("officialaccount: the signature is wrong")
	case s.nonces[ext.NonceStr]:
		return "", errors.New("officialaccount: the nonce_str has been used")
	}
	s.nonces[ext.NonceStr] = true
	c := newTakenCard(ext.Code)
	s.taken = append(s.taken, c)
	return c.encryptCode, nil
}

// SampleEncryptCode returns the encrypted code of a card that a user has from the start.
func (s *Sandbox) SampleEncryptCode() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken[0].encryptCode
}

// decryptCode is Code解码.
func (s *Sandbox) decryptCode(r *Request) (any, *refusal) {
	object, refused := parse(r.Body, fields{"encrypt_code": "string"})
	if refused != nil {
		return nil, refused
	}
	encryptCode, given := object["encrypt_code"].(string)
	if !given {
		return nil, malformed("encrypt_code")
	}
	i := slices.IndexFunc(s.taken, func(c takenCard) bool { return c.encryptCode == encryptCode })
	if i < 0 {
		return nil, refuse(40056, "invalid serial code")
	}
	return ok("code", s.taken[i].code), nil
}
