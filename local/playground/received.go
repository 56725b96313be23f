package playground

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"membercard/local/stack"
	"membercard/wechat/officialaccount"
	"membercard/wechat/wechatpay"
)

// received is a request that a sandbox received.
type received struct {
	N        int64  `json:"n"`    // time in microseconds since 1970, as in ?after=
	Side     string `json:"side"` // wechatpay or officialaccount
	Endpoint int    `json:"endpoint"`
	Method   string `json:"method"`
	URI      string `json:"uri"`
	Status   int    `json:"status"` // 0 if there was no answer

	// Of WeChat Pay: the parts of the header Authorization, whether its signature is
	// valid, the body, and why the request was refused.
	Authorization *authorization `json:"authorization,omitempty"`
	Verified      *bool          `json:"verified,omitempty"`
	Body          string         `json:"body,omitempty"` // of service modules; others contain openids
	Refusal       string         `json:"refusal,omitempty"`

	// Of the official account: whether each credential is valid or dead.
	Proof   map[string]string `json:"proof,omitempty"`
	Errcode int               `json:"errcode,omitempty"`
}

// authorization is a [wechatpay.Authorization] with the names in the header.
type authorization struct {
	MchID     string `json:"mchid"`
	SerialNo  string `json:"serial_no"`
	NonceStr  string `json:"nonce_str"`
	Timestamp string `json:"timestamp"`
	Signature string `json:"signature"` // its beginning and end
}

// serveReceived answers with the requests received after ?after=, and with the current
// time for a later call.
func serveReceived(w http.ResponseWriter, r *http.Request, s *stack.Stack) {
	after, err := strconv.ParseInt(r.FormValue("after"), 10, 64)
	if err != nil && r.FormValue("after") != "" {
		answer(w, http.StatusBadRequest, map[string]string{"message": "after must be a number"})
		return
	}
	list := struct {
		N        int64      `json:"n"`
		Requests []received `json:"requests"`
	}{time.Now().UnixMicro(), []received{}}
	if s.WeChatPay != nil {
		for _, request := range s.WeChatPay.Requests() {
			list.Requests = append(list.Requests, ofWeChatPay(&request))
		}
	}
	if s.OfficialAccount != nil {
		for _, request := range s.OfficialAccount.Requests() {
			list.Requests = append(list.Requests, ofOfficialAccount(&request))
		}
	}
	list.Requests = slices.DeleteFunc(list.Requests, func(r received) bool { return r.N <= after })
	slices.SortStableFunc(list.Requests, func(a, b received) int { return int(a.N - b.N) })
	answer(w, http.StatusOK, list)
}

func ofWeChatPay(r *wechatpay.Request) received {
	a := authorization(r.Authorization)
	if n := len(a.Signature); n > 24 {
		a.Signature = a.Signature[:16] + "…" + a.Signature[n-8:]
	}
	shown := received{
		N: r.Time.UnixMicro(), Side: "wechatpay", Endpoint: r.Endpoint, Method: r.Method, URI: r.URI, Status: r.Status,
		Authorization: &a, Verified: &r.Verified, Refusal: r.Refusal,
	}
	if strings.Contains(r.Path, "/service-modules") {
		shown.Body = string(r.Body)
	}
	return shown
}

func ofOfficialAccount(r *officialaccount.Request) received {
	proof, uri := map[string]string{}, url.Values{}
	for name, values := range r.Query {
		switch name {
		case "access_token", "secret", "js_code", "code":
			if values[0] != "none" { // an operation may need no access token
				proof[name] = values[0]
			}
		case "appid", "grant_type", "type":
			uri[name] = values
		}
	}
	shown := url.URL{Path: r.Path, RawQuery: uri.Encode()}
	return received{
		N: r.Time.UnixMicro(), Side: "officialaccount", Endpoint: r.Endpoint, Method: r.Method, URI: shown.RequestURI(), Status: r.Status,
		Proof: proof, Errcode: r.Errcode,
	}
}
