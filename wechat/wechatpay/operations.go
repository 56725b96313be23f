package wechatpay

import (
	"net/http"
	"strings"
	"time"

	"membercard/wechat/sandbox"
)

type (
	operation = sandbox.Operation[*Sandbox]
	field     = sandbox.Field
)

// serial is the need of an operation for the header Wechatpay-Serial.
const serial sandbox.Needs = 1

// operations are the operations. Each has the title of its document.
var operations = []operation{
	// 获取平台证书列表
	{Method: "GET", Path: "/v3/certificates", Serve: (*Sandbox).listCertificates},
	// 商户签名验签/加解密测试, 2026-04-08
	{Method: "POST", Path: "/v3/security/echo", Needs: serial, Serve: (*Sandbox).echo, Fields: []field{
		{Name: "notify_url", Title: "通知URL地址", Max: 256},
		{Name: "echo_message", Title: "回显信息", Required: true},
		{Name: "encrypted_echo_message", Title: "加密回显信息"},
	}},
	// 入会组件预授权, 2025-06-24, and under its path of 2025-11-19
	{Method: "POST", Path: "/v3/brand/partner/card-member/open-user-card-tokens", Limit: brandTokens, Fields: brandTokenFields, Serve: (*Sandbox).makeBrandToken},
	{Method: "POST", Path: "/v3/brand/partner/card-member/pre-auth-tokens", Limit: brandTokens, Fields: brandTokenFields, Serve: (*Sandbox).makeBrandToken},
	// 同步会员开通结果, 2025-06-22
	{Method: "POST", Path: "/v3/brand/partner/card-member/user-cards/{user_card_code}/confirm", Needs: serial, Limit: confirmations, Serve: (*Sandbox).confirmBrandCard, Fields: []field{
		{Name: "brand_id", Title: "品牌ID", Required: true, Max: 32},
		{Name: "card_id", Title: "会员卡模板 ID", Required: true, Max: 32},
		{Name: "openid", Title: "用户标识", Required: true, Max: 128},
		{Name: "user_card_confirm_state", Title: "用户会员卡确认状态", Required: true, Check: sandbox.OneOf("CREATE_CARD_SUCCESS", "CREATE_CARD_FAIL")},
		{Name: "card_color", Title: "会员卡颜色", Check: sandbox.Color},
		{Name: "card_picture_url", Title: "会员卡图片", Max: 256},
		{Name: "phone_number", Title: "手机号", Max: 512},
		{Name: "user_information", Title: "用户信息", Kind: sandbox.Object},
		{Name: "level", Title: "会员等级"},
		{Name: "valid_date_information", Title: "有效期信息", Kind: sandbox.Object, Members: []field{
			{Name: "type", Title: "有效期类型", Required: true, Check: sandbox.OneOf("FIX_TIME_RANGE", "FIX_TERM", "PERMANENT")},
			{Name: "available_begin_time", Title: "有效期开始时间", Check: sandbox.Time},
			{Name: "available_end_time", Title: "有效期结束时间", Check: sandbox.Time},
			{Name: "available_day_after_receive", Title: "领取后有效天数", Kind: sandbox.Integer},
		}},
		{Name: "attach", Title: "附加信息"},
	}},
	// 商户预授权, 2023-11-28
	{Method: "POST", Path: "/v3/marketing/membercard-open/cards/{card_id}/permission-tokens", Serve: (*Sandbox).makePermissionToken, Fields: []field{
		{Name: "activate_type", Title: "激活类型", Required: true, Max: 32, Check: sandbox.OneOf("AUTO_ACTIVATE", "JUMP_ACTIVATE")},
		{Name: "navigate_back_previous_page", Title: "设置用户在开卡完成后，是否返回拉起开卡组件的商家页面", Kind: sandbox.Boolean},
		{Name: "activate_url", Title: "跳转激活的URL", Max: 128},
		{Name: "activate_appid", Title: "跳转激活的AppID", Max: 32},
		{Name: "activate_path", Title: "跳转激活的path", Max: 128},
		{Name: "outer_str", Title: "自定义场景值", Max: 32, Check: sandbox.OuterStr},
	}},
	// 解密code
	{Method: "GET", Path: "/v3/marketing/membercard-open/cards/{card_id}/decrypt-code", Serve: (*Sandbox).decryptCode, Fields: []field{
		{Name: "encrypt_code", Title: "加密code", Required: true, Max: 128},
	}},
	// 查询用户填写的激活信息
	{Method: "GET", Path: "/v3/marketing/membercard-open/activate-informations/{activate_ticket}", Serve: (*Sandbox).activateInformation},
	// 激活会员卡
	{Method: "POST", Path: "/v3/marketing/membercard-open/cards/{card_id}/codes/{code}/activate", Serve: (*Sandbox).activateCard, Fields: []field{
		{Name: "membership_number", Title: "会员卡编号", Max: 32, Check: sandbox.HalfWidth},
	}},
	// 确认开卡结果, 2026-07
	{Method: "POST", Path: "/v3/marketing/membercard-open/cards/{card_id}/codes/{code}/confirm", Serve: (*Sandbox).confirmMerchantCard, Fields: []field{
		{Name: "user_card_confirm_state", Title: "用户会员卡确认状态", Required: true,
			Check: sandbox.OneOf("CREATE_CARD_SUCCESS", "CREATE_CARD_FAIL", "CREATE_CARD_ALREADY_EXISTS", "DEFAULT")},
		{Name: "fail_reason", Title: "失败原因", Max: 128},
	}},
	// 查询回调地址, 设置回调地址
	{Method: "GET", Path: "/v3/marketing/membercard-open/callback", Serve: (*Sandbox).getCallback},
	{Method: "PATCH", Path: "/v3/marketing/membercard-open/callback", Serve: (*Sandbox).setCallback, Fields: []field{
		{Name: "notify_url", Title: "通知URL地址", Required: true, Max: 256},
	}},
}

