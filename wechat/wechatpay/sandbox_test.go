package wechatpay

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/downloader"
	"github.com/wechatpay-apiv3/wechatpay-go/core/option"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"membercard/wechat/network/networktest"
	"membercard/wechat/sandbox"
)

// The documents' examples.
const (
	permissionPath = "/v3/marketing/membercard-open/cards/pbLatjvWOibDc5-TBnbUk1pD12o0/permission-tokens"
	permissionBody = `{
 "activate_type": "AUTO_ACTIVATE",
 "navigate_back_previous_page": true,
 "activate_url": "https://w.url.cn/s/Ahz3p2C",
 "activate_appid": "wxea9c30a90fs8d3fe",
 "activate_path": "pages/activate/activate",
 "outer_str": "szwxtd"
}`
	brandPath    = "/v3/brand/partner/card-member/open-user-card-tokens"
	newBrandPath = "/v3/brand/partner/card-member/pre-auth-tokens"
	brandBody    = `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"obLatjnx9gnqzS4myYGmLZ7LgLBA"}`
)

// newSandbox starts a sandbox without a rate limit and with a clock that stands
// still.
func newSandbox(t *testing.T) *Sandbox {
	t.Helper()
	now := time.Now()
	s, err := start(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, s)
	s.LimitBrandTokens(0)
	s.LimitConfirmations(0)
	s.LimitQueries(0)
	return s
}

// secret is the JSON of MerchantSecret.
type secret struct {
	MchID       string `json:"mchid"`
	SerialNo    string `json:"certificate_serial_no"`
	PrivateKey  string `json:"private_key"`
	PublicKeyID string `json:"wechatpay_public_key_id"`
	PublicKey   string `json:"wechatpay_public_key"`
	APIv3Key    string `json:"apiv3_key"`

	key *rsa.PrivateKey
}

func secretOf(t *testing.T, s *Sandbox, mode Mode) secret {
	t.Helper()
	var m secret
	d := json.NewDecoder(strings.NewReader(s.MerchantSecret(mode)))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	key, err := utils.LoadPrivateKey(m.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	m.key = key
	return m
}

// toSandbox sends requests for WeChat Pay to the sandbox: the host in the library's
// downloader is fixed.
type toSandbox struct {
	http.RoundTripper
	host string
}

func (t toSandbox) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = t.host
	return t.RoundTripper.RoundTrip(r)
}

