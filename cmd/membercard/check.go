package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"membercard/shared/apierror"
	"membercard/shared/officialaccount"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
)

// source is where a secret is read from.
type source struct{ id, file string }

func (s *source) flags(a *app, cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&s.id, "secret-id", "", a.text("`NAME` or ARN of the secret in Secrets Manager", "Secrets Manager 中凭据的名称（`NAME`）或 ARN"))
	cmd.Flags().StringVar(&s.file, "file", "", a.text("`FILE` with the secret", "存放凭据的文件（`FILE`）"))
	cmd.MarkFlagsMutuallyExclusive("secret-id", "file")
	return cmd
}

// The kinds of secrets, as the commands that make and check them are called.
const (
	ofMerchant = "merchant"
	ofAccount  = "official-account"
	ofLogin    = "login"
)

// kinds say of each kind what it is called, how the functions parse it, and which members a
// malformed one has too.
var kinds = map[string]struct {
	whose   string
	parse   func([]byte) (any, error)
	members []string
}{
	ofMerchant: {"merchant's secret", func(text []byte) (any, error) { return signing.ParseMerchant(text) }, []string{"mchid", "private_key", "certificate_serial_no", "apiv3_key"}},
	ofAccount:  {"official account's secret", func(text []byte) (any, error) { return officialaccount.ParseAccount(text) }, []string{"appid"}},
	ofLogin:    {"login secret", func(text []byte) (any, error) { return officialaccount.ParseLogin(text) }, []string{"mini_program", "official_account"}},
}

// secret reads a secret of a kind and adds a step. The local stack's is the default if
// there is one. On failure it returns nil, and the report says why.
func (a *app) secret(ctx context.Context, r *report, from *source, kind string) ([]byte, error) {
	if from.id == "" && from.file == "" {
		if a.local == nil {
			return nil, usagef("--secret-id or --file is needed")
		}
		from.id = map[string]string{ofMerchant: a.local.Secrets.Merchant, ofAccount: a.local.Secrets.OfficialAccount, ofLogin: a.local.Secrets.Login}[kind]
	}
	found := step{Name: "secret read", Detail: from.id}
	var text []byte
	var bad *fault
	if from.file != "" {
		found.Detail = from.file
		if text, bad = readUpTo(from.file, maxFile); bad == nil { // not mended: the functions do not mend it
			if f := inspect(from.file, text); f.kind != aSecret && f.kind != aText {
				bad = faultf("make the secret first: membercard secret "+kind+" --help", "%s is %s; the finished secret is wanted, a JSON object", from.file, f.kind)
			}
		}
	} else {
		text, bad = a.getSecret(ctx, from.id)
	}
	if !r.check(found, bad) {
		return nil, nil
	}
	return text, nil
}

// parse parses a secret of a kind as the functions do, and adds a step.
func parse[T any](a *app, r *report, text []byte, parser func([]byte) (T, error), kind string, from *source) (value T) {
	const name = "secret is well-formed"
	if text == nil {
		return value
	}
	value, err := parser(text)
	if err == nil {
		r.add(step{Name: name, OK: true})
		return value
	}
	if other := kindOf(text); other != "" {
		r.fail(name, faultf("name the one that is wanted with --secret-id or --file; this one is for: membercard check "+other, "it is the %s; the %s is wanted", kinds[other].whose, kinds[kind].whose))
		return value
	}
	cure := "correct the key that the cause names"
	if from != nil {
		cure = "make it anew: " + a.makeAnew(kind, from, text)
	}
	r.fail(name, faultf(cure, "%v", err))
	return value
}

// kindOf returns the kind that a secret is of, or "".
func kindOf(text []byte) string {
	for name, kind := range kinds {
		if _, err := kind.parse(text); err == nil {
			return name
		}
	}
	return ""
}

// mayBe reports whether a secret is of a kind, though it may be malformed, or is empty.
func mayBe(kind string, text []byte) bool {
	text, _ = mend(text)
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return len(bytes.TrimSpace(text)) == 0
	}
	return len(members) == 0 || slices.ContainsFunc(kinds[kind].members, func(name string) bool { return members[name] != nil })
}

