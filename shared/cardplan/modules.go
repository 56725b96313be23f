package cardplan

import (
	"maps"
	"slices"

	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// Modules are service modules (会员卡服务项) of a card of the new kind by service_module_id. A
// nil module is taken from the card. One that is not in the map is left alone.
type Modules map[string]*Module

// Module is the mini program that a service module opens.
type Module struct {
	AppID string `json:"appid"`
	Path  string `json:"path"`
}

// check returns the faults of the service_modules of the card or campaign at a place, except
// those that decoding it found, whose places are seen.
func (m Modules) check(at string, seen map[string]bool) (faults strictjson.Faults) {
	for _, id := range slices.Sorted(maps.Keys(m)) {
		if len(faults) >= strictjson.MaxFaults {
			break
		}
		place := at + "/service_modules/" + strictjson.Escape(id)
		if issue := moduleID(id); issue != "" {
			faults = append(faults, strictjson.Fault{Path: place, Issue: issue, Undocumented: 1})
			continue
		}
		module := m[id]
		if module == nil || seen[place] {
			continue
		}
		for _, member := range []struct {
			name, value string
			max         int
		}{{"appid", module.AppID, 32}, {"path", module.Path, 128}} {
			issue := validation.Required(member.value)
			if issue == "" {
				issue = validation.MaxLength(member.max)(member.value)
			}
			if issue != "" {
				faults = append(faults, strictjson.Fault{Path: place + "/" + member.name, Value: member.value, Issue: issue})
			}
		}
	}
	return faults
}

// moduleID is the rule for the ID of a service module, which becomes part of a signed URL
// path.
func moduleID(id string) string {
	if id == "" {
		return "must not be empty"
	}
	return validation.Alphanumeric(9, "_-")(id)
}
