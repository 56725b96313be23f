// Package playground serves the sample page in examples/h5 from its own origin, like a
// merchant's shop, with the package in clients/js. It also serves what the page needs: logins without WeChat, a backend for
// the routes that pages may not call, the requests that the sandboxes received, customers
// who open cards, the card plan and its sync, and fault injection.
package playground

import (
	"encoding/json"
	"mime"
	"net/http"

	"membercard/local/stack"
	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

// sampleOpenID is the logged-in user. It is from WeChat's documents.
const sampleOpenID = "obLatjnx9gnqzS4myYGmLZ7LgLBA"

// settings are the settings of the page.
type settings struct {
	API     string `json:"api"`             // its URL
	Auth    string `json:"auth"`            // none, iam, jwt or wechat
	Token   string `json:"token,omitempty"` // a JWT, where auth is jwt
	Backend string `json:"backend"`         // URL of the API for the routes that require AWS_IAM
	Login   bool   `json:"login"`           // whether POST /login exists
	Faults  bool   `json:"faults"`          // whether the routes that need the sandbox of WeChat Pay exist
}

// Handler serves the page of the project in root for a stack whose authorization is auth: none,
// iam, jwt or wechat. If s calls the real WeChat, there are no routes that need a sandbox,
// and everything but the page's files requires the token of s.Guard.
func Handler(s *stack.Stack, auth string, root string) http.Handler {
	mux := http.NewServeMux()
	const page = "GET /"
	mux.Handle(page, files(root, s.Guard.Token != ""))
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
		mux.HandleFunc("GET /plan", func(w http.ResponseWriter, r *http.Request) { servePlan(w, s) })
		mux.HandleFunc("GET /service-modules", func(w http.ResponseWriter, r *http.Request) {
			answer(w, http.StatusOK, pay.ServiceModules(r.FormValue("card_id")))
		})
		mux.HandleFunc("POST /sync", func(w http.ResponseWriter, r *http.Request) { serveSync(w, r, s) })
	}

	// The page may be edited while it is served, so it is not cached.
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

// faults are the faults of POST /break.
var faults = map[string]sandbox.Fault{
	"500":             sandbox.Status(http.StatusInternalServerError, `{"code":"SYSTEM_ERROR","message":"系统异常,请稍后重试"}`),
	"hang":            sandbox.Hang(),
	"wrong signature": wechatpay.WrongSignature(),
}

// serveBreak injects a fault into WeChat Pay's answers at both endpoints. The fault heal
// ends all faults, including refused confirmations.
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
