package wechatpay

// This file has APIv3's rules for all requests.

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	scheme  = "WECHATPAY2-SHA256-RSA2048"
	maxSkew = 5 * time.Minute // between a request's timestamp and the sandbox's clock
)

// Authorization is a parsed Authorization header. All parts are empty if it is malformed.
type Authorization struct {
	MchID     string
	SerialNo  string // of the merchant's certificate, in hexadecimal
	NonceStr  string
	Timestamp string // seconds since 1970
	Signature string // base64
}

// parseAuthorization parses a header of exactly five parts in any order:
//
//	WECHATPAY2-SHA256-RSA2048 mchid="…",nonce_str="…",signature="…",timestamp="…",serial_no="…"
func parseAuthorization(header []string) (Authorization, *refusal) {
	malformed := refuse(http.StatusUnauthorized, "SIGN_ERROR",
		"Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》")
	if len(header) != 1 {
		return Authorization{}, malformed
	}
	name, rest, _ := strings.Cut(header[0], " ")
	if name != scheme {
		return Authorization{}, refuse(http.StatusUnauthorized, "SIGN_ERROR",
			"Http头Authorization认证类型不正确，应为%s", scheme)
	}
	var a Authorization
	parts := map[string]*string{
		"mchid":     &a.MchID,
		"serial_no": &a.SerialNo,
		"nonce_str": &a.NonceStr,
		"timestamp": &a.Timestamp,
		"signature": &a.Signature,
	}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(part, "=")
		to, ok := parts[name]
		delete(parts, name) // a second one is malformed
		if !ok || len(value) < 3 || value[0] != '"' || value[len(value)-1] != '"' {
			return Authorization{}, malformed
		}
		if *to = value[1 : len(value)-1]; strings.ContainsAny(*to, "\" ") {
			return Authorization{}, malformed
		}
	}
	if len(parts) != 0 {
		return Authorization{}, malformed
	}
	return a, nil
}

// authorize checks that a merchant signed the request within maxSkew and that it is not a
// replay. It sets r.Authorization, r.Verified and r.account.
func (s *Sandbox) authorize(r *Request) *refusal {
	var refused *refusal
	if r.Authorization, refused = parseAuthorization(r.Header["Authorization"]); refused != nil {
		return refused
	}
	a := r.Authorization
	unauthorized := func(message string) *refusal {
		return refuse(http.StatusUnauthorized, "SIGN_ERROR", "%s", message)
	}
	signer, known := s.account(a.MchID, a.SerialNo, r.Time)
	if !known {
		return unauthorized("Http头Authorization中的商户号mchid不存在")
	}
	if signer == nil {
		return unauthorized("商户证书序列号有误。请使用签名私钥匹配的证书序列号")
	}
	message := fmt.Sprintf("%s\n%s\n%s\n%s\n%s\n", r.Method, r.URI, a.Timestamp, a.NonceStr, r.Body)
	sum := sha256.Sum256([]byte(message))
	signature, err := base64.StdEncoding.Strict().DecodeString(a.Signature)
	if err != nil || rsa.VerifyPKCS1v15(signer.key, crypto.SHA256, sum[:], signature) != nil {
		refused := unauthorized("错误的签名，验签失败")
		refused.Detail = signatureDetail(r, message)
		return refused
	}
	r.Verified, r.account = true, signer

	seconds, err := strconv.ParseUint(a.Timestamp, 10, 32)
	if err != nil || r.Time.Sub(time.Unix(int64(seconds), 0)).Abs() > maxSkew {
		return unauthorized("Http头Authorization中的timestamp与当前时间相差超过5分钟")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.nonces.add(a.NonceStr, r.Time) {
		return unauthorized("Http头Authorization中的nonce_str已被使用过")
	}
	return nil
}

// signatureDetail returns the detail of a wrong signature in WeChat Pay's format, which has
// the message that should have been signed.
func signatureDetail(r *Request, message string) any {
	const shown = 256 // bytes
	return map[string]any{
		"field":    "signature",
		"location": "authorization",
		"detail":   map[string]string{"issue": "sign not match"},
		"sign_information": map[string]any{
			"method":                 r.Method,
			"url":                    r.URI,
			"sign_message_length":    len(message),
			"truncated_sign_message": strings.ToValidUTF8(message[:min(len(message), shown)], ""),
		},
	}
}

// nonces remembers nonces for at least as long as a request can be replayed, and at most
// twice as long.
type nonces struct {
	since      time.Time // when fresh was created
	fresh, old map[string]struct{}
}

// add reports whether the nonce is new.
func (n *nonces) add(nonce string, now time.Time) bool {
	// A request is accepted from maxSkew before until maxSkew after its timestamp.
	if n.fresh == nil || now.Sub(n.since) > 2*maxSkew {
		n.since, n.old, n.fresh = now, n.fresh, make(map[string]struct{})
	}
	_, fresh := n.fresh[nonce]
	_, old := n.old[nonce]
	n.fresh[nonce] = struct{}{}
	return !fresh && !old
}

// checkHeader checks Accept and User-Agent.
func checkHeader(h http.Header) *refusal {
	if h.Get("Accept") == "" || h.Get("User-Agent") == "" {
		return refuse(http.StatusBadRequest, "PARAM_ERROR", "Http头缺少Accept或User-Agent")
	}
	if !acceptsJSON(h.Values("Accept")) {
		return refuse(http.StatusBadRequest, "INVALID_REQUEST", "Http头Accept应为application/json")
	}
	return nil
}

// acceptsJSON reports whether an Accept header includes application/json. WeChat Pay's
// documents require that value, but its own Go SDK sends */*.
func acceptsJSON(accept []string) bool {
	for ranges := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		switch kind, params, err := mime.ParseMediaType(ranges); {
		case err != nil, params["q"] != "" && strings.Trim(params["q"], "0.") == "":
			// Malformed, or excluded by a weight of zero.
		case kind == "application/json", kind == "application/*", kind == "*/*":
			return true
		}
	}
	return false
}

// checkSerial refuses a request whose Wechatpay-Serial is not one of the sandbox's keys.
func (s *Sandbox) checkSerial(h http.Header) *refusal {
	serial := h.Get("Wechatpay-Serial")
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.keyNamed(serial); ok || serial == "" {
		return nil
	}
	refused := refuse(http.StatusBadRequest, "PARAM_ERROR", "Http头Wechatpay-Serial错误，不是有效的微信支付公钥ID或平台证书序列号")
	refused.Detail = detail{Field: "Wechatpay-Serial", Value: serial, Issue: "unknown serial number", Location: "header"}
	return refused
}

// checkContentType checks the Content-Type of a request with a body.
func checkContentType(h http.Header) *refusal {
	if kind, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || kind != "application/json" {
		return refuse(http.StatusBadRequest, "INVALID_REQUEST", "Http头Content-Type应为application/json")
	}
	return nil
}