// libraryClient returns a client of the official library that verifies answers by
// mode.
func libraryClient(t *testing.T, s *Sandbox, mode Mode) *core.Client {
	t.Helper()
	ctx := context.Background()
	m := secretOf(t, s, mode)
	hc := clientOf(s)
	u, _ := url.Parse(s.Endpoints()[0])
	hc.Transport = toSandbox{hc.Transport, u.Host}
	credential := option.WithMerchantCredential(m.MchID, m.SerialNo, m.key)

	var publicKey *rsa.PublicKey
	var certificates *downloader.CertificateDownloader
	var err error
	if mode != Certificates {
		if publicKey, err = utils.LoadPublicKey(m.PublicKey); err != nil {
			t.Fatal(err)
		}
	}
	if mode != PublicKey {
		c, err := core.NewClient(ctx, credential, option.WithoutValidator(), option.WithHTTPClient(hc))
		if err != nil {
			t.Fatal(err)
		}
		if certificates, err = downloader.NewCertificateDownloaderWithClient(ctx, c, m.APIv3Key); err != nil {
			t.Fatal(err)
		}
	}
	var verifier auth.Verifier
	switch mode {
	case PublicKey:
		verifier = verifiers.NewSHA256WithRSAPubkeyVerifier(m.PublicKeyID, *publicKey)
	case Certificates:
		verifier = verifiers.NewSHA256WithRSAVerifier(certificates)
	case Both:
		verifier = verifiers.NewSHA256WithRSACombinedVerifier(certificates, m.PublicKeyID, *publicKey)
	}
	c, err := core.NewClient(ctx, credential, option.WithVerifier(verifier), option.WithHTTPClient(hc))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// post sends a body with the library and returns the answer's fields.
func post(c *core.Client, url, body string) (map[string]string, error) {
	result, err := c.Post(context.Background(), url, body)
	if err != nil {
		return nil, err
	}
	var answer map[string]string
	return answer, core.UnMarshalResponse(result.Response, &answer)
}

// TestKeys checks which clients accept the answers after a rotation of keys.
func TestKeys(t *testing.T) {
	s := newSandbox(t)
	endpoint := s.Endpoints()[0]
	for _, tt := range []struct {
		name    string
		mode    Mode
		change  func(*Sandbox)
		old, ok bool // whether a client from before the change, and a new one, do
	}{
		{"merchant key", PublicKey, (*Sandbox).RotateMerchantKey, false, true},
		{"public key", PublicKey, (*Sandbox).RotatePublicKey, false, true},
		{"public key, merchant with certificates", Certificates, (*Sandbox).RotatePublicKey, true, true},
		{"certificate", Certificates, (*Sandbox).RotateCertificate, false, true},
		{"certificate, merchant with public key", PublicKey, (*Sandbox).RotateCertificate, true, true},
		{"signing with certificates", PublicKey, func(s *Sandbox) { s.SignWith(Certificates) }, false, false},
		{"signing with public key", Certificates, func(s *Sandbox) { s.SignWith(PublicKey) }, false, false},
		{"signing with certificates, merchant with both", Both, func(s *Sandbox) { s.SignWith(Certificates) }, true, true},
		{"signing with public key, merchant with both", Both, func(s *Sandbox) { s.SignWith(PublicKey) }, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.SignWith(Both)
			c := libraryClient(t, s, tt.mode)
			if _, err := post(c, endpoint+brandPath, brandBody); err != nil {
				t.Fatal(err)
			}
			tt.change(s)
			if _, err := post(c, endpoint+brandPath, brandBody); (err == nil) != tt.old {
				t.Errorf("a client from before: %v", err)
			}
			c = libraryClient(t, s, tt.mode)
			if _, err := post(c, endpoint+brandPath, brandBody); (err == nil) != tt.ok {
				t.Errorf("a new client: %v", err)
			}
		})
	}
}

