package wechatpay

import (
	"maps"
	"strings"

	"membercard/wechat/sandbox"
)

// ServiceModule is the mini program that a service module (会员卡服务项) of a card opens.
type ServiceModule struct {
	AppID string `json:"appid"`
	Path  string `json:"path"`
}

// ServiceModules returns the service modules of a card by their IDs. Every card is of the
// new kind.
func (s *Sandbox) ServiceModules(cardID string) map[string]ServiceModule {
	return sandbox.Get(s.Server, func() map[string]ServiceModule { return maps.Clone(s.modules[cardID]) })
}

// modulesFor returns the modules of the card that is called, for an operation on the module
// with an ID. It refuses if the card has the module and added is false, or has it not and added is true. Every ID
// exists but those that begin with 0.
func (s *Sandbox) modulesFor(r *Request, id string, added bool) (ofCard map[string]ServiceModule, err error) {
	if strings.HasPrefix(id, "0") {
		return nil, invalidRequest("该会员服务项id不存在")
	}
	cardID := r.Segment("card_id")
	if s.modules[cardID] == nil {
		s.modules[cardID] = make(map[string]ServiceModule)
	}
	switch _, has := s.modules[cardID][id]; {
	case has && !added:
		return nil, invalidRequest("会员卡已添加该会员服务项")
	case !has && added:
		return nil, invalidRequest("会员卡暂未添加该会员服务项")
	}
	return s.modules[cardID], nil
}

func (s *Sandbox) addServiceModule(r *Request) (any, error) {
	id := r.Given["service_module_id"]
	ofCard, err := s.modulesFor(r, id, false)
	if err != nil {
		return nil, err
	}
	return setServiceModule(r, ofCard, id), nil
}

func (s *Sandbox) changeServiceModule(r *Request) (any, error) {
	id := r.Segment("service_module_id")
	ofCard, err := s.modulesFor(r, id, true)
	if err != nil {
		return nil, err
	}
	return setServiceModule(r, ofCard, id), nil
}

func setServiceModule(r *Request, ofCard map[string]ServiceModule, id string) any {
	var m ServiceModule
	sandbox.MustUnmarshal([]byte(r.Given["jump_miniprogram"]), &m)
	ofCard[id] = m
	return map[string]any{"card_id": r.Segment("card_id"), "service_module_id": id, "jump_miniprogram": m}
}

func (s *Sandbox) removeServiceModule(r *Request) (any, error) {
	id := r.Segment("service_module_id")
	ofCard, err := s.modulesFor(r, id, true)
	if err != nil {
		return nil, err
	}
	delete(ofCard, id)
	return nil, nil
}
