// Package cardfields has the fields of a card that link to a mini program or an H5 page,
// with their rules, and the /card/update request that sets them. The mini-program fields
// are those of the document 小程序&卡券打通, section 3.1.
package cardfields

import (
	"slices"
	"strings"

	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// CardTypes lists the types of cards, in lower case as in the keys of their objects.
var CardTypes = []string{
	"groupon", "cash", "discount", "gift", "general_coupon",
	MemberCard, "scenic_ticket", "movie_ticket", "boarding_pass", "meeting_ticket",
}

// MemberCard is the type of a membership card.
const MemberCard = "member_card"

// Names lists the fields in the order of the documents.
var Names = []string{
	"custom_url_name", "custom_url", "custom_url_sub_title", "custom_app_brand_user_name", "custom_app_brand_pass",
	"center_title", "center_sub_title", "center_url", "center_app_brand_user_name", "center_app_brand_pass",
	"promotion_url_name", "promotion_url", "promotion_url_sub_title", "promotion_app_brand_user_name", "promotion_app_brand_pass",
	"activate_url", "activate_app_brand_user_name", "activate_app_brand_pass",
}

// entries are the prefixes of the fields' names. Each stands for a place of a card that
// can have a link.
var entries = []string{"custom", "center", "promotion", "activate"}

// OfMemberCard reports whether a field belongs to the object member_card, which only
// membership cards have. All other fields belong to base_info.
func OfMemberCard(name string) bool {
	return strings.HasPrefix(name, "activate_") && slices.Contains(Names, name)
}

// Fields are the values of fields by name. An empty value clears a field. A field that is
// not in the map is not changed.
type Fields map[string]string

// Check returns the faults of single fields, at most [strictjson.MaxFaults]. pointer returns the JSON pointer of a field.
func (f Fields) Check(pointer func(name string) string) (faults strictjson.Faults) {
	for _, name := range f.Sorted() {
		var issue string
		var chosen int
		switch {
		case !slices.Contains(Names, name):
			issue, chosen = "is not a field that can be changed here", 1
		case strings.HasSuffix(name, "_url"):
			issue = validation.WebURL(f[name])
		case strings.HasSuffix(name, "_user_name"):
			issue = userName(f[name])
		}
		if issue != "" && len(faults) < strictjson.MaxFaults {
			faults = append(faults, strictjson.Fault{Path: pointer(strictjson.Escape(name)), Value: f[name], Issue: issue, Chosen: chosen})
		}
		if len(faults) == strictjson.MaxFaults {
			break
		}
	}
	return faults
}

// userName is the rule for *_app_brand_user_name: a mini program's original ID and @app.
func userName(value string) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"
	id, hasSuffix := strings.CutSuffix(value, "@app")
	id, hasPrefix := strings.CutPrefix(id, "gh_")
	if value != "" && (!hasSuffix || !hasPrefix || id == "" || strings.Trim(id, letters) != "") {
		return "must be a mini program's original ID followed by @app, like gh_86a091e50ad4@app"
	}
	return ""
}

// HasPairOf reports whether the fields include the given *_app_brand_user_name or
// *_app_brand_pass, or the other one of the same entry.
func (f Fields) HasPairOf(name string) bool {
	entry, _, _ := strings.Cut(name, "_app_brand_")
	_, user := f[entry+"_app_brand_user_name"]
	_, pass := f[entry+"_app_brand_pass"]
	return user || pass
}

// CheckPairs returns the faults of entries that have a mini program without a
// page, or a page without a mini program.
func (f Fields) CheckPairs(pointer func(name string) string) (faults strictjson.Faults) {
	for _, entry := range entries {
		user, pass := entry+"_app_brand_user_name", entry+"_app_brand_pass"
		for _, pair := range [][2]string{{user, pass}, {pass, user}} {
			value, sent := f[pair[0]]
			other, otherSent := f[pair[1]]
			switch {
			case !sent && otherSent:
				faults = append(faults, strictjson.Fault{Path: pointer(pair[0]), Issue: "is required together with " + pair[1]})
			case sent && value == "" && other != "":
				faults = append(faults, strictjson.Fault{Path: pointer(pair[0]), Issue: "must not be empty unless " + pair[1] + " is"})
			}
		}
	}
	return faults
}

// CheckCard returns the faults of a card's fields. own are the fields of the card's object,
// whose key is cardType, and baseInfo those of its base_info. path is the JSON pointer of
// the card's object.
func CheckCard(path, cardType string, own, baseInfo Fields) (faults strictjson.Faults) {
	inCard := func(name string) string { return path + "/" + name }
	inBaseInfo := func(name string) string { return path + "/base_info/" + name }
	for _, name := range own.Sorted() {
		switch {
		case !OfMemberCard(name):
			faults = append(faults, strictjson.Fault{Path: inCard(name), Issue: "belongs to base_info"})
		case cardType != MemberCard:
			faults = append(faults, strictjson.Fault{Path: inCard(name), Issue: "is a field of membership cards only"})
		}
	}
	faults = append(append(faults, own.Check(inCard)...), own.CheckPairs(inCard)...)
	for _, name := range baseInfo.Sorted() {
		if OfMemberCard(name) {
			faults = append(faults, strictjson.Fault{Path: inBaseInfo(name), Issue: "belongs to member_card itself"})
		}
	}
	return append(append(faults, baseInfo.Check(inBaseInfo)...), baseInfo.CheckPairs(inBaseInfo)...)
}

// Sorted returns the names of the fields: the known ones in the order of [Names], then the
// unknown ones alphabetically.
func (f Fields) Sorted() []string {
	var known, unknown []string
	for _, name := range Names {
		if _, ok := f[name]; ok {
			known = append(known, name)
		}
	}
	for name := range f {
		if !slices.Contains(Names, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return append(known, unknown...)
}

// UpdateRequest returns the body of the /card/update request that sets the fields of a
// card.
func (f Fields) UpdateRequest(cardID, cardType string) ([]byte, error) {
	baseInfo, card := map[string]string{}, map[string]any{}
	for name, value := range f {
		if OfMemberCard(name) {
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
