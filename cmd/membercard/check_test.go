package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"membercard/wechat/sandbox"
	"membercard/wechat/wechatpay"
)

// change changes keys of a secret; a value of "-" takes the key out.
func change(t *testing.T, secret string, keysAndValues ...string) string {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(secret), &members); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(keysAndValues); i += 2 {
		in, key := members, keysAndValues[i]
		if object, rest, nested := strings.Cut(key, "/"); nested {
			in, key = members[object].(map[string]any), rest
		}
		if in[key] = keysAndValues[i+1]; keysAndValues[i+1] == "-" {
			delete(in, key)
		}
	}
	return string(must(json.Marshal(members)))
}

func TestCheckMerchantPasses(t *testing.T) {
	for _, row := range []struct {
		name    string
		mode    wechatpay.Mode
		skipped []string
		steps   []string
	}{
		{"public key", wechatpay.PublicKeyOnly, []string{"APIv3 key"}, []string{"public-key ID"}},
		{"certificates", wechatpay.Certificates, nil, []string{"platform certificates decrypted"}},
		{"both", wechatpay.Both, nil, []string{"public-key ID", "platform certificates decrypted"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			secret := pay.MerchantSecret(row.mode)
			manager.aws.Secrets.Put("membercard/merchant", secret)
			for _, args := range [][]string{
				{"--file", write(t, "secret.json", secret)},
				{"--secret-id", "membercard/merchant"},
				{}, // the local stack's
			} {
				o := tool(t, append(args, "check", "merchant", "--json", local)...)
				r := o.requirePassed(t)
				got := map[string]bool{} // by name; false: skipped
				for _, s := range r.Steps {
					got[s.Name] = s.OK && s.Skipped == ""
				}
				for _, name := range append(row.steps, "secret read", "secret is well-formed", "clock", "WeChat Pay answered", "signature accepted", "answer verified", "message echoed", "encrypted for WeChat Pay", "decrypted from WeChat Pay") {
					if !got[name] {
						t.Errorf("%q is not in order: %s", name, o.out)
					}
				}
				for _, name := range row.skipped {
					if ok, there := got[name]; ok || !there {
						t.Errorf("%q was not skipped: %s", name, o.out)
					}
				}
				o.requireNo(t, private(nil)...)
			}
		})
	}
}

