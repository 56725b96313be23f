package main

import (
	"slices"
	"strings"

	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// cardTypes are the types of card, as the keys of their objects.
var cardTypes = []string{
	"groupon", "cash", "discount", "gift", "general_coupon",
	"member_card", "scenic_ticket", "movie_ticket", "boarding_pass", "meeting_ticket",
}

const memberCard = "member_card"

// fieldNames are the fields of a card that lead to a mini program or an H5 page,
// in the order of the documents. Those of an entry begin with its name.
var fieldNames = []string{
	"custom_url_name", "custom_url", "custom_url_sub_title", "custom_app_brand_user_name", "custom_app_brand_pass",
	"center_title", "center_sub_title", "center_url", "center_app_brand_user_name", "center_app_brand_pass",
	"promotion_url_name", "promotion_url", "promotion_url_sub_title", "promotion_app_brand_user_name", "promotion_app_brand_pass",
	"activate_url", "activate_app_brand_user_name", "activate_app_brand_pass",
}

// entries are the places of a card that a link can be in.
var entries = []string{"custom", "center", "promotion", "activate"}

// ofMemberCard says whether a field belongs to the member_card object itself,
// which only a membership card has; the others belong to its base_info.
func ofMemberCard(name string) bool {
	return strings.HasPrefix(name, "activate_") && slices.Contains(fieldNames, name)
}

// fields are values by field name. An empty value clears the field; a field that
// is not there is not touched.
type fields map[string]string

// userName is the rule of *_app_brand_user_name: a mini program's original ID.
func userName(value string) string {
	id, isApp := strings.CutSuffix(value, "@app")
	id, isID := strings.CutPrefix(id, "gh_")
	if value != "" && (!isApp || !isID || id == "" || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") != "") {
		return "must be a mini program's original ID with @app behind it, like gh_86a091e50ad4@app"
	}
	return ""
}

// check holds each field against its rule. at gives the place of a field.
func (f fields) check(at func(name string) string) (faults strictjson.Faults) {
	for _, name := range f.names() {
		var issue string
		known := slices.Contains(fieldNames, name)
		switch {
		case !known:
			issue = "is not a field that can be changed here"
		case strings.HasSuffix(name, "_url"):
			issue = validation.WebURL(f[name])
		case strings.HasSuffix(name, "_user_name"):
			issue = userName(f[name])
		}
		if issue != "" {
			faults = append(faults, strictjson.Fault{Path: at(strictjson.Escape(name)), Value: f[name], Issue: issue, Foreign: !known})
		}
	}
	return faults
}

// checkPairs sees to it that a mini program and its page come together, and are
// cleared together.
func (f fields) checkPairs(at func(name string) string) (faults strictjson.Faults) {
	for _, entry := range entries {
		user, pass := entry+"_app_brand_user_name", entry+"_app_brand_pass"
		for _, pair := range [][2]string{{user, pass}, {pass, user}} {
			value, there := f[pair[0]]
			other, otherThere := f[pair[1]]
			switch {
			case !there && otherThere:
				faults = append(faults, strictjson.Fault{Path: at(pair[0]), Issue: "is required together with " + pair[1]})
			case there && value == "" && other != "":
				faults = append(faults, strictjson.Fault{Path: at(pair[0]), Issue: "must not be empty unless " + pair[1] + " is"})
			}
		}
	}
	return faults
}

// names are the names of the fields, known ones first and in the documents' order.
func (f fields) names() []string {
	var known, others []string
	for _, name := range fieldNames {
		if _, ok := f[name]; ok {
			known = append(known, name)
		}
	}
	for name := range f {
		if !slices.Contains(fieldNames, name) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return append(known, others...)
}

// encode is the body of /card/update that sets the fields of a card.
func (f fields) encode(cardID, cardType string) ([]byte, error) {
	baseInfo, card := map[string]string{}, map[string]any{}
	for name, value := range f {
		if ofMemberCard(name) {
			card[name] = value
		} else {
			baseInfo[name] = value
		}
	}
	if len(baseInfo) > 0 {
		card["base_info"] = baseInfo
	}
	return strictjson.Encode(map[string]any{"card_id": cardID, cardType: card})
}
