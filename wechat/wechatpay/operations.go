package wechatpay

import (
	_ "embed"
	"net/http"
	"strings"
	"sync"
	"time"

	"membercard/wechat/sandbox"
)

//go:embed operations.json
var table []byte

var api = sync.OnceValue(func() sandbox.API { return sandbox.ParseAPI(table) })

// operations are what the operations of operations.json do, by name. An answer of nil
// is 204.
var operations = map[string]func(s *Sandbox, r *Request) (answer any, err error){
	"certificates":          (*Sandbox).listCertificates,
	"echo":                  (*Sandbox).echo,
	PermissionTokens:        (*Sandbox).makePermissionToken,
	BrandTokens:             (*Sandbox).makeBrandToken,
	"brand-confirm":         (*Sandbox).confirmBrandCard,
	"decrypt-code":          (*Sandbox).decryptCode,
	"activate-information":  (*Sandbox).activateInformation,
	"activate":              (*Sandbox).activateCard,
	"merchant-confirm":      (*Sandbox).confirmMerchantCard,
	"brand-card":            (*Sandbox).queryBrandCard,
	"brand-cards":           (*Sandbox).listBrandCards,
	"merchant-card":         (*Sandbox).queryMerchantCard,
	"merchant-cards":        (*Sandbox).listMerchantCards,
	"add-service-module":    (*Sandbox).addServiceModule,
	"change-service-module": (*Sandbox).changeServiceModule,
	"remove-service-module": (*Sandbox).removeServiceModule,
	"get-callback":          (*Sandbox).getCallback,
	"set-callback":          (*Sandbox).setCallback,
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
	value := sandbox.RandomText(104)
	s.tokens[value] = &token{merchant: s.signer(r), cardID: r.Segment("card_id"), permission: r.Given}
	return map[string]string{"permission_token": value}, nil
}

func (s *Sandbox) makeBrandToken(r *Request) (any, error) {
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
	sandbox.Reserved
}

// ReservedValues returns all reserved values. The first one that a request has determines
// the error.
func ReservedValues() (values []ReservedValue) {
	for _, o := range api().Operations {
		for _, v := range o.Reserved {
			values = append(values, ReservedValue{o.Name, v})
		}
	}
	return values
}
