// Package signingtest is for the tests of functions that make signed calls. It has a
// merchant, and a fake WeChat Pay behind TLS that signs its answers. The fake accepts any
// request; the sandbox in wechat/ refuses what the real WeChat Pay would refuse.
//
// A function's test has a few lines and the tables of its rules:
//
//	func TestMain(m *testing.M) { tlsdialtest.Main(m) }
//
//	var operation = signingtest.Of(mint)
//
//	func post(card, body string) gatewaytest.Event {
//		return gatewaytest.Request("POST /cards/{card_id}/permission-tokens", body, card)
//	}
package signingtest

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing"
	"membercard/shared/signing/wechatpaytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

// Merchant returns a merchant who has the key with which [WeChatPay] signs.
func Merchant(t testing.TB) *signing.Merchant {
	t.Helper()
	m, err := signing.ParseMerchant([]byte(wechatpaytest.Secret()))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Source returns a source of the merchant.
func Source(t testing.TB) *gatewaytest.Source[signing.Merchant] {
	t.Helper()
	return &gatewaytest.Source[signing.Merchant]{Secret: Merchant(t)}
}

// Client returns a client that calls WeChat Pay at endpoint.
func Client(from signing.Source, endpoint string) *signing.Client {
	return signing.NewClient(from, upstream.New([]string{endpoint}))
}

// RequestID is the Request-ID of every answer of [WeChatPay].
const RequestID = "08F78BB5AF0610D302"

// WeChatPay starts a server that gives every call the same signed answer. received
// returns the calls one by one, such as "POST /path body" or "GET /path?query", and
// then "".
func WeChatPay(t testing.TB, status int, answer string) (endpoint string, received func() string) {
	return Serve(t, func(string, http.Header) (int, string, string) { return status, answer, answer })
}

// Serve is [WeChatPay] with an answer to each call, signed as the answer signed, and with
// further headers. Calls may come at the same time.
func Serve(t testing.TB, answers func(call string, header http.Header) (status int, answer, signed string)) (endpoint string, received func() string) {
	var mu sync.Mutex
	var calls []string
	s := tlsdialtest.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		call := strings.TrimSuffix(r.Method+" "+r.URL.RequestURI()+" "+string(body), " ")
		mu.Lock()
		calls = append(calls, call)
		mu.Unlock()
		status, answer, signed := answers(call, w.Header())
		_, key := wechatpaytest.Keys()
		wechatpaytest.Sign(w.Header(), signed, wechatpaytest.PublicKeyID, key, time.Now())
		w.Header().Set("Request-ID", RequestID)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	return s.URL, func() (call string) {
		mu.Lock()
		defer mu.Unlock()
		if len(calls) > 0 {
			call, calls = calls[0], calls[1:]
		}
		return call
	}
}
