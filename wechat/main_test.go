package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/downloader"
	"github.com/wechatpay-apiv3/wechatpay-go/core/notify"
	"github.com/wechatpay-apiv3/wechatpay-go/core/option"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"
)

// TestMain lets the test's binary be the command.
func TestMain(m *testing.M) {
	if os.Getenv("WECHAT_SANDBOX") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// standalone starts the command, and returns what it prints and its files.
func standalone(t *testing.T, args ...string) (printed []string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sandbox")
	c := exec.Command(os.Args[0], append(args, "-dir", dir)...)
	c.Env = append(os.Environ(), "WECHAT_SANDBOX=1")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Signal(os.Interrupt)
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	})
	for lines := bufio.NewScanner(out); len(printed) < 4; printed = append(printed, lines.Text()) {
		if !lines.Scan() {
			t.Fatal("the sandbox did not start")
		}
	}
	files = map[string]string{"dir": dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return printed, files
}

// index is sandbox.json.
type index struct {
	WeChatPay []string `json:"wechatpay"`
	WeChat    []string `json:"wechat"`
	MchID     string   `json:"mchid"`
	SerialNo  string   `json:"certificate_serial_no"`
	AppID     string   `json:"appid"`
	AppSecret string   `json:"appsecret"`
	Proxy     string   `json:"proxy"`
}

func (i *index) read(t *testing.T, files map[string]string) {
	t.Helper()
	if err := json.Unmarshal([]byte(files["sandbox.json"]), i); err != nil {
		t.Fatal(err)
	}
}

