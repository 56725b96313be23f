package wechatpay

// This file routes requests, and has the operations for certificates and tokens.

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"time"

	"membercard/wechat/sandbox"
)

// process returns the answer to a request or its refusal, and sets the sender in
// received. An answer of nil means 204.
func (s *Sandbox) process(r *http.Request, received *Request) (any, *refusal) {
	serve, refused := received.route(r.Method, r.URL.EscapedPath())
	// cmp.Or evaluates all checks, so that the log always has the result of authorize.
	refused = cmp.Or(refused, checkHeader(r.Header), s.authorize(received), s.checkSerial(r.Header))
	if refused == nil {
		refused = s.injected(received)
	}
	if refused != nil {
		return nil, refused
	}
	return serve(s, received)
}

// operation serves an authorized request.
type operation func(*Sandbox, *Request) (any, *refusal)

// routes are the operations. A name in braces matches one segment of the path.
var routes = []struct {
	method, path string
	serve        operation
}{
	{"GET", "/v3/certificates", (*Sandbox).listCertificates},
	{"POST", "/v3/security/echo", (*Sandbox).echo},
	{"POST", "/v3/brand/partner/card-member/open-user-card-tokens", (*Sandbox).makeBrandToken},
	{"POST", "/v3/brand/partner/card-member/pre-auth-tokens", (*Sandbox).makeBrandToken},
	{"POST", "/v3/brand/partner/card-member/user-cards/{user_card_code}/confirm", (*Sandbox).confirmBrandCard},
	{"POST", "/v3/marketing/membercard-open/cards/{card_id}/permission-tokens", (*Sandbox).makePermissionToken},
	{"GET", "/v3/marketing/membercard-open/cards/{card_id}/decrypt-code", (*Sandbox).decryptCode},
	{"POST", "/v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate", (*Sandbox).activateCard},
	{"POST", "/v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm", (*Sandbox).confirmMerchantCard},
	{"GET", "/v3/marketing/membercard-open/activate-informations/{activate_ticket}", (*Sandbox).activateInformation},
	{"GET", "/v3/marketing/membercard-open/callback", (*Sandbox).getCallback},
	{"PATCH", "/v3/marketing/membercard-open/callback", (*Sandbox).setCallback},
}

// route returns the operation for a method and an escaped path, and sets r.segments.
func (r *Request) route(method, path string) (operation, *refusal) {
	var allowed []string
	for _, route := range routes {
		segments, ok := match(route.path, path)
		if ok && route.method == method {
			r.segments = segments
			return route.serve, nil
		}
		if ok {
			allowed = append(allowed, route.method)
		}
	}
	if allowed == nil {
		return nil, refuse(http.StatusNotFound, "NOT_FOUND", "请求的资源不存在")
	}
	refused := refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "不支持的请求方法%s", method)
	refused.allow = strings.Join(allowed, ", ")
	return nil, refused
}

// match returns the segments of a path that match the names in a pattern.
func match(pattern, path string) (segments map[string]string, ok bool) {
	names, values := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(names) != len(values) {
		return nil, false
	}
	segments = make(map[string]string)
	for i, name := range names {
		if strings.HasPrefix(name, "{") {
			segments[strings.Trim(name, "{}")] = values[i]
		} else if name != values[i] {
			return nil, false
		}
	}
	return segments, true
}

// segment returns a segment of the path, unescaped.
func (r *Request) segment(name string) string {
	return sandbox.Must(url.PathUnescape(r.segments[name])) // cannot fail: the server has parsed the path
}