// TestCertificates reads the list of platform certificates with the library.
func TestCertificates(t *testing.T) {
	s := newSandbox(t)
	list := func() *downloader.CertificateDownloader {
		m := secretOf(t, s, Certificates)
		hc := clientOf(s)
		u, _ := url.Parse(s.Endpoints()[1])
		hc.Transport = toSandbox{hc.Transport, u.Host}
		c, err := core.NewClient(context.Background(), option.WithMerchantCredential(m.MchID, m.SerialNo, m.key),
			option.WithoutValidator(), option.WithHTTPClient(hc))
		if err != nil {
			t.Fatal(err)
		}
		d, err := downloader.NewCertificateDownloaderWithClient(context.Background(), c, m.APIv3Key)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for want := 1; want <= 3; want++ {
		d := list()
		all := d.GetAll(context.Background())
		if len(all) != want {
			t.Errorf("%d certificates, want %d", len(all), want)
		}
		for serial, c := range all {
			if got := utils.GetCertificateSerialNumber(*c); got != serial || len(got) != 40 {
				t.Errorf("serial number %s of the certificate %s", serial, got)
			}
			if !utils.IsCertificateValid(*c, time.Now()) {
				t.Errorf("valid from %v to %v", c.NotBefore, c.NotAfter)
			}
		}
		if got, used := d.GetNewestSerial(context.Background()), s.signingKey("").id; got != used {
			t.Errorf("newest is %s, used is %s", got, used)
		}
		s.RotateCertificate()
	}
}

// call is a request to be signed. Its zero value is valid.
type call struct {
	method, path, body string // POST, brandPath, brandBody

	scheme, mchid, serial, nonce string
	timestamp                    string
	signedBody                   string
	key                          *rsa.PrivateKey // the sandbox's own merchant's
	authorization                func(right string) string
	header                       map[string]string // a value of "-" removes
}

// request returns a signed request to an endpoint.
func (c call) request(t *testing.T, s *Sandbox, endpoint int) *http.Request {
	t.Helper()
	m := secretOf(t, s, PublicKey)
	or := func(v *string, right string) {
		if *v == "" {
			*v = right
		}
	}
	if c.key == nil {
		c.key = m.key
	}
	or(&c.method, "POST")
	or(&c.path, brandPath)
	if c.method == "POST" {
		or(&c.body, brandBody)
	}
	or(&c.scheme, "WECHATPAY2-SHA256-RSA2048")
	or(&c.mchid, m.MchID)
	or(&c.serial, m.SerialNo)
	or(&c.nonce, rand.Text())
	or(&c.timestamp, fmt.Sprint(s.now().Unix()))
	or(&c.signedBody, c.body)

	r, err := http.NewRequest(c.method, s.Endpoints()[endpoint]+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s\n", c.method, r.URL.RequestURI(), c.timestamp, c.nonce, c.signedBody))
	signature, err := rsa.SignPKCS1v15(rand.Reader, c.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	authorization := fmt.Sprintf(`%s mchid="%s",nonce_str="%s",signature="%s",timestamp="%s",serial_no="%s"`,
		c.scheme, c.mchid, c.nonce, base64.StdEncoding.EncodeToString(signature), c.timestamp, c.serial)
	if c.authorization != nil {
		authorization = c.authorization(authorization)
	}
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "test")
	r.Header.Set("Wechatpay-Serial", m.PublicKeyID)
	for name, value := range c.header {
		if r.Header.Set(name, value); value == "-" {
			r.Header[name] = nil // for User-Agent, or Go sends its own
		}
	}
	return r
}

// TestRefusals has requests that WeChat Pay refuses, and the closest that it
// accepts. Every answer is signed.
func TestRefusals(t *testing.T) {
	const nonce = "593BEC0C930BF1AFEB40B4A08C8FB242"
	s := newSandbox(t)
	now := s.now().Unix()
	foreign := newMerchant(newRSAKey(), "", s.now())
	permission := func(body string) call { return call{path: permissionPath, body: body} }
	outerStr := func(value string) call {
		b, _ := json.Marshal(map[string]string{"activate_type": "AUTO_ACTIVATE", "outer_str": value})
		return permission(string(b))
	}
	brand := func(brandID, cardID, openid string) call {
		b, _ := json.Marshal(map[string]string{"brand_id": brandID, "card_id": cardID, "openid": openid})
		return call{body: string(b)}
	}
	card := func(id string) call {
		return call{path: "/v3/marketing/membercard-open/cards/" + id + "/permission-tokens", body: permissionBody}
	}
	header := func(name, value string) call { return call{header: map[string]string{name: value}} }
	replace := func(old, new string) call {
		return call{authorization: func(right string) string {
			if !strings.Contains(right, old) {
				t.Errorf("%q has no %q", right, old)
			}
			return strings.Replace(right, old, new, 1)
		}}
	}
	const malformed = "Http头Authorization值格式错误"
	checkAnswers(t, s, []row{
		// The documents' examples.
		{"merchant example", permission(permissionBody), 200, "", "", ""},
		{"brand example", call{body: brandBody}, 200, "", "", ""},
		{"brand example, new path", call{path: newBrandPath, body: brandBody}, 200, "", "", ""},

		// Paths and methods.
		{"unknown path", call{path: "/v3/brand/partner"}, 404, "NOT_FOUND", "资源不存在", ""},
		{"card with a slash", card("a/b"), 404, "NOT_FOUND", "", ""},
		{"card with an escaped slash", card("a%2Fb"), 200, "", "", ""},
		{"GET of tokens", call{method: "GET"}, 405, "METHOD_NOT_ALLOWED", "GET", ""},
		{"POST of certificates", call{path: "/v3/certificates"}, 405, "METHOD_NOT_ALLOWED", "POST", ""},
		{"certificates", call{method: "GET", path: "/v3/certificates"}, 200, "", "", ""},
		{"query is signed", call{path: brandPath + "?a=b&c=%20d"}, 200, "", "", ""},

		// Headers.
		{"no Accept", header("Accept", "-"), 400, "PARAM_ERROR", "缺少Accept或User-Agent", ""},
		{"no User-Agent", header("User-Agent", "-"), 400, "PARAM_ERROR", "缺少Accept或User-Agent", ""},
		{"Accept other", header("Accept", "text/html"), 400, "INVALID_REQUEST", "Accept", ""},
		{"Accept anything", header("Accept", "text/html, */*;q=0.1"), 200, "", "", ""},
		{"no Content-Type", header("Content-Type", "-"), 400, "INVALID_REQUEST", "Content-Type", ""},
		{"Content-Type other", header("Content-Type", "text/plain"), 400, "INVALID_REQUEST", "Content-Type", ""},
		{"Content-Type with charset", header("Content-Type", "application/json; charset=utf-8"), 200, "", "", ""},
		{"Wechatpay-Serial unknown", header("Wechatpay-Serial", "PUB_KEY_ID_1"), 400, "PARAM_ERROR", "Wechatpay-Serial", "header Wechatpay-Serial"},
		{"Wechatpay-Serial of a certificate", header("Wechatpay-Serial", s.certificates[0].id), 200, "", "", ""},
		{"Wechatpay-Serial in lower case", header("Wechatpay-Serial", strings.ToLower(s.certificates[0].id)), 200, "", "", ""},
		{"Wechatpay-Serial absent", header("Wechatpay-Serial", "-"), 200, "", "", ""},

		// The Authorization header.
		{"no Authorization", header("Authorization", "-"), 401, "SIGN_ERROR", malformed, ""},
		{"other scheme", call{scheme: "WECHATPAY2-SM2-WITH-SM3"}, 401, "SIGN_ERROR", "认证类型", ""},
		{"brand scheme", call{scheme: "WECHATPAY-BRAND-SHA256-RSA2048"}, 401, "SIGN_ERROR", "认证类型", ""},
		{"space after comma", replace(`,nonce`, `, nonce`), 401, "SIGN_ERROR", malformed, ""},
		{"no quotes", replace(`mchid="1900000001"`, `mchid=1900000001`), 401, "SIGN_ERROR", malformed, ""},
		{"empty part", replace(`mchid="1900000001"`, `mchid=""`), 401, "SIGN_ERROR", malformed, ""},
		{"missing part", replace(`mchid="1900000001",`, ``), 401, "SIGN_ERROR", malformed, ""},
		{"further part", replace(`mchid=`, `a="b",mchid=`), 401, "SIGN_ERROR", malformed, ""},
		{"part twice", replace(`mchid=`, `mchid="1900000001",mchid=`), 401, "SIGN_ERROR", malformed, ""},
		{"unknown merchant", call{mchid: "1900000002"}, 401, "SIGN_ERROR", "商户号mchid不存在", ""},
		{"unknown certificate", call{serial: foreign.serialNo}, 401, "SIGN_ERROR", "商户证书序列号有误", ""},
		{"lower-case serial", call{serial: strings.ToLower(s.merchants[0].serialNo)}, 401, "SIGN_ERROR", "商户证书序列号有误", ""},
		{"other body signed", call{signedBody: brandBody + " "}, 401, "SIGN_ERROR", "验签失败", ""},
		{"other nonce signed", replace(`nonce_str="`, `nonce_str="0`), 401, "SIGN_ERROR", "验签失败", ""},
		{"signature not base64", replace(`signature="`, `signature="*`), 401, "SIGN_ERROR", "验签失败", ""},
		{"5 minutes late", call{timestamp: fmt.Sprint(now - 299)}, 200, "", "", ""},
		{"over 5 minutes late", call{timestamp: fmt.Sprint(now - 301)}, 401, "SIGN_ERROR", expired, ""},
		{"5 minutes early", call{timestamp: fmt.Sprint(now + 299)}, 200, "", "", ""},
		{"over 5 minutes early", call{timestamp: fmt.Sprint(now + 302)}, 401, "SIGN_ERROR", expired, ""},
		{"timestamp in milliseconds", call{timestamp: fmt.Sprint(now * 1000)}, 401, "SIGN_ERROR", expired, ""},
		{"nonce used first", call{nonce: nonce}, 200, "", "", ""},
		{"the same request again", call{nonce: nonce}, 200, "", "", ""},
		{"nonce of another request", call{nonce: nonce, path: newBrandPath}, 401, "SIGN_ERROR", "nonce_str已被使用过", ""},

		// 商户预授权.
		{"least", permission(`{"activate_type":"AUTO_ACTIVATE"}`), 200, "", "", ""},
		{"not JSON", permission(`{`), 400, "PARAM_ERROR", "不是合法的JSON", "body "},
		{"not an object", permission(`null`), 400, "PARAM_ERROR", "不是合法的JSON", "body "},
		{"not UTF-8", permission("{\"activate_type\":\"\xff\"}"), 400, "PARAM_ERROR", "不是合法的JSON", "body "},
		{"two objects", permission(`{"activate_type":"AUTO_ACTIVATE"}{}`), 400, "PARAM_ERROR", "不是合法的JSON", "body "},
		{"no activate_type", permission(`{}`), 400, "PARAM_ERROR", "必填性规则校验失败", "body /activate_type"},
		{"null activate_type", permission(`{"activate_type":null}`), 400, "PARAM_ERROR", "必填性规则校验失败", "body /activate_type"},
		{"empty activate_type", permission(`{"activate_type":""}`), 400, "PARAM_ERROR", "字符数 0，小于最小值 1", "body /activate_type"},
		{"other activate_type", permission(`{"activate_type":"auto_activate"}`), 400, "PARAM_ERROR", "取值应为", "body /activate_type"},
		{"number for string", permission(`{"activate_type":1}`), 400, "PARAM_ERROR", "需要一个合法的字符串", "body /activate_type"},
		{"string for boolean", permission(`{"activate_type":"AUTO_ACTIVATE","navigate_back_previous_page":"true"}`), 400, "PARAM_ERROR", "需要一个合法的布尔值", "body /navigate_back_previous_page"},
		{"null for optional", permission(`{"activate_type":"AUTO_ACTIVATE","outer_str":null}`), 200, "", "", ""},
		{"jump to nowhere", permission(`{"activate_type":"JUMP_ACTIVATE","activate_path":"a"}`), 400, "PARAM_ERROR", "必须设置activate_url或activate_appid", "body /activate_type"},
		{"jump to empty", permission(`{"activate_type":"JUMP_ACTIVATE","activate_url":""}`), 400, "PARAM_ERROR", "必须设置activate_url或activate_appid", "body /activate_type"},
		{"jump to a page", permission(`{"activate_type":"JUMP_ACTIVATE","activate_url":"https://w.url.cn/s/Ahz3p2C"}`), 200, "", "", ""},
		{"jump to a mini program", permission(`{"activate_type":"JUMP_ACTIVATE","activate_appid":"wxea9c30a90fs8d3fe"}`), 200, "", "", ""},
		{"activate_url of 128", permission(`{"activate_type":"AUTO_ACTIVATE","activate_url":"` + strings.Repeat("路", 128) + `"}`), 200, "", "", ""},
		{"activate_url of 129", permission(`{"activate_type":"AUTO_ACTIVATE","activate_url":"` + strings.Repeat("a", 129) + `"}`), 400, "PARAM_ERROR", "字符数 129，大于最大值 128", "body /activate_url"},
		{"activate_appid of 33", permission(`{"activate_type":"AUTO_ACTIVATE","activate_appid":"` + strings.Repeat("a", 33) + `"}`), 400, "PARAM_ERROR", "字符数 33，大于最大值 32", "body /activate_appid"},
		{"activate_path of 129", permission(`{"activate_type":"AUTO_ACTIVATE","activate_path":"` + strings.Repeat("a", 129) + `"}`), 400, "PARAM_ERROR", "字符数 129，大于最大值 128", "body /activate_path"},
		{"outer_str of 32", outerStr("深圳store-01,/!" + strings.Repeat("店", 19)), 200, "", "", ""},
		{"outer_str of 33", outerStr(strings.Repeat("店", 33)), 400, "PARAM_ERROR", "字符数 33，大于最大值 32", "body /outer_str"},
		{"outer_str with full-width punctuation", outerStr("店，"), 400, "PARAM_ERROR", "半角标点", "body /outer_str"},
		{"four bytes in a character", outerStr("店🙂"), 400, "PARAM_ERROR", "1至3字节", "body "},
		{"four bytes, escaped", call{body: `{"brand_id":"1004","card_id":"p","openid":"o","x":[{"y":"\ud83d\ude42"}]}`}, 400, "PARAM_ERROR", "1至3字节", "body "},
		{"outer_str with a space", outerStr("a b"), 400, "PARAM_ERROR", "半角标点", "body /outer_str"},
		{"no card_id", card(""), 400, "PARAM_ERROR", "字符数 0，小于最小值 1", "url card_id"},
		{"card_id of 32", card(strings.Repeat("p", 32)), 200, "", "", ""},
		{"card_id of 33", card(strings.Repeat("p", 33)), 400, "PARAM_ERROR", "字符数 33，大于最大值 32", "url card_id"},

		// 入会组件预授权.
		{"no brand_id", brand("", "p", "o"), 400, "PARAM_ERROR", "字符数 0，小于最小值 1", "body /brand_id"},
		{"no members", call{body: `{}`}, 400, "PARAM_ERROR", "必填性规则校验失败", "body /brand_id"},
		{"number for brand_id", call{body: `{"brand_id":1004,"card_id":"p","openid":"o"}`}, 400, "PARAM_ERROR", "需要一个合法的字符串", "body /brand_id"},
		{"brand_id of 33", brand(strings.Repeat("1", 33), "p", "o"), 400, "PARAM_ERROR", "大于最大值 32", "body /brand_id"},
		{"no card_id in body", brand("1004", "", "o"), 400, "PARAM_ERROR", "字符数 0，小于最小值 1", "body /card_id"},
		{"card_id of 33 in body", brand("1004", strings.Repeat("p", 33), "o"), 400, "PARAM_ERROR", "大于最大值 32", "body /card_id"},
		{"no openid", brand("1004", "p", ""), 400, "PARAM_ERROR", "字符数 0，小于最小值 1", "body /openid"},
		{"openid of 128", brand("1004", "p", strings.Repeat("o", 128)), 200, "", "", ""},
		{"openid of 129", brand("1004", "p", strings.Repeat("o", 129)), 400, "PARAM_ERROR", "大于最大值 128", "body /openid"},

		// Business errors; TestReservedValues has them all.
		{"no permission", card("pNoAuth"), 403, "NO_AUTH", "商户暂无权限使用此功能", ""},
		{"other brand's card", brand("9999", "p", "o"), 400, "INVALID_REQUEST", "会员卡模版ID不属于该品牌", ""},
		{"wrong openid", brand("1004", "p", "oWrong"), 400, "PARAM_ERROR", "OpenID有误", "body /openid"},
	})
}

// row is a request and its answer.
type row struct {
	name    string
	call    call
	status  int
	code    string
	message string // a part of it
	field   string // location and field of the detail
}

const expired = "timestamp与当前时间相差超过5分钟"

// checkAnswers sends requests. Every answer must be signed, and every request logged.
func checkAnswers(t *testing.T, s *Sandbox, rows []row) {
	hc := clientOf(s)
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			s.ClearRequests()
			r := tt.call.request(t, s, 0)
			resp, body, err := do(hc, r)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Code, Message string
				Detail        struct{ Field, Location string }
			}
			if tt.status == http.StatusNoContent {
				if len(body) != 0 || resp.Header.Get("Content-Type") != "" {
					t.Errorf("%v %s", resp.Header, body)
				}
			} else if err := json.Unmarshal(body, &got); err != nil {
				t.Error(err)
			}
			if resp.StatusCode != tt.status || got.Code != tt.code || !strings.Contains(got.Message, tt.message) {
				t.Errorf("%d %s, want %d %s %s", resp.StatusCode, body, tt.status, tt.code, tt.message)
			}
			if tt.field == "" && got.Detail.Location != "" || tt.field != "" && tt.field != got.Detail.Location+" "+got.Detail.Field {
				t.Errorf("detail of %s, want %q", body, tt.field)
			}
			if resp.Header.Get("Request-ID") == "" {
				t.Error("no Request-ID")
			}
			if resp.StatusCode == 405 && resp.Header.Get("Allow") == "" {
				t.Error("no Allow")
			}
			if seen := signatureOf(s, resp, body); seen != "signed" {
				t.Error(seen)
			}

			log := s.Requests()
			if len(log) != 1 {
				t.Fatalf("%d requests logged", len(log))
			}
			sent, _ := io.ReadAll(sandbox.Must(r.GetBody()))
			if l := log[0]; l.Status != tt.status || l.Refusal != got.Message || l.Method != r.Method ||
				l.URI != r.URL.RequestURI() || !bytes.Equal(l.Body, sent) ||
				l.Header.Get("Accept") != r.Header.Get("Accept") || l.Time != s.now() || l.Endpoint != 0 {
				t.Errorf("logged %+v", l)
			}
			// A request with status 401 is not verified, except where the signature is
			// valid but its timestamp or nonce is not.
			good := tt.status != 401 || strings.Contains(got.Message, expired) || strings.Contains(got.Message, "nonce_str")
			if log[0].Verified != good {
				t.Errorf("verified: %t", log[0].Verified)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct {
		name      string
		perSecond int
		at        []time.Duration // since the first
		want      string          // y or n for each
	}{
		{"WeChat Pay's", 5, []time.Duration{0, 0, 0, 0, 0, 0, 999 * time.Millisecond, time.Second}, "yyyyynny"},
		{"sliding", 1, []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond}, "ynyn"},
		{"none", 0, []time.Duration{0, 0, 0, 0, 0, 0, 0}, "yyyyyyy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := limiter{perSecond: tt.perSecond}
			var got string
			for _, d := range tt.at {
				got += map[bool]string{true: "y", false: "n"}[l.take(start.Add(d)) == nil]
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestNonces(t *testing.T) {
	start := time.Now()
	n := make(nonces)
	for _, tt := range []struct {
		nonce, signature string
		at               time.Duration
		ok               bool
	}{
		{"a", "1", 0, true},
		{"b", "1", 9 * time.Minute, true},
		{"b", "1", 9 * time.Minute, true},
		{"b", "2", 11 * time.Minute, false},
		{"b", "2", 18 * time.Minute, false},
		{"a", "2", 22 * time.Minute, true},
		{"c", "1", 22 * time.Minute, true},
		{"c", "2", 32 * time.Minute, false},
		{"c", "2", 33 * time.Minute, true}, // the first one is too old by now
	} {
		if got := n.add(tt.nonce, tt.signature, start.Add(tt.at)); got != tt.ok {
			t.Errorf("%s %s after %v: %t", tt.nonce, tt.signature, tt.at, got)
		}
	}
}

// TestKeysOfMerchants checks what a merchant gets that has one kind of key only.
func TestKeysOfMerchants(t *testing.T) {
	s := newSandbox(t)
	list := call{method: "GET", path: "/v3/certificates", header: map[string]string{"Wechatpay-Serial": "-"}}
	for _, tt := range []struct {
		mode   Mode
		status int
		id     string // of the key that signs
	}{
		{PublicKey, 404, s.publicKeys[0].id},
		{Certificates, 200, s.certificates[0].id},
		{Both, 200, s.certificates[0].id},
	} {
		s.Keys(tt.mode)
		resp, body, err := do(clientOf(s), list.request(t, s, 0))
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tt.status || resp.Header.Get("Wechatpay-Serial") != tt.id || tt.status == 404 && !bytes.Contains(body, []byte("RESOURCE_NOT_EXISTS")) {
			t.Errorf("mode %d: %d %s, signed by %s", tt.mode, resp.StatusCode, body, resp.Header.Get("Wechatpay-Serial"))
		}
	}
}

// TestTable checks that everything that the table names exists.
func TestTable(t *testing.T) {
	s := newSandbox(t)
	for _, o := range api().Operations {
		if operations[o.Name] == nil || o.Limit != "" && s.limits[o.Limit] == nil || o.Needs != "" && o.Needs != "Wechatpay-Serial" {
			t.Errorf("%+v", o)
		}
		for part := range strings.SplitSeq(o.Path, "/") {
			if name := strings.Trim(part, "{}"); name != part && !slices.ContainsFunc(api().Segments, func(f sandbox.Field) bool { return f.Name == name }) {
				t.Errorf("%s: {%s} has no rule", o.Path, name)
			}
		}
	}
}
