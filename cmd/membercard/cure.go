package main

import (
	"encoding/json"
	"strings"

	"membercard/shared/signing"
)

// The commands that cures name are those that this operator would type: for this secret,
// and for AWS or the local stack as this command was told.

// where is what follows a command so that it works where this one does.
func (a *app) where() string {
	switch {
	case a.local != nil && a.localURL == defaultLocal:
		return " --local"
	case a.local != nil:
		return " --local=" + quote(a.localURL)
	}
	flags := ""
	if a.profile != "" {
		flags += " --profile " + quote(a.profile)
	}
	if a.region != "" {
		flags += " --region " + quote(a.region)
	}
	return flags
}

// enrolment is the command that makes a merchant known to the sandbox.
func (a *app) enrolment() string {
	return "membercard local enrol --cert apiclient_cert.pem --apiv3-key-file apiv3_key.txt" + a.where()
}

// checkMerchantWith is the command that checks a merchant's secret against its
// certificate.
func (a *app) checkMerchantWith(from *source) string {
	return "membercard check merchant" + a.read(from) + " --cert apiclient_cert.pem" + a.where()
}

// read is what names a secret that is read.
func (a *app) read(from *source) string {
	if from.file != "" {
		return " --file " + quote(from.file)
	}
	return " --secret-id " + quote(from.id)
}

// put is what writes a secret to where it was read. A file is not replaced: it may be
// another than the one that was meant.
func (a *app) put(kind string, from *source) string {
	if from.file != "" {
		return " --out " + kind + ".json" + a.where()
	}
	return " --put " + quote(from.id) + a.where()
}

// makeAnew is the command that makes a secret again. text is the secret that can't be
// used; what can be read of it counts.
func (a *app) makeAnew(kind string, from *source, text []byte) string {
	switch kind {
	case ofMerchant:
		var secret *signing.MerchantSecret
		_ = json.Unmarshal(text, &secret) // as far as it goes
		return a.makeMerchant(from, secret)
	case ofAccount:
		return "membercard secret official-account --appid wx… --secret-file appsecret.txt" + a.put(kind, from)
	}
	return "membercard secret " + kind + " …" + a.put(kind, from)
}

// makeMerchant is the command that makes the merchant's secret again, with a public key
// and an APIv3 key if it has them. Without a secret, it has both.
func (a *app) makeMerchant(from *source, secret *signing.MerchantSecret) string {
	var before, dir, public string
	switch {
	case secret == nil, *secret == (signing.MerchantSecret{}):
		secret = &signing.MerchantSecret{PublicKey: "unknown", APIv3Key: "unknown"}
	case a.isSandboxes(secret):
		dir = "sandbox/"
		before = "membercard local files " + dir + a.where() + " && "
		public = "--public-key " + dir + "pub_key.pem --public-key-id " + strings.TrimSpace(a.local.Files["pub_key_id.txt"])
	}
	switch {
	case public != "":
	case a.local != nil:
		public = useSandbox
	case publicKeyID(secret.PublicKeyID) == nil:
		public = "--public-key pub_key.pem --public-key-id " + secret.PublicKeyID
	default:
		public = "--public-key pub_key.pem --public-key-id PUB_KEY_ID_…"
	}
	command := before + "membercard secret merchant --cert " + dir + "apiclient_cert.pem --key " + dir + "apiclient_key.pem"
	if secret.PublicKey != "" || secret.PublicKeyID != "" || secret.APIv3Key == "" {
		command += " " + public
	}
	if secret.APIv3Key != "" {
		command += " --apiv3-key-file " + dir + "apiv3_key.txt"
	}
	return command + a.put(ofMerchant, from)
}

// isSandboxes reports whether a secret is that of the sandbox's own merchant.
func (a *app) isSandboxes(secret *signing.MerchantSecret) bool {
	if a.local == nil {
		return false
	}
	certificates := inspect("apiclient_cert.pem", []byte(a.local.Files["apiclient_cert.pem"])).certificates
	return len(certificates) > 0 && certificates[0].Subject.CommonName == secret.MchID
}

// quote quotes a path for a shell.
func quote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/+:@") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
