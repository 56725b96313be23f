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
	s.Do(func() { s.local, s.brandAddress, s.merchantAddress = address, address, address })
}

// NotifyWith adds headers to requests to the address of [Sandbox.NotifyAt], which a proxy
// in front of it may require. They are not in [Attempt.Header].
func (s *Sandbox) NotifyWith(header http.Header) { s.Do(func() { s.localHeader = header }) }

// checkAddress checks the notify_url of a request.
func (s *Sandbox) checkAddress(address string) error {
	u, err := url.Parse(address)
	if address == "" || address == s.local ||
		err == nil && u.Scheme == "https" && u.Host != "" && !u.ForceQuery && u.RawQuery == "" && u.Fragment == "" {
		return nil
	}
	return &sandbox.Issue{Field: "/notify_url", Value: address, Text: "通知URL地址应为不携带参数的https地址", Location: "body"}
}

func (s *Sandbox) getCallback(r *Request) (any, error) {
	return map[string]string{"notify_url": s.merchantAddress, "mchid": r.Authorization.MchID}, nil
}

func (s *Sandbox) setCallback(r *Request) (any, error) {
	if err := s.checkAddress(r.Given["notify_url"]); err != nil {
		return nil, err
	}
	s.merchantAddress = r.Given["notify_url"]
	return s.getCallback(r)
}

func (s *Sandbox) echo(r *Request) (any, error) {
	if err := s.checkAddress(r.Given["notify_url"]); err != nil {
		return nil, err
	}
	signer, message := s.signer(r), map[string]string{"echo_message": r.Given["echo_message"]}
	answer := map[string]string{"echo_message": message["echo_message"]}
	if ciphertext := r.Given["encrypted_echo_message"]; ciphertext != "" {
		plain, err := s.decrypt(r, "/encrypted_echo_message", ciphertext)
		if err != nil {
			return nil, err
		}
		back := sandbox.Must(rsa.EncryptOAEP(sha1.New(), rand.Reader, signer.key, plain, nil)) // no key is shorter than ours
		answer["encrypted_echo_message"] = base64.StdEncoding.EncodeToString(back)
	}
	s.notify(r.Given["notify_url"], notification{event: "SECURITY_ECHO.SUCCESS", to: signer}, "回显成功", "security_echo", "", message)
	return answer, nil
}
