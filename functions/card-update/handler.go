package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"membercard/shared/cardfields"
	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// request is the body of POST /card/update (更改卡券信息): card_id, and one object whose key
// is the card's type.
type request map[string]json.RawMessage

// cardType returns the key of the only card object of the request.
func (r request) cardType() (cardType string, err error) {
	for _, name := range slices.Sorted(maps.Keys(r)) {
		switch {
		case name == "card_id":
		case !slices.Contains(cardfields.CardTypes, name):
			return "", gateway.Fault(cardfields.Unknown("", name))
		case cardType != "":
			return "", gateway.Fault(strictjson.Fault{Path: "/" + name, Issue: "must not be sent beside " + cardType + ": a card has one type"})
		default:
			cardType = name
		}
	}
	if cardType == "" {
		err = gateway.Fault(strictjson.Fault{Issue: "must have an object with the key of the card's type, such as member_card"})
	}
	return cardType, err
}

// validate checks the request, and returns the one to WeChat.
func (r request) validate() ([]byte, error) {
	cardType, err := r.cardType()
	if err != nil {
		return nil, err
	}
	var cardID string
	if id, ok := r["card_id"]; ok {
		if faults := strictjson.DecodeValue(id, "/card_id", &cardID); len(faults) > 0 {
			return nil, gateway.Fault(faults[0])
		}
	}
	if err := validation.Check("/body/card_id", cardID, validation.Required, validation.CardID); err != nil {
		return nil, err
	}
	path := "/" + cardType
	var sent map[string]json.RawMessage
	var baseInfo cardfields.Fields
	faults := strictjson.DecodeValue(r[cardType], path, &sent)
	if value, ok := sent["base_info"]; ok {
		faults = append(faults, strictjson.DecodeValue(value, path+"/base_info", &baseInfo)...)
		delete(sent, "base_info")
	}
	changes, wrong := cardfields.Of(sent, path, true)
	faults = append(append(faults, wrong...), cardfields.CheckCard(path, cardType, changes, baseInfo)...)
	maps.Copy(changes, baseInfo)
	if len(changes) == 0 {
		faults = append(faults, strictjson.Fault{Path: path, Issue: "must have a field to change"})
	}
	if len(faults) > 0 {
		return nil, gateway.Fault(faults[0])
	}
	return changes.UpdateRequest(cardID, cardType, nil), nil
}

// update changes the fields of a card: POST /card/update.
func update(ctx context.Context, wechat *officialaccount.Client, r *gateway.Request) (*gateway.Response, error) {
	var body request
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	content, err := body.validate()
	if err != nil {
		return nil, err
	}
	return gateway.Pass(wechat.Post(ctx, "/card/update", content))
}
