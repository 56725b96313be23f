package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"strings"

	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// decrypt returns the code that an encrypt_code stands for:
// GET /v3/marketing/membercard-open/cards/{card_id}/decrypt-code?encrypt_code=….
// The document asks for encrypt_code exactly as WeChat sent it, neither decoded nor encoded.
func decrypt(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	cardID := r.PathParameter("card_id")
	_, encrypted, _ := strings.Cut("&"+r.RawQuery(), "&encrypt_code=")
	if err := cmp.Or(
		validation.RefuseIf(strings.Contains(r.RawQuery(), "&"), "/query/encrypt_code", "must be the only parameter of the query"),
		validation.Check("/path/card_id", cardID, validation.Required, validation.CardID),
		// 128 characters in the document, each of which may be percent-encoded.
		validation.CheckPrivate("/query/encrypt_code", encrypted, validation.Required, validation.Alphanumeric(384, "+/=-_%"), decodable),
	); err != nil {
		return nil, err
	}
	answer, err := wechatpay.Get(ctx, "/v3/marketing/membercard-open/cards/"+cardID+"/decrypt-code?encrypt_code="+encrypted)
	if err == nil {
		_, err = answer.Text("code")
	}
	return gateway.Pass(answer, err)
}

// decodable requires that an encrypt_code, decoded once, has no other characters than
// before, except blanks, which are the + of a query. What is no escape stays as it is.
func decodable(value string) string {
	for _, behind := range strings.Split(value, "%")[1:] {
		c, err := hex.DecodeString(behind[:min(2, len(behind))])
		if err == nil && len(c) == 1 && validation.Alphanumeric(1, "+/=-_% ")(string(c)) != "" {
			return "must stand, decoded, for the characters A-Z a-z 0-9 + / = - _ %"
		}
	}
	return ""
}