// listCertificates is 获取平台证书列表.
func (s *Sandbox) listCertificates(r *Request) (any, *refusal) {
	type item struct {
		SerialNo    string    `json:"serial_no"`
		Effective   string    `json:"effective_time"`
		Expire      string    `json:"expire_time"`
		Certificate encrypted `json:"encrypt_certificate"`
	}
	var list struct {
		Data []item `json:"data"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.certificates {
		list.Data = append(list.Data, item{
			SerialNo:    k.id,
			Effective:   rfc3339(k.certificate.NotBefore),
			Expire:      rfc3339(k.certificate.NotAfter),
			Certificate: encrypt(r.account.apiv3Key, certificatePEM(k.certificate), "certificate"),
		})
	}
	return list, nil
}

// makePermissionToken is 商户预授权.
func (s *Sandbox) makePermissionToken(r *Request) (any, *refusal) {
	cardID := r.segment("card_id")
	if refused := checkPath("card_id", "会员卡ID", cardID); refused != nil {
		return nil, refused
	}
	given, refused := parse(r, []field{
		{name: "activate_type", title: "激活类型", required: true, max: 32, check: checkOneOf("AUTO_ACTIVATE", "JUMP_ACTIVATE")},
		{name: "navigate_back_previous_page", title: "设置用户在开卡完成后，是否返回拉起开卡组件的商家页面", kind: boolean},
		{name: "activate_url", title: "跳转激活的URL", max: 128},
		{name: "activate_appid", title: "跳转激活的AppID", max: 32},
		{name: "activate_path", title: "跳转激活的path", max: 128},
		{name: "outer_str", title: "自定义场景值", max: 32, check: checkOuterStr},
	})
	if refused != nil {
		return nil, refused
	}
	if given["activate_type"] == "JUMP_ACTIVATE" && given["activate_url"] == "" && given["activate_appid"] == "" {
		return nil, invalid("body", "/activate_type", "JUMP_ACTIVATE",
			"激活类型是JUMP_ACTIVATE时,必须设置activate_url或activate_appid")
	}
	if refused := reserved(PermissionTokens, map[string]string{"card_id": cardID}); refused != nil {
		return nil, refused
	}
	value := sandbox.RandomText(104)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[value] = &token{merchant: r.account, cardID: cardID, permission: given}
	return map[string]string{"permission_token": value}, nil
}

// makeBrandToken is 入会组件预授权.
func (s *Sandbox) makeBrandToken(r *Request) (any, *refusal) {
	given, refused := parse(r, []field{
		{name: "brand_id", title: "品牌ID", required: true, max: 32},
		{name: "card_id", title: "会员卡模板 ID", required: true, max: 32},
		{name: "openid", title: "用户标识", required: true, max: 128},
	})
	if refused != nil {
		return nil, refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if refused := s.brandTokens.take(r.Time); refused != nil {
		return nil, refused
	}
	if refused := reserved(BrandTokens, given); refused != nil {
		return nil, refused
	}
	value, expires := strings.ToLower(sandbox.RandomText(32)), r.Time.Add(time.Hour)
	s.tokens[value] = &token{merchant: r.account, brandID: given["brand_id"], cardID: given["card_id"], openid: given["openid"], expires: expires}
	return map[string]string{
		"token":       value,
		"expire_time": beijing(expires).Format("2006-01-02T15:04:05.000-07:00"),
	}, nil
}

func beijing(t time.Time) time.Time { return t.In(time.FixedZone("", 8*60*60)) }

func rfc3339(t time.Time) string { return beijing(t).Format(time.RFC3339) }

// The operations that [ReservedValue] names.
const (
	PermissionTokens = "permission-tokens" // 商户预授权
	BrandTokens      = "brand-tokens"      // 入会组件预授权, under both its paths
)

// ReservedValue is a value of a field for which an operation fails with a business error
// of its document.
type ReservedValue struct {
	Operation string // PermissionTokens or BrandTokens
	Field     string
	Value     string
	Status    int
	Code      string
	Message   string
}

// ReservedValues returns all reserved values. The first one that a request has determines
// the error.
func ReservedValues() []ReservedValue {
	return []ReservedValue{
		{PermissionTokens, "card_id", "pNoAuth", 403, "NO_AUTH", "商户暂无权限使用此功能"},
		{PermissionTokens, "card_id", "pRealtimeCode", 400, "INVALID_REQUEST", "扫码投放场景不支持实时code模式"},
		{PermissionTokens, "card_id", "pForeign", 400, "INVALID_REQUEST", "会员卡的创建商户号不等于调用方商户号"},
		{PermissionTokens, "card_id", "pOldCard", 400, "INVALID_REQUEST", "请先升级会员卡才能使用此功能"},
		{PermissionTokens, "card_id", "pUnknown", 400, "INVALID_REQUEST", "会员卡ID无效"},
		{PermissionTokens, "card_id", "pNotCreator", 400, "INVALID_REQUEST", "该商户号不是会员卡的创建商户号"},
		{PermissionTokens, "card_id", "pNoBenefit", 400, "INVALID_REQUEST", "需要上架至少一个积分权益、优惠权益"},
		{PermissionTokens, "card_id", "pNotOwner", 400, "INVALID_REQUEST", "商户号不属于该卡的创建方"},
		{PermissionTokens, "card_id", "pSystemError", 500, "SYSTEM_ERROR", "系统异常,请稍后重试"},
		{BrandTokens, "brand_id", "9999", 400, "INVALID_REQUEST", "会员卡模版ID不属于该品牌"},
		{BrandTokens, "openid", "oWrong", 400, "PARAM_ERROR", "OpenID有误"},
		{BrandTokens, "card_id", "pSystemError", 500, "SYSTEM_ERROR", "系统异常,请稍后重试"},
	}
}

// reserved refuses a request that has a reserved value.
func reserved(operation string, given map[string]string) *refusal {
	for _, v := range ReservedValues() {
		if v.Operation != operation || given[v.Field] != v.Value {
			continue
		}
		refused := refuse(v.Status, v.Code, "%s", v.Message)
		if v.Code == "PARAM_ERROR" {
			refused.Detail = detail{Field: "/" + v.Field, Value: v.Value, Issue: v.Message, Location: "body"}
		}
		return refused
	}
	return nil
}
