package main

import (
	"io"
	"net"
	"net/http"

	"membercard/wechat/officialaccount"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

// proxy is an HTTP proxy that sends connections to WeChat's hosts to the sandboxes, and
// refuses all others. It also does what a customer does, in the place of the WeChat app.
type proxy struct {
	addresses map[string]string // by host and port
	customer  http.Handler
}

func newProxy(pay *wechatpay.Sandbox, account *officialaccount.Sandbox) *proxy {
	p := &proxy{addresses: make(map[string]string)}
	for i, host := range sandbox.PayHosts {
		p.addresses[host+":443"] = pay.Listener(i % 2).Addr().String()
	}
	for i, host := range sandbox.AccountHosts {
		p.addresses[host+":443"] = account.Listener(i).Addr().String()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /open", func(w http.ResponseWriter, r *http.Request) {
		card, jump, err := pay.OpenCard(r.FormValue("token"), r.FormValue("openid"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		answer(w, map[string]any{"code": card.Code, "state": card.State, "jump": jump})
	})
	mux.HandleFunc("POST /delete", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]bool{"deleted": pay.DeleteCard(r.FormValue("code"))})
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) { // wx.login, and the redirect of a page
		openid := r.FormValue("openid")
		answer(w, map[string]string{"js_code": account.LoginCode(openid), "code": account.OAuthCode(openid)})
	})
	// A page of a stranger may be open in the developer's browser.
	p.customer = http.NewCrossOriginProtection().Handler(mux)
	return p
}

func answer(w http.ResponseWriter, content any) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(sandbox.JSON(content), '\n'))
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		p.customer.ServeHTTP(w, r)
		return
	}
	address, ok := p.addresses[r.Host]
	if !ok {
		http.Error(w, "the sandbox stands for WeChat's hosts only", http.StatusForbidden)
		return
	}
	server, err := net.Dial("tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, read, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() {
		defer client.Close() // ends the other direction
		_, _ = io.Copy(client, server)
	}()
	_, _ = io.Copy(server, read) // an error ends the tunnel, as the end of a side does
}
