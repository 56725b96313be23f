package cardplan

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

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

// ModulesAt returns the service modules that the card should have at a time.
func (c *Card) ModulesAt(now time.Time) Modules {
	m := maps.Clone(c.modules)
	if m == nil {
		m = Modules{}
	}
	for i := range c.Campaigns {
		if c.Campaigns[i].ActiveAt(now) {
			maps.Copy(m, c.Campaigns[i].modules)
		}
	}
	return m
}

// Modules returns the card's own service modules.
func (c *Card) Modules() Modules { return c.modules }

// Modules returns the service modules of the campaign.
func (c *Campaign) Modules() Modules { return c.modules }

// HasFields reports whether the card or one of its campaigns has fields.
func (c *Card) HasFields() bool {
	return c.Fields != nil || slices.ContainsFunc(c.Campaigns, func(c Campaign) bool { return c.Fields != nil })
}

// HasModules reports whether the card or one of its campaigns has service_modules.
func (c *Card) HasModules() bool {
	return c.modules != nil || slices.ContainsFunc(c.Campaigns, func(c Campaign) bool { return c.modules != nil })
}

// decodeModules decodes the service_modules of the card or campaign at a place.
func decodeModules(at string, encoded map[string]json.RawMessage) (modules Modules, faults strictjson.Faults) {
	if encoded == nil {
		return nil, nil
	}
	modules = make(Modules, len(encoded))
	for _, id := range slices.Sorted(maps.Keys(encoded)) {
		if len(faults) >= strictjson.MaxFaults {
			break
		}
		place := at + "/service_modules/" + strictjson.Escape(id)
		if issue := moduleID(id); issue != "" {
			faults = append(faults, strictjson.Fault{Path: place, Issue: issue, Chosen: 1})
			continue
		}
		modules[id] = nil
		if string(encoded[id]) == "null" {
			continue
		}
		var module Module
		wrong := strictjson.DecodeValue(encoded[id], place, &module)
		faults = append(faults, wrong...)
		if slices.ContainsFunc(wrong, func(f strictjson.Fault) bool { return f.Path == place }) {
			continue // it is no object
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
		modules[id] = &module
	}
	return modules, faults
}

// moduleID is the rule for the ID of a service module, which becomes part of a signed URL
// path.
func moduleID(id string) string {
	if id == "" {
		return "must not be empty"
	}
	return validation.Alphanumeric(9, "_-")(id)
}