func TestCheckMerchantNamesTheMistake(t *testing.T) {
	whole := pay.MerchantSecret(wechatpay.Both)
	want, _ := merchantNow(wechatpay.Both)
	otherPublic := pkixOf(t)
	foreign := httptest.NewUnstartedServer(http.NotFoundHandler())
	foreign.Config.ErrorLog = log.New(io.Discard, "", 0)
	foreign.StartTLS()
	defer foreign.Close()
	elsewhere := ""
	for _, row := range []struct {
		name, secret string
		fault        func()
		step         string
		cause, cure  string
	}{
		{"a serial number of another certificate", change(t, whole, "certificate_serial_no", "1DDE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2"), nil, "signature accepted", "401", "certificate_serial_no"},
		{"another mchid", change(t, whole, "mchid", "1900000002"), nil, "signature accepted", "401", "mchid"},
		{"another key", change(t, whole, "private_key", keyPEM(another())), nil, "signature accepted", "401", "private_key"},
		{"another public key", change(t, whole, "wechatpay_public_key", otherPublic), nil, "answer verified", "", "public key and its ID"},
		{"another public-key ID", change(t, whole, "wechatpay_public_key_id", "PUB_KEY_ID_0119000000012025062400000000000000", "apiv3_key", "-"), nil, "answer verified", "unknown key", "wechatpay_public_key_id"},
		{"another APIv3 key", change(t, whole, "apiv3_key", strings.ToLower(want.APIv3Key[:31])+"0"), nil, "platform certificates decrypted", "apiv3_key does not decrypt", "APIv3密钥"},
		{"another APIv3 key without a public key", change(t, pay.MerchantSecret(wechatpay.Certificates), "apiv3_key", strings.Repeat("a", 32)), nil, "platform certificates decrypted", "apiv3_key does not decrypt", "APIv3密钥"},
		{"answers that are not signed", change(t, whole, "apiv3_key", "-"), func() {
			pay.Break(0, wechatpay.Unsigned(), -1)
			pay.Break(1, wechatpay.Unsigned(), -1)
		}, "answer verified", "", "endpoints"},
		{"a network that is cut", change(t, whole, "apiv3_key", "-"), func() {
			pay.Break(0, sandbox.Reset(), -1)
			pay.Break(1, sandbox.Reset(), -1)
		}, "WeChat Pay answered", "", "this machine has a way to the internet"},
		{"another server in place of WeChat Pay", change(t, whole, "apiv3_key", "-"), func() { elsewhere = foreign.URL }, "WeChat Pay answered", "certificate signed by unknown authority", "a proxy that opens TLS"},
		{"a clock that is wrong", change(t, whole, "apiv3_key", "-"), func() {
			pay.Break(0, sandbox.Status(404, `{}`).With("Date", time.Now().Add(-6*time.Minute).UTC().Format(http.TimeFormat)), 1)
		}, "clock", "differs from WeChat Pay's by 6m", "timedatectl"},
		{"an ID that does not look like one", change(t, whole, "wechatpay_public_key_id", "PUB_KEY_ID_xxxx", "apiv3_key", "-"), nil, "public-key ID; answer verified", "", ""},
		{"no key to verify with", change(t, whole, "wechatpay_public_key", "-", "wechatpay_public_key_id", "-", "apiv3_key", "-"), nil, "secret is well-formed", "apiv3_key is missing", "membercard secret merchant"},
		{"a misspelt key", change(t, whole, "mchId", "1900000001"), nil, "secret is well-formed", "mchId is not a field", "membercard secret merchant"},
		{"the official account's secret", account.Secret(), nil, "secret is well-formed", "it is the official account's secret; the merchant's secret is wanted", "membercard check official-account"},
		{"the login secret", account.LoginSecret(), nil, "secret is well-formed", "it is the login secret; the merchant's secret is wanted", "membercard check login"},
		{"a foreign document", `{"name": "x"}`, nil, "secret is well-formed", "is not a field", "membercard secret merchant --cert"},
		{"no JSON", "hello", nil, "secret is well-formed", "not one JSON object", "membercard secret merchant"},
		{"a private key", want.PrivateKey, nil, "secret read", "is a private key; the finished secret is wanted", "membercard secret merchant"},
		{"nothing", "", nil, "secret read", "is empty", "copy it anew"},
	} {
		t.Run(row.name, func(t *testing.T) {
			elsewhere = ""
			args := []string{"check", "merchant", "--json", local, "--file", write(t, "secret.json", row.secret)}
			if row.fault != nil {
				row.fault()
				defer pay.Heal()
			}
			if elsewhere != "" {
				args = append(args, "--endpoint", elsewhere)
			}
			o := tool(t, args...)
			s := o.requireFailed(t, strings.Split(row.step, "; ")...)
			if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) || s.Cause == "" || s.Cure == "" {
				t.Errorf("cause: %s\ncure: %s", s.Cause, s.Cure)
			}
			o.requireNo(t, private(nil)...)
		})
	}
}

func pkixOf(t *testing.T) string {
	t.Helper()
	r := &report{}
	files := &merchantFiles{publicKey: write(t, "pub_key.pem", pkcs1PEM(another())), publicKeyID: "PUB_KEY_ID_1"}
	text, _ := r.publicKey(files, nil, nil)
	return text
}