// TestLibrary takes WeChat Pay's own library through the sandbox as it is: with its fixed
// hosts, the certificates that it downloads and its handler of notifications. The sandbox
// is a process of its own, and all that the library is told is HTTPS_PROXY and the CA.
func TestLibrary(t *testing.T) {
	notified := make(chan *notify.Request, 10)
	var handler *notify.Handler
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var resource map[string]any
		n, err := handler.ParseNotifyRequest(r.Context(), r, &resource)
		if err != nil {
			t.Error(err)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		notified <- n
	}))
	defer receiver.Close()
	expect := func(event string) {
		t.Helper()
		select {
		case n := <-notified:
			if n.EventType != event {
				t.Errorf("%+v, want %s", n, event)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no notification %s", event)
		}
	}
	printed, files := standalone(t, "-keys", "certificates", "-notify", receiver.URL)
	var i index
	i.read(t, files)
	if len(i.WeChatPay) != 2 || len(i.WeChat) != 2 || !strings.HasSuffix(printed[0], strings.Join(i.WeChatPay, " ")) || files["pub_key.pem"] != "" {
		t.Errorf("%+v, %q", i, printed)
	}
	t.Setenv("HTTPS_PROXY", i.Proxy)
	t.Setenv("SSL_CERT_FILE", filepath.Join(files["dir"], "ca.pem"))

	ctx := context.Background()
	key, err := utils.LoadPrivateKey(files["apiclient_key.pem"])
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewClient(ctx, option.WithWechatPayAutoAuthCipher(i.MchID, i.SerialNo, key, files["apiv3_key.txt"]))
	if err != nil {
		t.Fatal(err)
	}
	handler, err = notify.NewRSANotifyHandler(files["apiv3_key.txt"], verifiers.NewSHA256WithRSAVerifier(downloader.MgrInstance().GetCertificateVisitor(i.MchID)))
	if err != nil {
		t.Fatal(err)
	}
	const api, brandToken = "https://api.mch.weixin.qq.com", `{"brand_id":"1004","card_id":"pbLatjvWOibDc5-TBnbUk1pD12o0","openid":"obLatjnx9gnqzS4myYGmLZ7LgLBA"}`
	post := func(c *core.Client, path, body string) (map[string]string, error) {
		result, err := c.Request(ctx, http.MethodPost, api+path, http.Header{"Wechatpay-Serial": {downloader.MgrInstance().GetNewestCertificateSerial(ctx, i.MchID)}}, nil, json.RawMessage(body), "application/json")
		if err != nil {
			return nil, err
		}
		var answer map[string]string
		return answer, core.UnMarshalResponse(result.Response, &answer)
	}

	// Tokens, and a customer who opens a card with one.
	permission, err := post(client, "/v3/marketing/membercard-open/cards/pbLatjvWOibDc5-TBnbUk1pD12o0/permission-tokens", `{"activate_type":"AUTO_ACTIVATE"}`)
	if err != nil || permission["permission_token"] == "" {
		t.Errorf("%v, %v", permission, err)
	}
	brand, err := post(client, "/v3/brand/partner/card-member/pre-auth-tokens", brandToken)
	if err != nil {
		t.Fatal(err)
	}
	card, err := http.PostForm(i.Proxy+"/open", url.Values{"token": {brand["token"]}, "openid": {"obLatjnx9gnqzS4myYGmLZ7LgLBA"}})
	if err != nil {
		t.Fatal(err)
	}
	defer card.Body.Close()
	if opened, _ := io.ReadAll(card.Body); card.StatusCode != 200 || !strings.Contains(string(opened), "UNACTIVATED") {
		t.Errorf("%d %s", card.StatusCode, opened)
	}
	expect("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE")

	// The self-test, with a notification.
	if echo, err := post(client, "/v3/security/echo", `{"echo_message":"hello","notify_url":"`+receiver.URL+`"}`); err != nil || echo["echo_message"] != "hello" {
		t.Errorf("%v, %v", echo, err)
	}
	expect("SECURITY_ECHO.SUCCESS")

	// A refused field, and a wrong serial number.
	_, err = post(client, "/v3/brand/partner/card-member/pre-auth-tokens", strings.Replace(brandToken, "openid", "open_id", 1))
	if refused := (*core.APIError)(nil); !errors.As(err, &refused) || refused.Code != "PARAM_ERROR" || !strings.Contains(refused.Body, `"field":"/openid"`) {
		t.Errorf("%v", err)
	}
	wrong, err := core.NewClient(ctx, option.WithMerchantCredential(i.MchID, strings.Repeat("0", 40), key), option.WithoutValidator())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := post(wrong, "/v3/security/echo", `{"echo_message":"hello"}`); !core.IsAPIError(err, "SIGN_ERROR") {
		t.Errorf("%v", err)
	}

	// The official account, and a host that is not WeChat's.
	token, err := http.Post("https://api.weixin.qq.com/cgi-bin/stable_token", "application/json",
		strings.NewReader(`{"grant_type":"client_credential","appid":"`+i.AppID+`","secret":"`+i.AppSecret+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer token.Body.Close()
	if text, _ := io.ReadAll(token.Body); !strings.Contains(string(text), "access_token") {
		t.Errorf("%s", text)
	}
	if _, err := http.Get("https://pay.weixin.qq.com/"); err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("another host: %v", err)
	}
}

// With the public key only there is no list of certificates.
func TestPublicKeyOnly(t *testing.T) {
	_, files := standalone(t, "-keys", "public")
	if !strings.HasPrefix(files["pub_key_id.txt"], "PUB_KEY_ID_") || files["pub_key.pem"] == "" {
		t.Errorf("%v", files["pub_key_id.txt"])
	}
}

// A page of a stranger opens no card, and files are not written through a link.
func TestSafety(t *testing.T) {
	var i index
	_, files := standalone(t)
	i.read(t, files)
	r, err := http.NewRequest(http.MethodPost, i.Proxy+"/open", strings.NewReader("token=x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", "https://stranger.example")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Error(response.Status)
	}

	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := errors.Join(os.WriteFile(outside, []byte("mine"), 0o600), os.Symlink(outside, filepath.Join(dir, "ca.pem"))); err != nil {
		t.Fatal(err)
	}
	if err := write(dir, map[string]string{"ca.pem": "the sandbox's"}); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(outside); string(text) != "mine" {
		t.Errorf("%s", text)
	}
}

// A command line that can't be meant says what is wrong, and starts nothing.
func TestRefusedCommandLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of one that starts
	defer cancel()
	for _, row := range []struct{ flag, value, says string }{
		{"-notify", "127.0.0.1:9000", "flag -notify: want an http or https URL"},
		{"-notify", "ftp://127.0.0.1/", "flag -notify: want an http or https URL"},
		{"-notify", "http://127.0.0.1/?a=b", "without a query"},
		{"-keys", "none", "flag -keys: want public, certificates or both"},
		{"-dir", file, "wechat: mkdir " + file},
		{"-keys=both", "sandbox", `unexpected argument "sandbox"`},
	} {
		c := exec.CommandContext(ctx, os.Args[0], row.flag, row.value)
		c.Env = append(os.Environ(), "WECHAT_SANDBOX=1")
		var out, says strings.Builder
		c.Stdout, c.Stderr = &out, &says
		if err := c.Run(); err == nil || out.Len() > 0 || !strings.Contains(says.String(), row.says) {
			t.Errorf("%s %s: %v\n%s%s", row.flag, row.value, err, &out, &says)
		}
	}
}
