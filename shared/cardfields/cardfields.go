// Package cardfields has the fields of a card that link to a mini program or an H5 page,
// with their rules, and the /card/update request that sets them. The mini-program fields
// are those of the document 小程序&卡券打通, section 3.1.
package cardfields

import (
	"encoding/json"
	"maps"
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

// ofBaseInfo and ofMemberCard are the fields of base_info, and those of the object
// member_card, which only membership cards have. In the name of a field within an object of
// member_card, such as custom_cell1.url, the object comes before the dot.
var (
	ofBaseInfo = []string{
		"custom_url_name", "custom_url", "custom_url_sub_title", "custom_app_brand_user_name", "custom_app_brand_pass",
		"center_title", "center_sub_title", "center_url", "center_app_brand_user_name", "center_app_brand_pass",
		"promotion_url_name", "promotion_url", "promotion_url_sub_title", "promotion_app_brand_user_name", "promotion_app_brand_pass",
	}
	ofMemberCard = []string{
		"activate_url", "activate_app_brand_user_name", "activate_app_brand_pass",
		"bonus_url", "bonus_app_brand_user_name", "bonus_app_brand_pass",
		"balance_url", "balance_app_brand_user_name", "balance_app_brand_pass",
		"custom_field1.name_type", "custom_field1.name", "custom_field1.url", "custom_field1.app_brand_user_name", "custom_field1.app_brand_pass",
		"custom_field2.name_type", "custom_field2.name", "custom_field2.url", "custom_field2.app_brand_user_name", "custom_field2.app_brand_pass",
		"custom_field3.name_type", "custom_field3.name", "custom_field3.url", "custom_field3.app_brand_user_name", "custom_field3.app_brand_pass",
		"custom_cell1.name", "custom_cell1.tips", "custom_cell1.url", "custom_cell1.app_brand_user_name", "custom_cell1.app_brand_pass",
		"custom_cell2.name", "custom_cell2.tips", "custom_cell2.url", "custom_cell2.app_brand_user_name", "custom_cell2.app_brand_pass",
	}
)

// Names lists the fields in the order of the documents.
var Names = slices.Concat(ofBaseInfo, ofMemberCard)

// OfMemberCard reports whether a field belongs to the object member_card, which only
// membership cards have. All other fields belong to base_info.
func OfMemberCard(name string) bool { return slices.Contains(ofMemberCard, name) }

// Objects lists the objects of member_card that have fields.
var Objects = []string{"custom_field1", "custom_field2", "custom_field3", "custom_cell1", "custom_cell2"}

// Object returns the object of member_card that a field is in, such as custom_cell1, or ""
// if the field is not in such an object.
func Object(name string) string {
	object, _, within := strings.Cut(name, ".")
	if !within {
		return ""
	}
	return object
}

// MaxLength returns the length of a field's value that WeChat's pages give, or 0 if they
// give none. They do not state the unit; their examples fit bytes of UTF-8.
func MaxLength(name string) int {
	switch {
	case name == "center_sub_title":
		return 24
	case name == "center_title", strings.HasSuffix(name, "_sub_title"), strings.HasSuffix(name, ".tips"):
		return 18
	case strings.HasSuffix(name, "_url_name"), strings.HasSuffix(name, ".name"):
		return 15
	case isURL(name):
		return 128
	}
	return 0
}

func isURL(name string) bool {
	return strings.HasSuffix(name, "_url") || strings.HasSuffix(name, ".url")
}

// Fields are the values of fields by name. An empty value clears a field. A field that is
// not in the map is not changed.
type Fields map[string]string

// Known reports whether there is a field of this name. [strictjson.Decode] refuses others.
func (Fields) Known(name string) bool { return slices.Contains(Names, name) }

// Check returns the faults of single fields. pointer returns the JSON pointer of a field.
func (f Fields) Check(pointer func(name string) string) (faults strictjson.Faults) {
	for _, name := range f.Sorted() {
		var issue string
		switch {
		case isURL(name):
			issue = validation.WebURL(f[name])
		case strings.HasSuffix(name, "_user_name"):
			issue = userName(f[name])
		case strings.HasSuffix(name, ".name_type"):
			issue = nameType(f[name])
		}
		if n := MaxLength(name); issue == "" && n > 0 {
			issue = validation.MaxLength(n)(f[name])
		}
		if issue != "" {
			faults = append(faults, strictjson.Fault{Path: pointer(name), Value: f[name], Issue: issue})
		}
	}
	return faults
}

// userName is the rule for *_app_brand_user_name: a mini program's original ID and @app.
func userName(value string) string {
	id, hasSuffix := strings.CutSuffix(value, "@app")
	id, hasPrefix := strings.CutPrefix(id, "gh_")
	if value != "" && (!hasSuffix || !hasPrefix || id == "" || validation.Alphanumeric(len(id), "_-")(id) != "") {
		return "must be a mini program's original ID followed by @app, like gh_86a091e50ad4@app"
	}
	return ""
}

// nameType is the rule for name_type, one of WeChat's names of a field.
func nameType(value string) string {
	name, hasPrefix := strings.CutPrefix(value, "FIELD_NAME_TYPE_")
	if value != "" && (!hasPrefix || name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "") {
		return "must be FIELD_NAME_TYPE_ followed by capital letters or _, like FIELD_NAME_TYPE_LEVEL"
	}
	return ""
}

// HasPairOf reports whether the fields include the given *app_brand_user_name or
// *app_brand_pass, or the other one of the same entry.
func (f Fields) HasPairOf(name string) bool {
	entry, _, _ := strings.Cut(name, "app_brand_")
	_, user := f[entry+"app_brand_user_name"]
	_, pass := f[entry+"app_brand_pass"]
	return user || pass
}

// CheckPairs returns the faults of entries that have a mini program without a
// page, or a page without a mini program.
func (f Fields) CheckPairs(pointer func(name string) string) (faults strictjson.Faults) {
	for _, user := range Names {
		entry, isUser := strings.CutSuffix(user, "app_brand_user_name")
		if !isUser {
			continue
		}
		pass := entry + "app_brand_pass"
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
	inCard := func(name string) string { return path + "/" + strings.Replace(name, ".", "/", 1) }
	inBaseInfo := func(name string) string { return inCard("base_info/" + name) }
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

// Sorted returns the names of the fields in the order of [Names].
func (f Fields) Sorted() (names []string) {
	for _, name := range Names {
		if _, given := f[name]; given {
			names = append(names, name)
		}
	}
	return names
}

// Of returns the fields among the members of a card's object, or of its base_info, at a
// JSON pointer. With only, any other member is a fault, and so is an object without a field.
func Of(members map[string]json.RawMessage, path string, only bool) (fields Fields, faults strictjson.Faults) {
	fields = Fields{}
	read := func(name, at string, value json.RawMessage) {
		var text *string // may be empty
		if wrong := strictjson.DecodeValue(value, at, &text); len(wrong) > 0 {
			faults = append(faults, wrong...)
		} else {
			fields[name] = *text
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		at := path + "/" + name
		switch {
		case slices.Contains(Objects, name):
			var inner map[string]json.RawMessage
			faults = append(faults, strictjson.DecodeValue(members[name], at, &inner)...)
			for _, member := range slices.Sorted(maps.Keys(inner)) {
				if field := name + "." + member; slices.Contains(Names, field) {
					read(field, at+"/"+member, inner[member])
				} else if only {
					faults = append(faults, Unknown(at, member))
				}
			}
			if only && len(inner) == 0 {
				faults = append(faults, strictjson.Fault{Path: at, Issue: "must have a field to change"})
			}
		case slices.Contains(Names, name) && Object(name) == "":
			read(name, at, members[name])
		case only:
			faults = append(faults, Unknown(path, name))
		}
	}
	return fields, faults
}

// Unknown returns the fault of a member that the document does not have, in the object at a
// JSON pointer.
func Unknown(path, name string) strictjson.Fault {
	return strictjson.Fault{Path: path + "/" + strictjson.Escape(name), Issue: "is not a field of this document", Undocumented: 1}
}

// UpdateRequest returns the body of the /card/update request that sets the fields of a
// card. An object of member_card that has one of the fields has what it has in shown as
// well: WeChat's pages do not say that an update keeps other members of such an object.
func (f Fields) UpdateRequest(cardID, cardType string, shown map[string]json.RawMessage) []byte {
	baseInfo, card := map[string]string{}, map[string]any{}
	for name, value := range f {
		object := Object(name)
		switch {
		case object != "":
			members, _ := card[object].(map[string]json.RawMessage) // so that numbers stay as they are
			if members == nil {
				if _ = json.Unmarshal(shown[object], &members); members == nil {
					members = map[string]json.RawMessage{} // it is no object
				}
				card[object] = members
			}
			members[name[len(object)+1:]] = strictjson.Encode(value)
		case OfMemberCard(name):
			card[name] = value
		default:
			baseInfo[name] = value
		}
	}
	if len(baseInfo) > 0 {
		card["base_info"] = baseInfo
	}
	return strictjson.Encode(map[string]any{"card_id": cardID, cardType: card})
}