// The keys change at WeChat Pay, and a secret that was right is not any more.
func TestCheckMerchantAfterARotation(t *testing.T) {
	for _, row := range []struct {
		name       string
		rotate     func()
		mode       wechatpay.Mode
		step, cure string
	}{
		{"of the merchant's certificate", pay.RotateMerchantKey, wechatpay.Both, "signature accepted", "revoked or replaced"},
		{"of the public key", pay.RotatePublicKey, wechatpay.PublicKey, "answer verified", "wechatpay_public_key_id"},
	} {
		t.Run(row.name, func(t *testing.T) {
			secret := write(t, "secret.json", pay.MerchantSecret(row.mode))
			row.rotate()
			s := tool(t, "check", "merchant", "--json", local, "--file", secret).requireFailed(t, row.step)
			if !strings.Contains(s.Cure, row.cure) {
				t.Errorf("%+v", s)
			}
			tool(t, "check", "merchant", "--json", local, "--file", write(t, "secret.json", pay.MerchantSecret(row.mode))).requirePassed(t)
		})
	}
}

func TestReadingASecretFromAWS(t *testing.T) {
	for _, row := range []struct {
		name, exception string
		cause, cure     string
	}{
		{"no such secret", "ResourceNotFoundException", "no secret membercard/other; it forgets them", "--put membercard/other --local"},
		{"not allowed", "AccessDeniedException", "not authorized", "secretsmanager:GetSecretValue"},
		{"expired credentials", "ExpiredTokenException", "does not accept the credentials", "get-caller-identity"},
		{"another error", "InternalServiceError", "InternalServiceError", "GetSecretValue"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
			manager.refuse("GetSecretValue", row.exception)
			defer manager.refuse("GetSecretValue", "")
			s := tool(t, "check", "merchant", "--json", local, "--secret-id", "membercard/other").requireFailed(t, "secret read")
			if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
				t.Errorf("%+v", s)
			}
		})
	}
	t.Run("without a region", func(t *testing.T) {
		s := tool(t, "check", "merchant", "--json", "--secret-id", "x").requireFailed(t, "secret read")
		if !strings.Contains(s.Cure, "AWS_REGION") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("with a region that is none", func(t *testing.T) {
		s := tool(t, "check", "merchant", "--json", "--secret-id", "x", "--region", "Frankfurt (eu)").requireFailed(t, "secret read")
		if !strings.Contains(s.Cause, `"Frankfurt (eu)" is no AWS region`) || !strings.Contains(s.Cure, "--region") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("without credentials", func(t *testing.T) {
		s := tool(t, "check", "merchant", "--json", "--secret-id", "x", "--region", region).requireFailed(t, "secret read")
		if !strings.Contains(s.Cause, "no AWS credentials: neither the environment nor the profile has any") || !strings.Contains(s.Cure, "get-caller-identity") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("an unknown profile", func(t *testing.T) {
		s := tool(t, "check", "merchant", "--json", "--secret-id", "x", "--profile", "nobody").requireFailed(t, "secret read")
		if !strings.Contains(s.Cure, "list-profiles") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("as every AWS tool", func(t *testing.T) {
		for name, value := range map[string]string{"AWS_REGION": region, "AWS_ACCESS_KEY_ID": accessKeyID, "AWS_SECRET_ACCESS_KEY": secretAccessKey, "AWS_ENDPOINT_URL_SECRETS_MANAGER": manager.URL} {
			t.Setenv(name, value)
		}
		manager.aws.Secrets.Put("from-aws", pay.MerchantSecret(wechatpay.Both))
		tool(t, "check", "merchant", "--json", "--secret-id", "from-aws", "--endpoint", pay.Endpoints()[0]).requirePassed(t)
	})
}

func TestCheckOfficialAccount(t *testing.T) {
	whole := account.Secret()
	manager.aws.Secrets.Put("membercard/official-account", whole)
	tool(t, "check", "official-account", "--json", local).requirePassed(t)
	tool(t, "check", "official-account", "--json", local, "--file", write(t, "a.json", whole)).requirePassed(t)
	const token = "WeChat gives an access token"
	for _, row := range []struct {
		name, secret string
		fault        func()
		step         string
		cause, cure  string
	}{
		{"a wrong AppSecret", change(t, whole, "secret", strings.Repeat("0", 32)), nil, token, "40125", "AppSecret"},
		{"a wrong AppID", change(t, whole, "appid", "wx0000000000000000"), nil, token, "40013", "AppID"},
		{"this address is not on the allow-list", whole, func() { account.Allow(false) }, token, "add ", "IP 白名单"},
		{"WeChat is cut off", whole, func() {
			account.Break(0, sandbox.Reset(), -1)
			account.Break(1, sandbox.Reset(), -1)
		}, token, "", "this machine has a way to the internet"},
		{"the original ID", change(t, whole, "appid", "gh_86a091e50ad4"), nil, "AppID looks right; " + token, "40013", "AppID"},
		{"an AppSecret that is cut", change(t, whole, "secret", "0c7ad0e5"), nil, "AppSecret looks right; " + token, "40125", "AppSecret"},
		{"AppID and AppSecret swapped", change(t, whole, "appid", secretOf(t, whole), "secret", "wx5f0c2b8e7d4a9361"), nil, "AppID looks right; AppSecret looks right; " + token, "40013", "AppID"},
		{"no AppSecret", change(t, whole, "secret", "-"), nil, "secret is well-formed", "secret is missing", "membercard secret official-account"},
		{"the merchant's secret", pay.MerchantSecret(wechatpay.Both), nil, "secret is well-formed", "it is the merchant's secret; the official account's secret is wanted", "membercard check merchant"},
		{"the merchant's certificate", merchantCertificate().pem(), nil, "secret read", "is a certificate", "membercard secret official-account --help"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.fault != nil {
				row.fault()
				defer account.Heal()
				defer account.Allow(true)
			}
			o := tool(t, "check", "official-account", "--json", local, "--file", write(t, "a.json", row.secret))
			s := o.requireFailed(t, strings.Split(row.step, "; ")...)
			if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
				t.Errorf("cause: %s\ncure: %s", s.Cause, s.Cure)
			}
			if strings.HasPrefix(row.cause, "add ") && !strings.Contains(s.Cause, "127.0.0.1") && !strings.Contains(s.Cause, "203.0.113.") {
				t.Errorf("no address in %s", s.Cause)
			}
			o.requireNo(t, secretOf(t, whole))
		})
	}
}

func secretOf(t *testing.T, secret string) string {
	t.Helper()
	var s struct{ Secret string }
	if err := json.Unmarshal([]byte(secret), &s); err != nil {
		t.Fatal(err)
	}
	return s.Secret
}

func TestCheckLogin(t *testing.T) {
	whole := account.LoginSecret()
	manager.aws.Secrets.Put("membercard/login", whole)
	tool(t, "check", "login", "--json", local).requirePassed(t)
	for _, row := range []struct {
		name, secret string
		passes       bool
		step         string
		cause, cure  string
	}{
		{"the mini program alone", change(t, whole, "official_account", "-"), true, "", "", ""},
		{"the official account alone", change(t, whole, "mini_program", "-"), true, "", "", ""},
		{"a wrong AppSecret of the mini program", change(t, whole, "mini_program/secret", strings.Repeat("0", 32)), false, "mini program: WeChat accepts the AppSecret", "40125", "AppSecret"},
		{"a wrong AppSecret of the official account", change(t, whole, "official_account/secret", strings.Repeat("0", 32)), false, "official account: WeChat accepts the AppSecret", "40125", "AppSecret"},
		{"a wrong AppID", change(t, whole, "mini_program/appid", "wx0000000000000000"), false, "mini program: WeChat accepts the AppSecret", "40013", "AppID"},
		{"the official account's secret", account.Secret(), false, "secret is well-formed", "it is the official account's secret; the login secret is wanted", "membercard check official-account"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := tool(t, "check", "login", "--json", local, "--file", write(t, "l.json", row.secret))
			if row.passes {
				o.requirePassed(t)
				return
			}
			s := o.requireFailed(t, row.step)
			if !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
				t.Errorf("cause: %s\ncure: %s", s.Cause, s.Cure)
			}
		})
	}
}
