// Package playground serves the sample page of examples/h5 from an origin of its
// own, as a merchant's shop has, and what it needs besides: logins without WeChat,
// a backend for the routes that pages may not call, the requests that the sandboxes
// received, customers who open cards, and fault injection.
package playground

import (
	"encoding/json"
	"mime"
	"net/http"
	"path/filepath"

	"membercard/local/sandbox"
	"membercard/local/stack"
	"membercard/local/wechatpay"
)

// sampleOpenID is the user who is logged in, from the documents.
const sampleOpenID = "obLatjnx9gnqzS4myYGmLZ7LgLBA"

// settings are the page's.
type settings struct {
	API     string `json:"api"`             // its URL
	Auth    string `json:"auth"`            // none, iam, jwt or wechat
	Token   string `json:"token,omitempty"` // a JWT, where auth is jwt
	Backend string `json:"backend"`         // URL of an API for what only AWS_IAM may call
	Login   bool   `json:"login"`           // there is POST /login
	Faults  bool   `json:"faults"`          // there are POST /break, POST /open and GET /journey
}

// Handler serves the page h5 in examplesDir. The API of s authorizes callers by
// auth: none, iam, jwt or wechat. Where s calls the real WeChat, the routes that
// need a sandbox are missing, and all but the page's files need the token of s.Guard.
func Handler(s *stack.Stack, auth string, examplesDir string) http.Handler {
	mux := http.NewServeMux()
	const page = "GET /"
	mux.Handle(page, files(filepath.Join(examplesDir, "h5"), s.Guard.Token != ""))
	mux.HandleFunc("GET /playground.json", func(w http.ResponseWriter, r *http.Request) {
		known := settings{API: s.URL, Auth: auth, Backend: backendPath, Login: s.OfficialAccount != nil, Faults: s.WeChatPay != nil}
		if auth == stack.AuthJWT {
			known.Token = s.Token()
		}
		answer(w, http.StatusOK, known)
	})
	mux.HandleFunc("GET /received", func(w http.ResponseWriter, r *http.Request) { serveReceived(w, r, s) })
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		mux.Handle(method+" "+backendPath+"/", http.StripPrefix(backendPath, backend(s.URL)))
	}
	if account := s.OfficialAccount; account != nil {
		mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
			answer(w, http.StatusOK, map[string]string{"code": account.OAuthCode(sampleOpenID)})
		})
	}
	if pay := s.WeChatPay; pay != nil {
		c := newCustomer(s)
		mux.HandleFunc("POST /break", func(w http.ResponseWriter, r *http.Request) { serveBreak(w, r, pay, c) })
		mux.HandleFunc("POST /open", c.serveOpen)
		mux.HandleFunc("GET /journey", c.serveJourney)
	}

	// No caching, since the page may be edited while it is served.
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
		"connect-src 'self' " + s.URL + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	guarded, withoutToken := s.Guard.Handler(mux), s.Guard.WithoutToken(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if _, pattern := mux.Handler(r); pattern == page { // a browser has no token before it has the page
			withoutToken.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// faults are those of POST /break, beside heal.
var faults = map[string]sandbox.Fault{
	"500":             sandbox.Status(http.StatusInternalServerError, `{"code":"SYSTEM_ERROR","message":"系统异常,请稍后重试"}`),
	"hang":            sandbox.Hang(),
	"wrong signature": wechatpay.WrongSignature(),
}

// serveBreak injects a fault into WeChat Pay's answers, at both endpoints, until
// heal, which also ends that confirmations are refused.
func serveBreak(w http.ResponseWriter, r *http.Request, pay *wechatpay.Sandbox, c *customer) {
	var order struct {
		Fault string `json:"fault"`
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&order)
	fault, known := faults[order.Fault]
	if kind != "application/json" || err != nil || !known && order.Fault != "heal" {
		answer(w, http.StatusBadRequest, map[string]string{"message": `wants {"fault": "500", "hang", "wrong signature" or "heal"} as application/json`})
		return
	}
	pay.Heal() // one fault at a time
	if !known {
		c.refused.Clear()
	} else {
		for endpoint := range pay.Endpoints() {
			pay.Break(endpoint, fault, -1)
		}
	}
	answer(w, http.StatusOK, order)
}

func answer(w http.ResponseWriter, status int, content any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(content) // fails only if the client closed the connection
}
