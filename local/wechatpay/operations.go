package wechatpay

// This file has the operations: the rules of their documents, and their answers.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"membercard/local/sandbox"
)

// process returns the answer to a request, or its refusal, and fills in who sent
// it.
func (s *Sandbox) process(r *http.Request, received *Request) (any, *refusal) {
	op, refused := route(r.Method, r.URL.EscapedPath())
	// All checks are made, so that the log always has the result of authorize.
	refused = cmp.Or(refused, checkHeader(r.Header), s.authorize(received), s.checkSerial(r.Header))
	if refused != nil {
		return nil, refused
	}
	return op(s, received)
}

// operation serves an authorized request.
type operation func(*Sandbox, *Request) (any, *refusal)

// route returns the operation of a path, which is still escaped.
func route(method, path string) (operation, *refusal) {
	allow := http.MethodPost
	var op operation
	switch path {
	case "/v3/certificates":
		allow, op = http.MethodGet, (*Sandbox).listCertificates
	case "/v3/brand/partner/card-member/open-user-card-tokens", "/v3/brand/partner/card-member/pre-auth-tokens":
		op = (*Sandbox).makeBrandToken
	default:
		id, ok := strings.CutPrefix(path, "/v3/marketing/membercard-open/cards/")
		id, ok2 := strings.CutSuffix(id, "/permission-tokens")
		cardID, err := url.PathUnescape(id)
		if !ok || !ok2 || strings.Contains(id, "/") || err != nil {
			return nil, refuse(http.StatusNotFound, "NOT_FOUND", "请求的资源不存在")
		}
		op = func(s *Sandbox, r *Request) (any, *refusal) { return s.makePermissionToken(cardID, r) }
	}
	if method != allow {
		refused := refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "不支持的请求方法%s", method)
		refused.allow = allow
		return nil, refused
	}
	return op, nil
}

