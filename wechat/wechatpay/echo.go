package wechatpay

// This file has the addresses of notifications and the self-test of the merchant's keys.

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/url"

	"membercard/wechat/sandbox"
)

// NotifyAt sets the address of notifications of brand cards (the notify_url of their
// templates) and of merchant cards (the callback address). If it is empty, which is the
// default, none are sent. Unlike an address in a request, it may use http.
func (s *Sandbox) NotifyAt(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local, s.brandAddress, s.merchantAddress = address, address, address
}

// NotifyWith adds headers to requests to the address of [Sandbox.NotifyAt], which a proxy
// in front of it may require. They are not in [Attempt.Header].
func (s *Sandbox) NotifyWith(header http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.localHeader = header
}

// notifyURL returns the rule for an address in a request.
func (s *Sandbox) notifyURL(required bool) field {
	return field{name: "notify_url", title: "通知URL地址", required: required, max: 256, check: func(value string) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		u, err := url.Parse(value)
		if value == s.local || err == nil && u.Scheme == "https" && u.Host != "" && !u.ForceQuery && u.RawQuery == "" && u.Fragment == "" {
			return ""
		}
		return "应为不携带参数的https地址"
	}}
}

// getCallback is 查询回调地址.
func (s *Sandbox) getCallback(r *Request) (any, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"notify_url": s.merchantAddress, "mchid": r.account.mchID}, nil
}

// setCallback is 设置回调地址.
func (s *Sandbox) setCallback(r *Request) (any, *refusal) {
	given, refused := parse(r, []field{s.notifyURL(true)})
	if refused != nil {
		return nil, refused
	}
	s.mu.Lock()
	s.merchantAddress = given["notify_url"]
	s.mu.Unlock()
	return s.getCallback(r)
}

// echo is 商户签名验签/加解密测试.
func (s *Sandbox) echo(r *Request) (any, *refusal) {
	if r.Header.Get("Wechatpay-Serial") == "" {
		return nil, serialRequired()
	}
	given, refused := parse(r, []field{
		s.notifyURL(false),
		{name: "echo_message", title: "回显信息", required: true},
		{name: "encrypted_echo_message", title: "加密回显信息"},
	})
	if refused != nil {
		return nil, refused
	}
	answer := map[string]string{"echo_message": given["echo_message"]}
	if ciphertext := given["encrypted_echo_message"]; ciphertext != "" {
		plain, refused := s.decrypt(r, "/encrypted_echo_message", ciphertext)
		if refused != nil {
			return nil, refused
		}
		back := sandbox.Must(rsa.EncryptOAEP(sha1.New(), rand.Reader, r.account.key, plain, nil)) // no key is shorter than ours
		answer["encrypted_echo_message"] = base64.StdEncoding.EncodeToString(back)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify(given["notify_url"], notification{event: "SECURITY_ECHO.SUCCESS", to: r.account}, "回显成功", "security_echo", "",
		map[string]string{"echo_message": given["echo_message"]})
	return answer, nil
}
