package signing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"membercard/shared/signing/wechatpaytest"
)

const (
	mchID       = "1900000001"
	serialNo    = "1DDE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2"
	publicKeyID = wechatpaytest.PublicKeyID
	apiv3Key    = "Kq7vXw2Zr9Tb4Nc6Ym1Lp8Hd3Jf5Gs0A"
)

// keys are the merchant's and WeChat Pay's.
func keys() (k struct{ merchant, wechatpay *rsa.PrivateKey }) {
	k.merchant, k.wechatpay = wechatpaytest.Keys()
	return k
}

var armour, privatePEM, publicPEM = wechatpaytest.Armour, wechatpaytest.PrivatePEM, wechatpaytest.PublicPEM

var ellipticKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

// fields are a merchant's secret.
type fields map[string]any

// modes are the three ways to hold WeChat Pay's keys.
var modes = map[string]func() fields{
	"public key": func() fields {
		return with("wechatpay_public_key_id", publicKeyID, "wechatpay_public_key", publicPEM(&keys().wechatpay.PublicKey))
	},
	"certificates": func() fields { return with("apiv3_key", apiv3Key) },
	"both": func() fields {
		return with("wechatpay_public_key_id", publicKeyID, "wechatpay_public_key", publicPEM(&keys().wechatpay.PublicKey), "apiv3_key", apiv3Key)
	},
}

// with returns a secret that has what every mode needs, and these keys and values.
func with(more ...string) fields {
	f := fields{"mchid": mchID, "certificate_serial_no": serialNo, "private_key": privatePEM(keys().merchant)}
	for i := 0; i < len(more); i += 2 {
		f[more[i]] = more[i+1]
	}
	return f
}

func (f fields) json() []byte {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return text
}

func (f fields) but(key string, value any) fields {
	if f[key] = value; value == nil {
		delete(f, key)
	}
	return f
}