var brandTokenFields = []field{
	{Name: "brand_id", Title: "品牌ID", Required: true, Max: 32},
	{Name: "card_id", Title: "会员卡模板 ID", Required: true, Max: 32},
	{Name: "openid", Title: "用户标识", Required: true, Max: 128},
}

// segments are the names in the paths.
var segments = []field{
	{Name: "card_id", Title: "会员卡ID", Required: true, Max: 32},
	{Name: "code", Title: "用户会员卡code", Required: true, Max: 32},
	{Name: "user_card_code", Title: "用户会员卡code", Required: true, Max: 32},
	{Name: "activate_ticket", Title: "激活票据", Required: true, Max: 256},
}

func (s *Sandbox) listCertificates(r *Request) (any, error) {
	if !s.listed {
		return nil, refuse(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥。可查看指引https://pay.weixin.qq.com/docs/merchant/products/platform-certificate/wxp-pub-key-guide.html")
	}
	type item struct {
		SerialNo    string    `json:"serial_no"`
		Effective   string    `json:"effective_time"`
		Expire      string    `json:"expire_time"`
		Certificate encrypted `json:"encrypt_certificate"`
	}
	var list struct {
		Data []item `json:"data"`
	}
	signer := s.signer(r)
	for _, k := range s.certificates {
		list.Data = append(list.Data, item{
			SerialNo:    k.id,
			Effective:   rfc3339(k.certificate.NotBefore),
			Expire:      rfc3339(k.certificate.NotAfter),
			Certificate: encrypt(signer.apiv3Key, encodePEM("CERTIFICATE", k.certificate.Raw), "certificate"),
		})
	}
	return list, nil
}

func (s *Sandbox) makePermissionToken(r *Request) (any, error) {
	if r.Given["activate_type"] == "JUMP_ACTIVATE" && r.Given["activate_url"] == "" && r.Given["activate_appid"] == "" {
		return nil, &sandbox.Issue{Field: "/activate_type", Value: "JUMP_ACTIVATE", Location: "body",
			Text: "激活类型是JUMP_ACTIVATE时,必须设置activate_url或activate_appid"}
	}
	cardID := r.Segment("card_id")
	if err := reserved(PermissionTokens, map[string]string{"card_id": cardID}); err != nil {
		return nil, err
	}
	value := sandbox.RandomText(104)
	s.tokens[value] = &token{merchant: s.signer(r), cardID: cardID, permission: r.Given}
	return map[string]string{"permission_token": value}, nil
}

func (s *Sandbox) makeBrandToken(r *Request) (any, error) {
	if err := reserved(BrandTokens, r.Given); err != nil {
		return nil, err
	}
	value, expires := strings.ToLower(sandbox.RandomText(32)), r.Time.Add(time.Hour)
	s.tokens[value] = &token{
		merchant: s.signer(r), expires: expires,
		brandID: r.Given["brand_id"], cardID: r.Given["card_id"], openid: r.Given["openid"],
	}
	return map[string]string{
		"token":       value,
		"expire_time": sandbox.Beijing(expires).Format("2006-01-02T15:04:05.000-07:00"),
	}, nil
}

func rfc3339(t time.Time) string { return sandbox.Beijing(t).Format(time.RFC3339) }

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
func reserved(operation string, given map[string]string) error {
	for _, v := range ReservedValues() {
		switch {
		case v.Operation != operation || given[v.Field] != v.Value:
		case v.Code == "PARAM_ERROR":
			return &sandbox.Issue{Field: "/" + v.Field, Value: v.Value, Text: v.Message, Location: "body"}
		default:
			return refuse(v.Status, v.Code, v.Message)
		}
	}
	return nil
}
