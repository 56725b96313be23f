package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

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

func (s *source) flags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&s.id, "secret-id", "", "`NAME` or ARN of the secret in Secrets Manager")
	cmd.Flags().StringVar(&s.file, "file", "", "`FILE` with the secret")
	cmd.MarkFlagsMutuallyExclusive("secret-id", "file")
	return cmd
}

// secret reads a secret and adds a step. The local stack's is the default if there
// is one. On failure it returns nil, and the report says why.
func (a *app) secret(ctx context.Context, r *report, from *source, ofLocal func(discovery.Secrets) string) ([]byte, error) {
	const name = "secret read"
	if from.id == "" && from.file == "" {
		if a.local == nil {
			return nil, usagef("--secret-id or --file is needed")
		}
		from.id = ofLocal(a.local.Secrets)
	}
	found := step{Name: name, OK: true, Detail: from.id}
	var text []byte
	var err error
	if from.file != "" {
		f, bad := load(from.file)
		if bad == nil && f.kind != aSecret && f.kind != aText {
			bad = faultf("make the secret first: membercard secret merchant --help", "%s is %s; the finished secret is wanted, a JSON object", from.file, f.kind)
		}
		if bad != nil {
			r.fail(name, bad)
			return nil, nil
		}
		text, found.Detail, found.Notes = f.text, from.file, f.notes
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

// parse parses a secret as the functions do, and adds a step. command makes
// such a secret.
func parse[T any](r *report, text []byte, parser func([]byte) (*T, error), command string) *T {
	const name = "secret is well-formed"
	if text == nil {
		return nil
	}
	value, err := parser(text)
	if err != nil {
		r.fail(name, faultf("make it anew: membercard secret "+command+" … --put NAME", "%v", err))
		return nil
	}
	r.add(step{Name: name, OK: true})
	return value
}

// fixed is a secret that does not change. It is a [signing.Source] and an
// [officialaccount.Source].
type fixed[T any] struct{ value *T }

func (f fixed[T]) Get(context.Context) (*T, error)           { return f.value, nil }
func (f fixed[T]) Refresh(context.Context) (*T, bool, error) { return f.value, false, nil }

func (a *app) checkMerchant() *cobra.Command {
	var from source
	cmd := command("merchant", "Check the merchant's secret with WeChat Pay's self-test", func(ctx context.Context) error {
		r := &report{}
		client, text, err := a.merchantOf(ctx, r, &from)
		if err != nil {
			return err
		}
		if client == nil {
			return a.print(a.out, r)
		}
		var secret merchantSecret
		_ = strictjson.Decode(text, &secret) // ParseMerchant took it
		r.MchID, r.CertificateSerialNo = secret.MchID, secret.CertificateSerialNo
		if secret.PublicKeyID != "" {
			if bad := publicKeyID(secret.PublicKeyID); bad != nil {
				r.fail("public-key ID", bad)
			} else {
				r.add(step{Name: "public-key ID", OK: true, Detail: secret.PublicKeyID})
			}
		}
		if bad := apiv3Key(secret.APIv3Key); secret.APIv3Key == "" {
			r.add(step{Name: "APIv3 key", Skipped: "not in the secret; notifications can't be read without it"})
		} else if bad != nil {
			r.fail("APIv3 key", bad)
		} else if looksLikeMD5(secret.APIv3Key) {
			r.add(step{Name: "APIv3 key", OK: true, Warning: md5Warning, Cure: "if the platform certificates can't be decrypted below, or are skipped: " + setAPIv3Key})
		}
		if err := a.clock(ctx, r); err != nil {
			return err
		}
		r.addEcho(a.echo(ctx, client).Steps[1:]) // without its reading of the secret
		a.cureRefusal(&r.Steps[len(r.Steps)-1])
		return a.print(a.out, r)
	})
	cmd.Long = `Check the merchant's secret: offline, and then with WeChat Pay's self-test of keys
(POST /v3/security/echo), which touches no card.`
	cmd.Example = `  membercard check merchant --secret-id membercard/merchant`
	return from.flags(cmd)
}

// merchantClient returns a client that signs as the merchant of a secret, or nil if
// the report says why not.
func (a *app) merchantClient(ctx context.Context, r *report, from *source) (*signing.Client, error) {
	client, _, err := a.merchantOf(ctx, r, from)
	return client, err
}

// merchantOf is merchantClient with the secret.
func (a *app) merchantOf(ctx context.Context, r *report, from *source) (*signing.Client, []byte, error) {
	text, err := a.secret(ctx, r, from, func(s discovery.Secrets) string { return s.Merchant })
	if err != nil {
		return nil, nil, err
	}
	merchant := parse(r, text, signing.ParseMerchant, "merchant")
	if merchant == nil {
		if last := &r.Steps[len(r.Steps)-1]; text != nil {
			if bad := mistakeIn(text); bad != nil {
				last.Cause, last.Cure = bad.cause, bad.cure
			}
		}
		return nil, nil, nil
	}
	client, err := a.signingAs(merchant)
	return client, text, err
}

// makeAnew makes the secret again, after what a cure names.
const makeAnew = "membercard secret merchant --cert apiclient_cert.pem --key apiclient_key.pem --public-key pub_key.pem --public-key-id PUB_KEY_ID_… --put NAME"

// mistakeIn names what is wrong with a merchant's secret that was written by hand, in
// the words of secret merchant. It returns nil if the parser's say enough.
func mistakeIn(text []byte) *fault {
	var secret merchantSecret
	if strictjson.Decode(text, &secret) != nil {
		return nil
	}
	// The keys are read as files are; the cures name WeChat's files.
	in := func(name, content string) *file {
		mended, _ := mend([]byte(content))
		f := &file{path: name, text: mended}
		f.recognize()
		return f
	}
	serial := strings.Trim(secret.CertificateSerialNo, "0123456789abcdefABCDEF")
	var own *rsa.PrivateKey
	var key string
	var bad *fault
	if secret.PrivateKey != "" {
		key = "private_key"
		own, bad = in("apiclient_key.pem", secret.PrivateKey).rsaKey("apiclient_key.pem")
	}
	if bad == nil && secret.PublicKey != "" {
		key = "wechatpay_public_key"
		_, bad = in("pub_key.pem", secret.PublicKey).wechatPaysKey(nil, own)
	}
	if bad == nil && secret.PublicKeyID != "" {
		key, bad = "wechatpay_public_key_id", publicKeyID(secret.PublicKeyID)
	}
	if bad == nil && secret.APIv3Key != "" {
		key, bad = "apiv3_key", apiv3Key(secret.APIv3Key)
	}
	if bad == nil && serial != "" {
		key, bad = "certificate_serial_no", faultf("openssl x509 -in apiclient_cert.pem -noout -serial   (hexadecimal digits only, without colons)", "it is not a serial number in hex")
	}
	if bad == nil {
		return nil
	}
	return faultf(bad.cure+"; then make the secret anew: "+makeAnew, "%s in the secret: %s", key, bad.cause)
}

// cureRefusal says of a refusal how to find out, and with the local stack what is the
// cure there.
func (a *app) cureRefusal(s *step) {
	const compare = "openssl x509 -in apiclient_cert.pem -noout -subject -serial -enddate"
	switch {
	case s.OK || s.Cure == "":
	case s.Name == signing.StepSignature && a.local != nil:
		s.Cure = "compare mchid and certificate_serial_no with the certificate (" + compare + "), or make the secret anew, which also compares private_key: membercard secret merchant --help; if they agree, the certificate has expired, was revoked or replaced, or the sandbox does not know it: " + enrolCommand
	case s.Name == signing.StepSignature:
		s.Cure += ". The certificate shows them, and when it expires: " + compare + "; this reads them from it: " + makeAnew
	case a.local == nil:
	case s.Name == signing.StepVerified && strings.Contains(s.Cure, "public key"):
		const sandbox = "give the sandbox's public key and its ID as wechatpay_public_key and wechatpay_public_key_id, for it can sign with no other: " + enrolCommand + ", which writes them, then membercard secret merchant … " + useSandbox
		if strings.Contains(s.Cure, "wechatpay_public_key") {
			s.Cure = sandbox
		} else { // other causes are possible
			s.Cure += "; " + sandbox
		}
	case s.Name == signing.StepCertificates && strings.Contains(s.Cure, "apiv3_key"):
		s.Cure = "make the secret with the APIv3 key (账户中心 → API安全 → APIv3密钥) that the merchant was enrolled with; or enrol it with this one: " + enrolCommand
	}
}

// maxSkew is how much a signature's time may differ from WeChat Pay's clock.
const maxSkew = 5 * time.Minute

// clock compares this machine's clock with WeChat Pay's, whose answers have a Date.
// WeChat Pay refuses a signature whose time is wrong like any other wrong signature.
func (a *app) clock(ctx context.Context, r *report) error {
	const name = "clock"
	wechat, err := a.pay()
	if err != nil {
		return err
	}
	var answer *upstream.Answer
	a.during("asking WeChat Pay", func() {
		answer, err = wechat.Do(ctx, func(ctx context.Context, endpoint string) (*upstream.Answer, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/", nil)
			if err != nil {
				return nil, err
			}
			response, err := wechat.HTTP().Do(request)
			if err != nil {
				return nil, err
			}
			return &upstream.Answer{Status: response.StatusCode, Header: response.Header}, response.Body.Close()
		})
	})
	if err != nil {
		r.add(step{Name: name, Skipped: "WeChat Pay did not answer"})
		return nil
	}
	r.compareClock(name, "WeChat Pay", answer.Header.Get("Date"), "WeChat Pay's answer has no Date")
	return nil
}

// compareClock compares this machine's clock with the Date that a server answered, and
// is skipped for a reason if there was none.
func (r *report) compareClock(name, server, date, none string) {
	now, err := http.ParseTime(date)
	switch skew := time.Since(now).Round(time.Second); {
	case err != nil:
		r.add(step{Name: name, Skipped: none})
	case skew.Abs() >= maxSkew:
		r.fail(name, faultf("set the clock: sudo timedatectl set-ntp true", "this machine's clock differs from %s's by %s; less than %s is allowed", server, skew.Abs(), maxSkew))
	default:
		r.add(step{Name: name, OK: true})
	}
}

// official returns a client of the official-account API.
func (a *app) official() (*upstream.Client, error) {
	return a.wechat(func(s *discovery.Stack) []string { return s.WeChat }, officialaccount.Endpoints)
}

func (a *app) checkOfficialAccount() *cobra.Command {
	var from source
	cmd := command("official-account", "Check the official account's secret with WeChat", func(ctx context.Context) error {
		r := &report{}
		text, err := a.secret(ctx, r, &from, func(s discovery.Secrets) string { return s.OfficialAccount })
		if err != nil {
			return err
		}
		account := parse(r, text, officialaccount.ParseAccount, "official-account")
		if account == nil {
			return a.print(a.out, r)
		}
		if r.checkAccount("", account); appID(account.AppID) == nil {
			r.AppID = account.AppID // or it may be the AppSecret
		}
		wechat, err := a.official()
		if err != nil {
			return err
		}
		body, err := strictjson.Encode(map[string]any{"grant_type": "client_credential", "appid": account.AppID, "secret": account.Secret})
		if err != nil {
			return err
		}
		a.during("asking WeChat", func() {
			_, err = officialaccount.Call(ctx, wechat, http.MethodPost, "/cgi-bin/stable_token", nil, body, []string{account.Secret})
		})
		const name = "WeChat gives an access token"
		switch {
		case err == nil:
			r.add(step{Name: name, OK: true})
		case officialaccount.IsErrcode(err, 40164):
			s := failedCall(name, err)
			s.Cause = err.(*apierror.Error).Message
			s.Cure += "; it is this machine's address; the functions call from that of their NAT gateway, which must be on the list too"
			r.add(s)
		default:
			r.add(failedCall(name, err))
		}
		return a.print(a.out, r)
	})
	cmd.Long = `Check the official account's secret: offline, and then by getting an access token
(POST /cgi-bin/stable_token), which ends nobody else's. If WeChat does not allow this
machine's address, the address to allow is named.`
	return from.flags(cmd)
}

func (a *app) checkLogin() *cobra.Command {
	var from source
	cmd := command("login", "Check the login secret with WeChat", func(ctx context.Context) error {
		r := &report{}
		text, err := a.secret(ctx, r, &from, func(s discovery.Secrets) string { return s.Login })
		if err != nil {
			return err
		}
		login := parse(r, text, officialaccount.ParseLogin, "login")
		if login == nil {
			return a.print(a.out, r)
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
			a.during("asking WeChat", func() {
				_, err = officialaccount.Call(ctx, wechat, http.MethodGet, app.path, url.Values{
					"appid": {app.account.AppID}, "secret": {app.account.Secret}, app.query: {"membercard-check"}, "grant_type": {"authorization_code"},
				}, nil, []string{app.account.Secret})
			})
			name := app.name + ": WeChat accepts the AppSecret"
			// Refusing the code, which is no user's, WeChat has accepted the rest.
			if err == nil || officialaccount.IsErrcode(err, 40029) {
				r.add(step{Name: name, OK: true})
			} else {
				r.add(failedCall(name, err))
			}
		}
		return a.print(a.out, r)
	})
	cmd.Long = `Check the secret of the apps that users log in to: offline, and then by exchanging a
login code that is nobody's, which WeChat refuses only after it accepted the AppSecret.`
	return from.flags(cmd)
}

// checkAccount checks what an AppID and an AppSecret look like.
func (r *report) checkAccount(prefix string, account *officialaccount.Account) {
	for _, part := range []struct {
		name  string
		wrong *fault
	}{{"AppID", appID(account.AppID)}, {"AppSecret", appSecret(account.Secret)}} {
		if part.wrong != nil {
			r.fail(prefix+part.name+" looks right", part.wrong)
		} else {
			r.add(step{Name: prefix + part.name + " looks right", OK: true})
		}
	}
}

// failedCall is the step of a call to WeChat that failed.
func failedCall(name string, err error) step {
	s := step{Name: name, Cause: err.Error()}
	if e, ok := errors.AsType[*apierror.Error](err); ok {
		s.Cause, s.Cure, s.RequestID = e.Message, e.Cure, e.RequestID
		if e.Cause != nil {
			s.Cause = e.Cause.Error()
		}
	}
	return s
}