func (f fields) merchant(t *testing.T) *Merchant {
	t.Helper()
	m, err := ParseMerchant(f.json())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParseMerchantTakesTheThreeModes(t *testing.T) {
	for mode, secret := range modes {
		t.Run(mode, func(t *testing.T) {
			m := secret().merchant(t)
			if (m.keys.publicKey != nil) != (mode != "certificates") || (m.keys.apiv3Key != "") != (mode != "public key") {
				t.Error("not the keys of the secret")
			}
			signed, err := m.signer.Sign(t.Context(), "message")
			if err != nil || signed.MchID != mchID || signed.CertificateSerialNo != serialNo {
				t.Errorf("signed %+v, %v", signed, err)
			}
		})
	}
	t.Run("letters in the ID, punctuation in the APIv3 key", func(t *testing.T) {
		modes["both"]().but("wechatpay_public_key_id", publicKeyID+"aZ").but("apiv3_key", strings.Repeat("!~", 16)).merchant(t)
	})
	for _, serial := range []string{strings.ToLower(serialNo), "00" + serialNo[2:]} {
		t.Run("the serial number as it is: "+serial, func(t *testing.T) {
			signed, err := modes["public key"]().but("certificate_serial_no", serial).merchant(t).signer.Sign(t.Context(), "message")
			if err != nil || signed.CertificateSerialNo != serial {
				t.Errorf("signed %+v, %v", signed, err)
			}
		})
	}
}

// faulty are secrets with one fault each, and the key that the error must name.
var faulty = []struct {
	fault string
	mode  string
	key   string
	value any // nil takes the key out
	names string
}{
	{"no mchid", "public key", "mchid", nil, "mchid is missing"},
	{"an empty mchid", "public key", "mchid", "", "mchid must not be empty"},
	{"letters in mchid", "public key", "mchid", "19000000O1", "mchid is not a merchant number"},
	{"a blank in mchid", "public key", "mchid", "1900000001 ", "mchid must not have a blank"},
	{"a long mchid", "public key", "mchid", strings.Repeat("19", 17), "mchid is not a merchant number"},
	{"mchid as a number", "public key", "mchid", 1900000001, "mchid must be a string"},
	{"no serial number", "public key", "certificate_serial_no", nil, "certificate_serial_no is missing"},
	{"a serial number with colons", "public key", "certificate_serial_no", "1D:DE:55:AD", "certificate_serial_no is not a serial number in hex"},
	{"a serial number that is not hex", "public key", "certificate_serial_no", "1DDE55AD98Exxxxxxxxxx", "certificate_serial_no is not a serial number in hex"},
	{"a serial number with a quote", "public key", "certificate_serial_no", `1DDE",mchid="77`, "certificate_serial_no is not a serial number in hex"},
	{"a long serial number", "public key", "certificate_serial_no", strings.Repeat("1D", 33), "certificate_serial_no is not a serial number in hex"},
	{"no private key", "certificates", "private_key", nil, "private_key is missing"},
	{"a private key without its frame", "certificates", "private_key", "MIIEvQIBADANBgkqhkiG9w0B", "private_key is not the PEM"},
	{"a private key without its line breaks", "certificates", "private_key", func() string { return strings.ReplaceAll(privatePEM(keys().merchant), "\n", " ") }, "private_key is not the PEM"},
	{"a private key cut short", "certificates", "private_key", func() string { return privatePEM(keys().merchant)[:400] }, "private_key is not the PEM"},
	{"a private key in PKCS#1", "certificates", "private_key", func() string {
		return armour("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(keys().merchant), nil)
	}, "private_key is not the PEM"},
	{"an elliptic private key", "certificates", "private_key", func() string { return privatePEM(ellipticKey()) }, "private_key is not the PEM"},
	{"a certificate for a private key", "certificates", "private_key", func() string { return armour("CERTIFICATE", []byte("x"), nil) }, "private_key is not the PEM"},
	{"a private key of 1024 bits", "certificates", "private_key", func() string {
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			panic(err)
		}
		return privatePEM(key)
	}, "private_key has less than 2048 bits"},
	{"a public key without its ID", "public key", "wechatpay_public_key_id", nil, "wechatpay_public_key_id is missing beside wechatpay_public_key"},
	{"an ID without its public key", "public key", "wechatpay_public_key", nil, "wechatpay_public_key is missing beside wechatpay_public_key_id"},
	{"an ID without its public key, beside certificates", "both", "wechatpay_public_key", nil, "wechatpay_public_key is missing beside wechatpay_public_key_id"},
	{"an ID that is none", "public key", "wechatpay_public_key_id", "0119000000012025062400291234567890", "wechatpay_public_key_id does not begin with"},
	{"an ID that is only its beginning", "public key", "wechatpay_public_key_id", "PUB_KEY_ID_", "wechatpay_public_key_id must be PUB_KEY_ID_ and letters or digits"},
	{"an ID with punctuation", "public key", "wechatpay_public_key_id", publicKeyID + "-1", "wechatpay_public_key_id must be PUB_KEY_ID_ and letters or digits"},
	{"a public key without its frame", "public key", "wechatpay_public_key", "MIIBIjANBgkqhkiG9w0BAQEF", "wechatpay_public_key is not the PEM"},
	{"an elliptic public key", "public key", "wechatpay_public_key", func() string { return publicPEM(&ellipticKey().PublicKey) }, "wechatpay_public_key is not the PEM"},
	{"a private key for a public key", "public key", "wechatpay_public_key", func() string { return privatePEM(keys().wechatpay) }, "wechatpay_public_key is not the PEM"},
	{"the merchant's own public key", "public key", "wechatpay_public_key", func() string { return publicPEM(&keys().merchant.PublicKey) }, "wechatpay_public_key is the merchant's own key"},
	{"nothing to verify answers with", "certificates", "apiv3_key", nil, "wechatpay_public_key (with its ID) or apiv3_key is missing"},
	{"an APIv3 key of 31 bytes", "certificates", "apiv3_key", apiv3Key[1:], "apiv3_key has 31 characters; an APIv3 key has 32"},
	{"an APIv3 key of 33 bytes", "both", "apiv3_key", apiv3Key + "B", "apiv3_key has 33 characters"},
	{"an APIv3 key that is not ASCII", "certificates", "apiv3_key", strings.Repeat("é", 16), "apiv3_key must be ASCII characters"},
	{"a misspelt key", "both", "apiv3key", apiv3Key, "apiv3key is not a field"},
	{"a key in another case", "both", "MchId", mchID, "MchId is not a field"},
}

func TestParseMerchantNamesTheKeyAtFaultAndNoValue(t *testing.T) {
	for _, row := range faulty {
		t.Run(row.fault, func(t *testing.T) {
			if late, ok := row.value.(func() string); ok {
				row.value = late()
			}
			secret := modes[row.mode]().but(row.key, row.value)
			m, err := ParseMerchant(secret.json())
			if m != nil || err == nil || !strings.Contains(err.Error(), row.names) {
				t.Fatalf("%v, want an error with %q", err, row.names)
			}
			tellsNothing(t, err, secret.json())
		})
	}
}

// What is copied from a page often has a character around it, or within, that nobody sees.
func TestParseMerchantNamesInvisibleCharacters(t *testing.T) {
	for _, key := range []string{"mchid", "certificate_serial_no", "wechatpay_public_key_id", "apiv3_key"} {
		for _, c := range []string{" ", "\t", "\n", "\r\n", "\x00", "\u00a0", "\u200b", "\u2060", "\u3000", "\ufeff"} {
			value := modes["both"]()[key].(string)
			for where, faulty := range map[string]string{"beginning": c + value, "end": value + c, "within": value[:8] + c + value[8:], "in place of the last": value[:len(value)-len(c)] + c} {
				secret := modes["both"]().but(key, faulty).json()
				m, err := ParseMerchant(secret)
				if m != nil || err == nil || !strings.Contains(err.Error(), key+" must not have a blank, line break or other invisible character: U+") {
					t.Errorf("%s with %q, %s: %v", key, c, where, err)
					continue
				}
				tellsNothing(t, err, secret)
			}
		}
	}
}

func TestParseMerchantQuotesNothingOfAMalformedSecret(t *testing.T) {
	whole := string(modes["both"]().json())
	for what, text := range map[string]string{
		"nothing":               "",
		"a byte-order mark":     "\ufeff" + whole,
		"the PEM alone":         privatePEM(keys().merchant),
		"the PEM as JSON":       string(must(json.Marshal(privatePEM(keys().merchant)))),
		"an array":              "[" + whole + "]",
		"cut short":             whole[:len(whole)-20],
		"twice":                 whole + whole,
		"null":                  "null",
		"a value given twice":   strings.Replace(whole, "{", `{"apiv3_key":"Zz8yXw7vUt6sRq5pOn4mLk3jIh2gFe1d",`, 1),
		"a value in an object":  strings.Replace(whole, `"`+apiv3Key+`"`, `{"value":"`+apiv3Key+`"}`, 1),
		"a value in an array":   strings.Replace(whole, `"`+apiv3Key+`"`, `["`+apiv3Key+`"]`, 1),
		"JSON with raw newline": strings.ReplaceAll(whole, `\n`, "\n"),
	} {
		m, err := ParseMerchant([]byte(text))
		if m != nil || err == nil || !strings.HasPrefix(err.Error(), "the merchant's secret: ") {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if strings.Contains(err.Error(), "byte-order mark") != (what == "a byte-order mark") {
			t.Errorf("%s: %v", what, err)
		}
		tellsNothing(t, err, []byte(whole))
	}
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

// tellsNothing checks that an error contains no line of a value of a secret.
func tellsNothing(t *testing.T, err error, secret []byte) {
	t.Helper()
	var values map[string]any
	if json.Unmarshal(secret, &values) != nil {
		return
	}
	for key, value := range values {
		text, ok := value.(string)
		if !ok || text == publicKeyPrefix {
			continue
		}
		for line := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '\n' || c == ' ' }) {
			if len(line) >= 8 && strings.Contains(err.Error(), line) {
				t.Errorf("the error has the value of %s in it: %v", key, err)
			}
		}
	}
}

func FuzzParseMerchant(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	for _, secret := range modes {
		f.Add(secret().json())
	}
	sentences := ""
	for _, row := range faulty {
		if late, ok := row.value.(func() string); ok {
			row.value = late()
		}
		secret := modes[row.mode]().but(row.key, row.value).json()
		f.Add(secret)
		_, err := ParseMerchant(secret)
		sentences += err.Error() + "\n"
	}
	f.Fuzz(func(t *testing.T, secret []byte) {
		m, err := ParseMerchant(secret)
		if err == nil {
			if m.signer == nil || m.keys.publicKey == nil && m.keys.apiv3Key == "" {
				t.Fatal("a merchant without keys")
			}
			return
		}
		if m != nil || !strings.HasPrefix(err.Error(), "the merchant's secret: ") {
			t.Fatalf("%v", err)
		}
		var values map[string]any
		if json.Unmarshal(secret, &values) != nil {
			return
		}
		for _, value := range values {
			text, ok := value.(string)
			if _, alsoName := values[text]; !ok || alsoName || len(text) < 8 || strings.Contains(sentences, text) {
				continue
			}
			if strings.Contains(err.Error(), text) {
				t.Fatalf("a value is in the error: %v", err)
			}
		}
	})
}
