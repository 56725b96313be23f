package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"membercard/shared/apierror"
	"membercard/shared/cardfields"
	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// request is the body of POST /card/create (创建卡券). Its card has card_type, and one object
// whose key is the type in lower case. Members without a rule here may have any value;
// WeChat checks them.
type request struct {
	Card object `json:"card"`
}

type object = map[string]json.RawMessage

// requiredStrings are the members of base_info that must be strings, in the document's
// order.
var requiredStrings = []string{"logo_url", "brand_name", "code_type", "title", "color", "notice", "description"}

func (r *request) validate() strictjson.Faults {
	if r.Card == nil {
		return strictjson.Faults{{Path: "/card", Issue: "is required"}}
	}
	var cardType string
	if faults := required(r.Card, "/card", "card_type", &cardType); len(faults) > 0 {
		return faults
	}
	key := strings.ToLower(cardType)
	cardTypes := strings.Fields(strings.ToUpper(strings.Join(cardfields.CardTypes, " ")))
	if issue := validation.OneOf(cardTypes...)(cardType); issue != "" {
		return strictjson.Faults{{Path: "/card/card_type", Value: cardType, Issue: issue}}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Card)) {
		switch {
		case name == "card_type" || name == key:
		case slices.Contains(cardfields.CardTypes, name):
			return strictjson.Faults{{Path: "/card/" + name, Issue: "must not be sent with card_type " + cardType + ": a card has one type"}}
		default:
			return strictjson.Faults{cardfields.Unknown("/card", name)}
		}
	}
	return validateCard(r.Card, key)
}

// validateCard returns the faults of the object whose key is the card's type.
func validateCard(envelope object, cardType string) (faults strictjson.Faults) {
	var card, baseInfo, sku, dateInfo object
	var text string
	var quantity int64
	path := "/card/" + cardType
	infoPath := path + "/base_info"

	faults = required(envelope, "/card", cardType, &card)
	if len(faults) > 0 {
		return faults
	}
	faults = required(card, path, "base_info", &baseInfo)
	if len(faults) > 0 {
		return faults
	}
	for _, name := range requiredStrings {
		faults = append(faults, required(baseInfo, infoPath, name, &text)...)
	}
	if missing := required(baseInfo, infoPath, "sku", &sku); len(missing) > 0 {
		faults = append(faults, missing...)
	} else {
		faults = append(faults, required(sku, infoPath+"/sku", "quantity", &quantity)...)
	}
	faults = append(faults, required(baseInfo, infoPath, "date_info", &dateInfo)...)
	if cardType == cardfields.MemberCard {
		faults = append(faults, required(card, path, "prerogative", &text)...)
	}

	for _, name := range cardfields.Objects {
		if _, sent := card[name]; sent && cardType != cardfields.MemberCard {
			faults = append(faults, strictjson.Fault{Path: path + "/" + name, Issue: "is a field of membership cards only"})
		}
		if _, sent := baseInfo[name]; sent {
			faults = append(faults, strictjson.Fault{Path: infoPath + "/" + name, Issue: "belongs to member_card itself"})
		}
	}
	own, wrong := cardfields.Of(card, path, false)
	faults = append(faults, wrong...)
	ofInfo, wrong := cardfields.Of(baseInfo, infoPath, false)
	faults = append(faults, wrong...)
	return append(faults, cardfields.CheckCard(path, cardType, own, ofInfo)...)
}

func required(members object, path, name string, into any) strictjson.Faults {
	value, sent := members[name]
	if !sent {
		return strictjson.Faults{{Path: path + "/" + name, Issue: "is required"}}
	}
	return strictjson.DecodeValue(value, path+"/"+name, into)
}

// unclearOutcome is the advice for errors after which WeChat may have created the card.
var unclearOutcome = apierror.Advice{
	{"UPSTREAM_TIMEOUT", "", lookFirst},
	{"UPSTREAM_UNREACHABLE", "", lookFirst},
	{"INVALID_RESPONSE", "", lookFirst},
	{"SYSTEM_ERROR", "", lookFirst},
	{"WECHAT_-1", "", lookFirst},
}

const lookFirst = "look whether the official account has the card before trying again: each call makes another card"

// create creates a card: POST /card/create. WeChat gets the body byte for byte.
func create(ctx context.Context, wechat *officialaccount.Client, r *gateway.Request) (*gateway.Response, error) {
	var body request
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if faults := body.validate(); len(faults) > 0 {
		return nil, gateway.Fault(faults[0])
	}
	content, _ := r.Body() // Decode has read it
	// Each call that WeChat carries out creates a card.
	answer, err := wechat.PostOnce(ctx, "/card/create", content)
	if err == nil {
		_, err = answer.Text("card_id")
	}
	return gateway.Pass(answer, unclearOutcome.Apply(err))
}
