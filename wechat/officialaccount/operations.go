package officialaccount

// This file lists the operations, and has the rules for all of them.

import (
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"net/url"

	"membercard/wechat/sandbox"
)

type (
	operation = sandbox.Operation[*Sandbox]
	field     = sandbox.Field
)

// What authenticates the caller of an operation.
const (
	accessToken sandbox.Needs = iota // in the query
	appSecret                        // with the appid, in the body
	loginCode                        // with appid and secret, in the query
)

var cardID = field{Name: "card_id", Required: true}

// operations are the operations. Each has the title of its document.
var operations = []operation{
	// 获取稳定版接口调用凭据
	{Method: "POST", Path: "/cgi-bin/stable_token", Needs: appSecret, Serve: (*Sandbox).stableToken, Fields: []field{
		{Name: "grant_type"}, {Name: "appid"}, {Name: "secret"}, {Name: "force_refresh", Kind: sandbox.Boolean},
	}},
	// 查看卡券详情
	{Method: "POST", Path: "/card/get", Serve: (*Sandbox).getCard, Fields: []field{cardID}},
	// 更改卡券信息
	{Method: "POST", Path: "/card/update", Serve: (*Sandbox).updateCard, Fields: []field{cardID}},
	// 创建卡券
	{Method: "POST", Path: "/card/create", Serve: (*Sandbox).createCard, Fields: []field{{Name: "card", Kind: sandbox.Object, Required: true}}},
	// Code解码
	{Method: "POST", Path: "/card/code/decrypt", Serve: (*Sandbox).decryptCode, Fields: []field{{Name: "encrypt_code", Required: true}}},
	// 获取api_ticket
	{Method: "GET", Path: "/cgi-bin/ticket/getticket", Serve: (*Sandbox).getTicket},
	// 小程序登录
	{Method: "GET", Path: "/sns/jscode2session", Needs: loginCode, Serve: (*Sandbox).programLogin},
	// 网页授权
	{Method: "GET", Path: "/sns/oauth2/access_token", Needs: loginCode, Serve: (*Sandbox).pageLogin},
}

// process returns the answer to a request, or its refusal.
func (s *Sandbox) process(r *Request) (any, error) {
	o, allowed := sandbox.Find(operations, r)
	switch validity := s.validity(r); {
	case allowed == nil:
		return nil, refuse(40066, "invalid url")
	case o == nil && allowed[0] == http.MethodPost:
		return nil, refuse(43002, "require POST method")
	case o == nil:
		return nil, refuse(43001, "require GET method")
	case r.Header.Get("User-Agent") == "":
		return nil, refuse(40097, "invalid args, User-Agent missing")
	case r.Method == http.MethodPost && len(r.Body) == 0:
		return nil, refuse(44002, "empty post data")
	case r.Method == http.MethodPost && mediaType(r) != "application/json":
		return nil, malformed("Content-Type")
	case o.Needs == appSecret && s.outside:
		return nil, refuse(40164, "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist")
	case o.Needs == accessToken && validity == "none":
		return nil, refuse(41001, "access_token missing")
	case o.Needs == accessToken && validity == "dead":
		return nil, refuse(40001, "invalid credential, access_token is invalid or not latest")
	}
	var call struct {
		CardID string `json:"card_id"`
	}
	_ = json.Unmarshal(r.Body, &call) // Parse reports errors
	if err := s.injected(r.Path, call.CardID); err != nil {
		return nil, err
	}
	if r.Path == "/card/update" && s.updateQuota >= 0 { // calls that are refused below count too
		if s.updateQuota--; s.updateQuota < 0 {
			s.updateQuota = 0
			return nil, refuse(45009, "reach max api daily quota limit")
		}
	}
	if err := r.Parse(o.Fields); err != nil {
		return nil, err
	}
	return o.Serve(s, r)
}

func mediaType(r *Request) string {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // empty if it is malformed
	return kind
}

// validity returns whether the access token of a request is valid, dead or none.
func (s *Sandbox) validity(r *Request) string {
	switch token := r.Query.Get("access_token"); {
	case token == "":
		return "none"
	case s.tokens.valid(token, r.Time):
		return "valid"
	}
	return "dead"
}

// redacted returns the query of a request for the log.
func (s *Sandbox) redacted(r *Request) url.Values {
	word := map[bool]string{true: "valid", false: "dead"}
	query := maps.Clone(r.Query)
	query.Set("access_token", s.validity(r))
	secret := query.Get("secret")
	for name, valid := range map[string]bool{
		"secret":  secret == s.account.Secret || secret == s.program.Secret,
		"js_code": s.program.codes[query.Get("js_code")].check(r.Time) == nil,
		"code":    s.account.codes[query.Get("code")].check(r.Time) == nil,
	} {
		if query.Has(name) {
			query.Set(name, word[valid])
		}
	}
	return query
}
