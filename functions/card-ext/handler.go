package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha1" // WeChat's algorithm for cardExt
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/gateway"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// maxCards is the maximum number of cards in a request. Since January 2021
// wx.addCard lets a user take one membership card at a time and greys out the rest.
const maxCards = 20

// request is the body of POST /card/ext: one card to add, or several in cardList.
type request struct {
	card
	CardList []card `json:"cardList"`
}

// card is a card to add with wx.addCard.
type card struct {
	CardID              string `json:"card_id"`
	Code                string `json:"code"`                 // of custom-code cards only
	OpenID              string `json:"openid"`               // of bind_openid cards only: the user who may take it
	OuterStr            string `json:"outer_str"`            // where it is handed out
	FixedBeginTimestamp *int64 `json:"fixed_begintimestamp"` // Unix time in seconds
}

// cards returns the cards of the request.
func (r *request) cards() ([]card, error) {
	switch {
	case r.CardList == nil:
		return []card{r.card}, nil
	case r.card != card{}:
		return nil, gateway.Fault(strictjson.Fault{Path: "/cardList", Issue: "must not be sent beside the fields of a card"})
	case len(r.CardList) == 0 || len(r.CardList) > maxCards:
		return nil, gateway.Fault(strictjson.Fault{Path: "/cardList", Issue: fmt.Sprintf("must have 1 to %d cards", maxCards)})
	}
	return r.CardList, nil
}

func (c *card) validate(at string) error {
	return cmp.Or(
		validation.Check(at+"/card_id", c.CardID, validation.Required, validation.CardID),
		validation.CheckPrivate(at+"/code", c.Code, validation.MaxLength(32)),
		validation.CheckPrivate(at+"/openid", c.OpenID, validation.MaxLength(128)),
		validation.Check(at+"/outer_str", c.OuterStr, validation.MaxLength(128)),
		validation.RefuseIf(c.FixedBeginTimestamp != nil && *c.FixedBeginTimestamp <= 0, at+"/fixed_begintimestamp", "must be a Unix time in seconds"),
	)
}

// allow refuses what a page may not choose at a JSON pointer: a code, and an openid that is
// not proved. The signature covers the values without their names, so one that was signed
// as a code passes as an openid as well, and the other way round.
func (c *card) allow(r *gateway.Request, at string) error {
	if r.FromPage() && c.Code != "" {
		return apierror.CodeNotAllowed(at + "/code")
	}
	return r.RequireOwnOpenID(c.OpenID, at+"/openid")
}

// cardExt is the cardExt of wx.addCard, which takes it as a string of JSON.
type cardExt struct {
	Code                string `json:"code,omitempty"`
	OpenID              string `json:"openid,omitempty"`
	Timestamp           string `json:"timestamp"` // Unix time in seconds
	NonceStr            string `json:"nonce_str"` // must not be used twice
	FixedBeginTimestamp *int64 `json:"fixed_begintimestamp,omitempty"`
	OuterStr            string `json:"outer_str,omitempty"`
	Signature           string `json:"signature"`
}

// sign sets the signature: the hex SHA-1 of the values of api_ticket, timestamp, card_id,
// code, openid and nonce_str, sorted as strings and concatenated.
func (e *cardExt) sign(apiTicket, cardID string) {
	values := []string{apiTicket, e.Timestamp, cardID, e.Code, e.OpenID, e.NonceStr}
	slices.Sort(values)
	digest := sha1.Sum([]byte(strings.Join(values, "")))
	e.Signature = hex.EncodeToString(digest[:])
}

type cardListEntry struct {
	CardID  string `json:"cardId"`
	CardExt string `json:"cardExt"`
}

// sign returns a signed cardList for wx.addCard: POST /card/ext.
func sign(ctx context.Context, tickets tickets, r *gateway.Request) (*gateway.Response, error) {
	var body request
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	cards, err := body.cards()
	if err != nil {
		return nil, err
	}
	for i := range cards {
		at := "/body"
		if body.CardList != nil {
			at = "/body/cardList/" + strconv.Itoa(i)
		}
		if err := cards[i].validate(at); err != nil {
			return nil, err
		}
		if err := cards[i].allow(r, at); err != nil {
			return nil, err
		}
	}
	t, err := current(ctx, tickets)
	if err != nil {
		return nil, err
	}
	var answer struct {
		CardList []cardListEntry `json:"cardList"`
	}
	for _, c := range cards {
		e := cardExt{
			Code:                c.Code,
			OpenID:              c.OpenID,
			Timestamp:           strconv.FormatInt(time.Now().Unix(), 10),
			NonceStr:            rand.Text(),
			FixedBeginTimestamp: c.FixedBeginTimestamp,
			OuterStr:            c.OuterStr,
		}
		e.sign(t.Ticket, c.CardID)
		answer.CardList = append(answer.CardList, cardListEntry{c.CardID, string(strictjson.Encode(e))})
	}
	return &gateway.Response{Body: strictjson.Encode(answer)}, nil
}