func (a *app) checkOfficialAccount() *cobra.Command {
	var from source
	cmd := a.reporting("official-account", a.text("Check the official account's secret with WeChat", "向微信验证公众号凭据"), func(ctx context.Context, r *report) error {
		text, err := a.secret(ctx, r, &from, ofAccount)
		if err != nil {
			return err
		}
		account := parse(a, r, text, officialaccount.ParseAccount, ofAccount, &from)
		if account == nil {
			return nil
		}
		if r.checkAccount("", account); appID(account.AppID) == nil {
			r.AppID = account.AppID // or it may be the AppSecret
		}
		body := strictjson.Encode(map[string]any{"grant_type": "client_credential", "appid": account.AppID, "secret": account.Secret})
		defer a.during("asking WeChat")()
		_, err = officialaccount.Call(ctx, a.official(), http.MethodPost, "/cgi-bin/stable_token", nil, body)
		const name = "WeChat gives an access token"
		switch {
		case err == nil:
			r.add(step{Name: name, OK: true})
		case officialaccount.IsErrcode(err, apierror.AddressRefused):
			s := failedCall(name, err)
			s.Cause = err.(*apierror.Error).Message
			s.Cure += "; it is this machine's address; the functions call from that of their NAT gateway, which must be on the list too"
			r.add(s)
		default:
			r.add(failedCall(name, err))
		}
		return nil
	})
	cmd.Long = a.text(`Check the official account's secret: offline, and then by getting an access token
(POST /cgi-bin/stable_token), which ends nobody else's. If WeChat does not allow this
machine's address, the address to allow is named.`,
		`检查公众号凭据：先离线检查，再获取一次 access_token
（POST /cgi-bin/stable_token），不会使其他系统的 access_token 失效。
如果微信不允许本机的 IP 地址，会指出需要加入白名单的地址。`)
	return from.flags(a, cmd)
}

func (a *app) checkLogin() *cobra.Command {
	var from source
	cmd := a.reporting("login", a.text("Check the login secret with WeChat", "向微信验证登录凭据"), func(ctx context.Context, r *report) error {
		text, err := a.secret(ctx, r, &from, ofLogin)
		if err != nil {
			return err
		}
		login := parse(a, r, text, officialaccount.ParseLogin, ofLogin, &from)
		if login == nil {
			return nil
		}
		wechat := a.official()
		for _, app := range []struct {
			name, path, query string
			account           *officialaccount.Account
		}{
			{"mini program", "/sns/jscode2session", "js_code", login.MiniProgram},
			{"official account", "/sns/oauth2/access_token", "code", login.OfficialAccount},
		} {
			if app.account == nil {
				continue
			}
			r.checkAccount(app.name+": ", app.account)
			end := a.during("asking WeChat")
			_, err = officialaccount.Call(ctx, wechat, http.MethodGet, app.path, url.Values{
				"appid": {app.account.AppID}, "secret": {app.account.Secret}, app.query: {"membercard-check"}, "grant_type": {"authorization_code"},
			}, nil)
			end()
			name := app.name + ": WeChat accepts the AppSecret"
			// Refusing the code, which is no user's, WeChat has accepted the rest.
			if err == nil || officialaccount.IsErrcode(err, 40029) {
				r.add(step{Name: name, OK: true})
			} else {
				r.add(failedCall(name, err))
			}
		}
		return nil
	})
	cmd.Long = a.text(`Check the secret of the apps that users log in to: offline, and then by exchanging a
login code that is nobody's, which WeChat refuses only after it accepted the AppSecret.`,
		`检查用户登录所用应用的凭据：先离线检查，再用一个不属于任何用户的登录 code 请求微信；
微信先验证 AppSecret，通过后才会拒绝该 code。`)
	return from.flags(a, cmd)
}

// checkAccount checks what an AppID and an AppSecret look like.
func (r *report) checkAccount(prefix string, account *officialaccount.Account) {
	looksRight := func(name string, bad *fault) { r.check(step{Name: prefix + name + " looks right"}, bad) }
	looksRight("AppID", appID(account.AppID))
	looksRight("AppSecret", appSecret(account.Secret))
}
