package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"membercard/local/discovery"
	"membercard/shared/apierror"
	"membercard/shared/officialaccount"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
	"membercard/shared/upstream"
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

// whose are the kinds, for a reader.
var whose = map[string]string{ofMerchant: "merchant's secret", ofAccount: "official account's secret", ofLogin: "login secret"}

// secret reads a secret of a kind and adds a step. The local stack's is the default if
// there is one. On failure it returns nil, and the report says why.
func (a *app) secret(ctx context.Context, r *report, from *source, kind string) ([]byte, error) {
	const name = "secret read"
	if from.id == "" && from.file == "" {
		if a.local == nil {
			return nil, usagef("--secret-id or --file is needed")
		}
		from.id = map[string]string{ofMerchant: a.local.Secrets.Merchant, ofAccount: a.local.Secrets.OfficialAccount, ofLogin: a.local.Secrets.Login}[kind]
	}
	found := step{Name: name, OK: true, Detail: from.id}
	var text []byte
	var err error
	if from.file != "" {
		raw, bad := readUpTo(from.file, maxFile)
		if bad == nil {
			if f := inspect(from.file, raw); f.kind != aSecret && f.kind != aText {
				bad = faultf("make the secret first: membercard secret "+kind+" --help", "%s is %s; the finished secret is wanted, a JSON object", from.file, f.kind)
			}
		}
		if bad != nil {
			r.fail(name, bad)
			return nil, nil
		}
		text, found.Detail = raw, from.file // not mended: the functions do not mend it
	} else if text, err = a.getSecret(ctx, from.id); err != nil {
		if bad, ok := err.(*fault); ok {
			r.fail(name, bad)
			return nil, nil
		}
		return nil, err
	}
	r.add(found)
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
		r.fail(name, faultf("name the one that is wanted with --secret-id or --file; this one is for: membercard check "+other, "it is the %s; the %s is wanted", whose[other], whose[kind]))
		return value
	}
	cure := "correct the key that the cause names"
	if from != nil {
		cure = "make it anew: " + a.makeAnew(kind, from, text)
	}
	r.fail(name, faultf(cure, "%v", err))
	return value
}

// parsers are the functions' parsers of secrets.
var parsers = map[string]func([]byte) (any, error){
	ofMerchant: func(text []byte) (any, error) { return signing.ParseMerchant(text) },
	ofAccount:  func(text []byte) (any, error) { return officialaccount.ParseAccount(text) },
	ofLogin:    func(text []byte) (any, error) { return officialaccount.ParseLogin(text) },
}

// kindOf returns the kind that a secret is of, or "".
func kindOf(text []byte) string {
	for kind, parse := range parsers {
		if _, err := parse(text); err == nil {
			return kind
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
	names := map[string][]string{ofMerchant: {"mchid", "private_key", "certificate_serial_no", "apiv3_key"}, ofAccount: {"appid"}, ofLogin: {"mini_program", "official_account"}}[kind]
	return len(members) == 0 || slices.ContainsFunc(names, func(name string) bool { return members[name] != nil })
}

// fixed is a secret that does not change. It is a [signing.Source] and an
// [officialaccount.Source].
type fixed[T any] struct{ value *T }

func (f fixed[T]) Get(context.Context) (*T, error)         { return f.value, nil }
func (f fixed[T]) Refresh(context.Context, *T) (*T, error) { return f.value, nil }

// official returns a client of the official-account API.
func (a *app) official() (*upstream.Client, error) {
	return a.wechat(func(s *discovery.Stack) []string { return s.WeChat }, officialaccount.Endpoints)
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
		wechat, err := a.official()
		if err != nil {
			return err
		}
		body := strictjson.Encode(map[string]any{"grant_type": "client_credential", "appid": account.AppID, "secret": account.Secret})
		defer a.during("asking WeChat")()
		_, err = officialaccount.Call(ctx, wechat, http.MethodPost, "/cgi-bin/stable_token", nil, body)
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
		wechat, err := a.official()
		if err != nil {
			return err
		}
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

// proxyCure is the cure of a proxy that can't be reached, or lets nothing through.
const proxyCure = "correct the proxy in HTTPS_PROXY, with its user and password if it answers 407; hosts in NO_PROXY are reached without it"

// failedCall is the step of a call to WeChat that failed.
func failedCall(name string, err error) step {
	s := step{Name: name, Cause: err.Error()}
	if e, ok := errors.AsType[*apierror.Error](err); ok {
		s.Cause, s.Cure, s.RequestID = e.Message, e.Cure, e.RequestID
		if e.Cause != nil {
			s.Cause = e.Cause.Error()
		}
		if e.Cause != nil && e.Status < http.StatusInternalServerError { // WeChat's own message
			s.Cause += ": " + e.Message
		}
	}
	s.fromHere()
	return s
}

// fromHere replaces what the error of a call says of functions.
func (s *step) fromHere() {
	switch {
	case strings.Contains(s.Cause, " signal received"): // the cause of signal.NotifyContext
		bad := interrupted()
		s.Cause, s.Cure = bad.cause, bad.cure
	case s.Cure == apierror.Unreachable(nil).Cure && strings.Contains(s.Cause, "proxyconnect "):
		s.Cure = proxyCure
	case s.Cure == apierror.Unreachable(nil).Cure && strings.Contains(s.Cause, "x509: "):
		s.Cure = "see what answers in place of WeChat, maybe a proxy that opens TLS; or this machine has no root certificates (apt-get install ca-certificates)"
	case s.Cure == apierror.Unreachable(nil).Cure:
		s.Cure = "check that this machine has a way to the internet, and resolves WeChat's names"
	}
}