// listCertificates is 获取平台证书列表.
func (s *Sandbox) listCertificates(*Request) (any, *refusal) {
	type item struct {
		SerialNo    string               `json:"serial_no"`
		Effective   string               `json:"effective_time"`
		Expire      string               `json:"expire_time"`
		Certificate encryptedCertificate `json:"encrypt_certificate"`
	}
	var list struct {
		Data []item `json:"data"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.certificates {
		list.Data = append(list.Data, item{
			SerialNo:    k.id,
			Effective:   beijing(k.certificate.NotBefore).Format(time.RFC3339),
			Expire:      beijing(k.certificate.NotAfter).Format(time.RFC3339),
			Certificate: encryptCertificate(s.apiv3Key, k.certificate),
		})
	}
	return list, nil
}

// makePermissionToken is 商户预授权.
func (s *Sandbox) makePermissionToken(cardID string, r *Request) (any, *refusal) {
	if n := utf8.RuneCountInString(cardID); n < 1 || n > 32 {
		return nil, invalid("url", "card_id", cardID, lengthIssue("/url/card_id", "会员卡ID", n, 1, 32))
	}
	given, refused := parse(r, []field{
		{name: "activate_type", title: "激活类型", required: true, max: 32, check: checkActivateType},
		{name: "navigate_back_previous_page", title: "设置用户在开卡完成后，是否返回拉起开卡组件的商家页面", boolean: true},
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
	return map[string]string{"permission_token": sandbox.RandomText(104)}, nil
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
	allowed := s.brandTokens.allow(r.Time)
	s.mu.Unlock()
	if !allowed {
		return nil, refuse(http.StatusTooManyRequests, "FREQUENCY_LIMITED", "请求频率超过限制，请稍后重试")
	}
	if refused := reserved(BrandTokens, given); refused != nil {
		return nil, refused
	}
	return map[string]string{
		"token":       strings.ToLower(sandbox.RandomText(32)),
		"expire_time": beijing(r.Time).Add(time.Hour).Format("2006-01-02T15:04:05.000-07:00"),
	}, nil
}

func beijing(t time.Time) time.Time { return t.In(time.FixedZone("", 8*60*60)) }

// field is a rule of a document for a member of the body's JSON object: a
// string of at most max characters, or a boolean.
type field struct {
	name     string
	title    string // what the document calls it
	required bool
	boolean  bool
	max      int
	check    func(value string) (issue string) // of a value that is not empty
}

// parse reads the string fields of a JSON object. Unknown members are ignored.
func parse(r *Request, fields []field) (map[string]string, *refusal) {
	if refused := checkContentType(r.Header); refused != nil {
		return nil, refused
	}
	var members map[string]json.RawMessage
	if !utf8.Valid(r.Body) || json.Unmarshal(r.Body, &members) != nil || members == nil {
		return nil, invalid("body", "", "", "请求报文不是合法的JSON对象")
	}
	given := make(map[string]string)
	for _, f := range fields {
		pointer := "/" + f.name
		raw, sent := members[f.name]
		if !sent || bytes.Equal(raw, []byte("null")) {
			if f.required {
				return nil, invalid("body", pointer, "",
					fmt.Sprintf("输入源“/body%s”映射到字段“%s”必填性规则校验失败，此字段为必填项", pointer, f.title))
			}
			continue
		}
		var value string
		var to, kind any = &value, "字符串"
		if f.boolean {
			to, kind = new(bool), "布尔值"
		}
		if json.Unmarshal(raw, to) != nil {
			return nil, invalid("body", pointer, string(raw),
				fmt.Sprintf("无法将 JSON 输入源“/body%s”映射到目标字段“%s”中，此字段需要一个合法的%s", pointer, f.title, kind))
		}
		if f.boolean {
			continue
		}
		least := 0
		if f.required {
			least = 1
		}
		if n := utf8.RuneCountInString(value); n < least || n > f.max {
			return nil, invalid("body", pointer, value, lengthIssue("/body"+pointer, f.title, n, least, f.max))
		}
		if f.check != nil && value != "" {
			if issue := f.check(value); issue != "" {
				return nil, invalid("body", pointer, value,
					fmt.Sprintf("输入源“/body%s”映射到值字段“%s”校验失败，%s", pointer, f.title, issue))
			}
		}
		given[f.name] = value
	}
	return given, nil
}

func checkActivateType(value string) string {
	if value == "AUTO_ACTIVATE" || value == "JUMP_ACTIVATE" {
		return ""
	}
	return "取值应为AUTO_ACTIVATE或JUMP_ACTIVATE"
}

func checkOuterStr(value string) string {
	for _, c := range value {
		if c <= unicode.MaxASCII && unicode.IsGraphic(c) && c != ' ' || unicode.Is(unicode.Han, c) {
			continue
		}
		return "只能录入数字及中英文/半角标点"
	}
	return ""
}

func lengthIssue(source, title string, n, least, most int) string {
	limit := fmt.Sprintf("大于最大值 %d", most)
	if n < least {
		limit = fmt.Sprintf("小于最小值 %d", least)
	}
	return fmt.Sprintf("输入源“%s”映射到值字段“%s”字符串规则校验失败，字符数 %d，%s", source, title, n, limit)
}

// detail names the parameter at fault: by a JSON pointer into the body, or by its
// name if the location is elsewhere.
type detail struct {
	Field    string `json:"field"`
	Value    string `json:"value"`
	Issue    string `json:"issue"`
	Location string `json:"location"`
}

// invalid refuses a parameter.
func invalid(location, field, value, issue string) *refusal {
	refused := refuse(http.StatusBadRequest, "PARAM_ERROR", "%s", issue)
	refused.Detail = detail{Field: field, Value: value, Issue: issue, Location: location}
	return refused
}

// The operations that [ReservedValue] names.
const (
	PermissionTokens = "permission-tokens" // 商户预授权
	BrandTokens      = "brand-tokens"      // 入会组件预授权, under both its paths
)

// ReservedValue makes an operation fail with a business error of its document.
type ReservedValue struct {
	Operation string // PermissionTokens or BrandTokens
	Field     string
	Value     string
	Status    int
	Code      string
	Message   string
}

// ReservedValues lists all reserved values. If a request has several, the first in
// the list counts.
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

// reserved refuses a request with a reserved value.
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
