package wechatpay

// This file has APIv3's rules for all requests.

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"membercard/wechat/sandbox"
)

const (
	scheme  = "WECHATPAY2-SHA256-RSA2048"
	maxSkew = 5 * time.Minute // between a request's timestamp and the sandbox's clock
)

func unauthorized(message string) error {
	return refuse(http.StatusUnauthorized, "SIGN_ERROR", "Http头Authorization"+message)
}

// part is one of the five parts of the header Authorization, which are in any order:
//
//	WECHATPAY2-SHA256-RSA2048 mchid="…",nonce_str="…",signature="…",timestamp="…",serial_no="…"
var part = regexp.MustCompile(`^(mchid|serial_no|nonce_str|timestamp|signature)="([^" ]+)"$`)

func parseAuthorization(header []string) (a sandbox.Authorization, err error) {
	malformed := unauthorized("值格式错误，请参考《微信支付商户REST API签名规则》")
	if len(header) != 1 {
		return a, malformed
	}
	name, rest, _ := strings.Cut(header[0], " ")
	if name != scheme {
		return a, unauthorized("认证类型不正确，应为" + scheme)
	}
	given := make(map[string]string)
	parts := strings.Split(rest, ",")
	for _, text := range parts {
		if p := part.FindStringSubmatch(text); p != nil {
			given[p[1]] = p[2]
		}
	}
	if len(parts) != 5 || len(given) != 5 {
		return a, malformed
	}
	return sandbox.Authorization{
		MchID: given["mchid"], SerialNo: given["serial_no"], NonceStr: given["nonce_str"], Timestamp: given["timestamp"], Signature: given["signature"],
	}, nil
}

// authorize checks that a merchant signed the request within maxSkew and that it is not a
// replay. It sets r.Authorization and r.Verified.
func (s *Sandbox) authorize(r *Request) (err error) {
	if r.Authorization, err = parseAuthorization(r.Header["Authorization"]); err != nil {
		return err
	}
	a := r.Authorization
	signer, known := s.find(a.MchID, a.SerialNo, r.Time)
	if !known {
		return unauthorized("中的商户号mchid不存在")
	}
	if signer == nil {
		return refuse(http.StatusUnauthorized, "SIGN_ERROR", "商户证书序列号有误。请使用签名私钥匹配的证书序列号")
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s\n", r.Method, r.URI, a.Timestamp, a.NonceStr, r.Body))
	signature, err := base64.StdEncoding.Strict().DecodeString(a.Signature)
	if err != nil || rsa.VerifyPKCS1v15(signer.key, crypto.SHA256, sum[:], signature) != nil {
		return refuse(http.StatusUnauthorized, "SIGN_ERROR", "错误的签名，验签失败")
	}
	r.Verified = true

	seconds, err := strconv.ParseUint(a.Timestamp, 10, 32)
	if err != nil || r.Time.Sub(time.Unix(int64(seconds), 0)).Abs() > maxSkew {
		return unauthorized("中的timestamp与当前时间相差超过5分钟")
	}
	if !s.nonces.add(a.NonceStr, a.Signature, r.Time) {
		return unauthorized("中的nonce_str已被使用过")
	}
	return nil
}

// nonces remembers the signatures with each nonce for at least as long as a request can be
// replayed, and at most twice as long.
type nonces struct {
	since      time.Time // when fresh was created
	fresh, old map[string]string
}

// add reports whether the nonce is new, or belongs to the same request: libraries send a
// request again as it is.
func (n *nonces) add(nonce, signature string, now time.Time) bool {
	// A request is accepted from maxSkew before until maxSkew after its timestamp.
	if n.fresh == nil || now.Sub(n.since) > 2*maxSkew {
		n.since, n.old, n.fresh = now, n.fresh, make(map[string]string)
	}
	for _, seen := range []map[string]string{n.fresh, n.old} {
		if first, ok := seen[nonce]; ok {
			return first == signature
		}
	}
	n.fresh[nonce] = signature
	return true
}

// checkHeader checks Accept and User-Agent. The documents require application/json; WeChat
// Pay's own Go SDK sends */*.
func checkHeader(h http.Header) error {
	accept := strings.Join(h.Values("Accept"), ",")
	if accept == "" || h.Get("User-Agent") == "" {
		return refuse(http.StatusBadRequest, "PARAM_ERROR", "Http头缺少Accept或User-Agent")
	}
	if !strings.Contains(accept, "application/json") && !strings.Contains(accept, "*/*") && !strings.Contains(accept, "application/*") {
		return invalidRequest("Http头Accept应为application/json")
	}
	return nil
}

// checkSerial refuses a request whose Wechatpay-Serial is not one of the sandbox's keys.
func (s *Sandbox) checkSerial(h http.Header) error {
	serial := h.Get("Wechatpay-Serial")
	if serial == "" || s.keyNamed(serial) != nil {
		return nil
	}
	return &sandbox.Issue{Field: "Wechatpay-Serial", Value: serial, Text: "平台证书序列号Wechatpay-Serial错误", Location: "header"}
}

// serialRequired refuses a request without the header Wechatpay-Serial.
func serialRequired() error {
	return &sandbox.Issue{Field: "Wechatpay-Serial", Text: "HTTP header缺少微信支付平台证书序列号(Wechatpay-Serial)", Location: "header"}
}

// checkBody checks the Content-Type, and that the body has only characters of up to three
// bytes in UTF-8, also where they are escaped.
func checkBody(r *Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return invalidRequest("Http头Content-Type应为application/json")
	}
	var body any
	_ = json.Unmarshal(r.Body, &body) // Parse refuses what is not JSON
	if bytes.ContainsFunc(sandbox.JSON(body), func(c rune) bool { return c > 0xffff }) {
		return &sandbox.Issue{Text: "请求报文只支持UTF-8编码的1至3字节的字符", Location: "body"}
	}
	return nil
}
