package main

import (
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"membercard/clients/js"
)

// shop serves the shop.
type shop struct {
	page       fs.FS  // the folder page
	scheme     string // of its own URL
	membercard *membercard
	account    *account
	members    members
}

//go:embed page
var files embed.FS

var page, _ = fs.Sub(files, "page") // which is there

func (s *shop) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(s.page))
	mux.Handle("GET /membercard/", http.StripPrefix("/membercard/", http.FileServerFS(js.Files)))
	mux.Handle("GET /jweixin.js", http.RedirectHandler("https://res.wx.qq.com/open/js/jweixin-1.6.0.js", http.StatusFound))
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("GET /me", s.me)
	mux.HandleFunc("POST /v3/brand/partner/card-member/pre-auth-tokens", s.brandToken)
	mux.HandleFunc("POST /v3/marketing/membercard-open/cards/"+merchantCard+"/permission-tokens", s.merchantToken)
	mux.HandleFunc("GET /activate", s.activate)
	mux.HandleFunc("POST /activate", s.activate)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'self' https://res.wx.qq.com; img-src data:; frame-ancestors 'none'")
		w.Header().Set("Referrer-Policy", "same-origin") // addresses have tickets
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// origin returns the shop's own URL. API Gateway and the local guard vouch for the Host.
func (s *shop) origin(r *http.Request) string { return s.scheme + "://" + r.Host }

// me says whether the customer is a member.
func (s *shop) me(w http.ResponseWriter, r *http.Request) {
	openid := s.session(r)
	if openid == "" {
		answer(w, http.StatusUnauthorized, map[string]string{"message": "log in first"})
		return
	}
	number, err := s.member(r.Context(), openid)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"member": number != "", "number": number})
}

// brandToken and merchantToken are the API's operations for the page, with what the page
// may not choose: whose token it is, which card, and where the customer activates it.
func (s *shop) brandToken(w http.ResponseWriter, r *http.Request) {
	s.pass(w, r, map[string]string{"brand_id": brandID, "card_id": brandCard, "openid": s.session(r)})
}

func (s *shop) merchantToken(w http.ResponseWriter, r *http.Request) {
	s.pass(w, r, map[string]string{"activate_type": "JUMP_ACTIVATE", "activate_url": s.origin(r) + "/activate"})
}

// pass has membercard do the operation of the same path.
func (s *shop) pass(w http.ResponseWriter, r *http.Request, body map[string]string) {
	if s.session(r) == "" {
		answer(w, http.StatusUnauthorized, map[string]string{"message": "log in first"})
		return
	}
	var token json.RawMessage
	if err := s.membercard.call(r.Context(), r.Method, r.URL.Path, body, &token); err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, token)
}

// activate is where WeChat sends a customer who has taken a card of JUMP_ACTIVATE. It shows
// what the customer filled in, and activates the card once the customer agrees.
func (s *shop) activate(w http.ResponseWriter, r *http.Request) {
	openid := s.session(r)
	if openid == "" {
		http.Redirect(w, r, "/login?to="+url.QueryEscape(r.URL.RequestURI()), http.StatusFound)
		return
	}
	if r.FormValue("openid") != openid || r.FormValue("card_id") != merchantCard {
		http.Error(w, "请用领取这张会员卡的微信账号打开", http.StatusForbidden) // the address can be forged, the login can't
		return
	}
	var fields []field
	code, err := s.code(r)
	switch {
	case err != nil:
	case r.Method == http.MethodPost:
		if err = s.register(r, code); err == nil {
			http.Redirect(w, r, "/#joined", http.StatusSeeOther)
			return
		}
	default:
		fields, err = s.filledIn(r)
	}
	activation, broken := template.ParseFS(s.page, "activate.html")
	if err = errors.Join(err, broken); err != nil {
		slog.ErrorContext(r.Context(), "a card was not activated", "cause", err.Error())
		w.WriteHeader(http.StatusBadGateway)
	}
	if broken == nil {
		_ = activation.Execute(w, map[string]any{"Failed": err != nil, "Fields": fields, "Labels": labels}) // fails only if the client left
	}
}

const merchantCards = "/v3/marketing/membercard-open/cards/" + merchantCard

// code decrypts the card's code, which WeChat has added to the address.
func (s *shop) code(r *http.Request) (string, error) {
	var decrypted struct{ Code string }
	err := s.membercard.call(r.Context(), "GET", merchantCards+"/decrypt-code?encrypt_code="+parameter(r, "encrypt_code"), nil, &decrypted)
	return decrypted.Code, err
}

// field is what a customer filled in.
type field struct {
	Name   string   `json:"name"`
	Value  string   `json:"value"`
	Values []string `json:"value_list"`
}

// labels are what the page calls WeChat's common fields.
var labels = map[string]string{"USER_FORM_INFO_FLAG_MOBILE": "手机号", "USER_FORM_INFO_FLAG_NAME": "姓名", "USER_FORM_INFO_FLAG_BIRTHDAY": "生日"}

// filledIn asks for what the customer filled in, by the ticket that WeChat has added.
func (s *shop) filledIn(r *http.Request) ([]field, error) {
	var form struct {
		Information struct {
			Common []field `json:"common_field_list"`
			Custom []field `json:"custom_field_list"`
		} `json:"user_information"`
	}
	ticket, _ := url.PathUnescape(parameter(r, "activate_ticket"))
	err := s.membercard.call(r.Context(), "GET", "/v3/marketing/membercard-open/activate-informations/"+url.PathEscape(ticket), nil, &form)
	return append(form.Information.Common, form.Information.Custom...), err
}

// register makes the customer a member and tells WeChat.
func (s *shop) register(r *http.Request, code string) error {
	// Here a shop writes the customer into its own database. If that fails, the confirmation says so.
	card := merchantCards + "/codes/" + url.PathEscape(code)
	err := s.membercard.call(r.Context(), "POST", card+"/activate", map[string]string{"membership_number": code}, nil)
	if refused := (*refusal)(nil); err != nil && !(errors.As(err, &refused) && strings.Contains(string(refused.body), "已激活")) {
		return err // otherwise a request before this one has activated it
	}
	return s.membercard.call(r.Context(), "POST", card+"/confirm", map[string]string{"user_card_confirm_state": "CREATE_CARD_SUCCESS"}, nil)
}

// parameter returns a parameter of the query as it is in the address: a + must not become a
// blank.
func parameter(r *http.Request, name string) string {
	for part := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if n, value, _ := strings.Cut(part, "="); n == name {
			return value
		}
	}
	return ""
}

// fail answers with the API's error, whose code the page has words for.
func (s *shop) fail(w http.ResponseWriter, r *http.Request, err error) {
	slog.ErrorContext(r.Context(), "a request failed", "path", r.URL.Path, "cause", err.Error())
	if refused := (*refusal)(nil); errors.As(err, &refused) && json.Valid(refused.body) {
		if refused.retryAfter != "" {
			w.Header().Set("Retry-After", refused.retryAfter)
		}
		answer(w, refused.status, json.RawMessage(refused.body))
		return
	}
	answer(w, http.StatusBadGateway, map[string]string{"code": "SHOP_ERROR", "message": "the shop can't do this at present"})
}

func answer(w http.ResponseWriter, status int, content any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(content) // fails only if the client left
}
