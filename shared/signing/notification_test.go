package signing

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/signing/wechatpaytest"
	"membercard/shared/tlsdial/tlsdialtest"
	"membercard/shared/upstream"
)

const cardCreated = "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE"

// notice is a notification on its way, signed as it is.
type notice struct {
	header http.Header
	body   string
}

// signed is a notification with a good signature of WeChat Pay's key, which serial
// names.
func signed(serial, body string) notice {
	n := notice{http.Header{}, body}
	wechatpaytest.Sign(n.header, body, serial, keys().wechatpay, time.Now())
	n.header.Set("Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048")
	n.header.Set("Request-ID", requestID)
	return n
}

// good is the body of a notification that is encrypted with apiv3Key.
func good() string { return wechatpaytest.Notification(cardCreated, wechatpaytest.Created, apiv3Key) }

// to hands the notification to a client.
func (n notice) to(t *testing.T, c *Client) (*Notification, error) {
	t.Helper()
	return c.Notification(t.Context(), n.header, []byte(n.body))
}

// notAccepted checks that err is an apierror.Error with this status, code and cause, and
// returns it.
func notAccepted(t *testing.T, n *Notification, err error, status int, code, cause string) *apierror.Error {
	t.Helper()
	e, ok := errors.AsType[*apierror.Error](err)
	if n != nil || !ok || e.Status != status || e.Code != code || e.Cause == nil || !strings.Contains(e.Cause.Error(), cause) {
		t.Fatalf("%+v, %v, want %d %s for %q", n, err, status, code, cause)
	}
	for _, private := range []string{"obLatjnx9gnqzS4myYGmLZ7LgLBA", "13800138000", apiv3Key} {
		if strings.Contains(err.Error(), private) {
			t.Errorf("the error has what is private in it: %v", err)
		}
	}
	return e
}

// withAPIv3Key are the ways to hold WeChat Pay's keys with which notifications can
// be read, and the key that signs.
var withAPIv3Key = []struct{ mode, serial string }{
	{"both", publicKeyID},
	{"both", certA},
	{"certificates", certA},
}

func TestANotificationIsVerifiedAndDecrypted(t *testing.T) {
	for _, row := range withAPIv3Key {
		t.Run(row.mode+" "+row.serial, func(t *testing.T) {
			w := start(t, nil)
			w.list = always(certificates(cert{serial: certA}))
			c := client(&versions{merchants: []*Merchant{modes[row.mode]().merchant(t)}}, w)
			for range 3 {
				n, err := signed(row.serial, good()).to(t, c)
				if err != nil {
					t.Fatal(err)
				}
				if n.ID != wechatpaytest.NotificationID || n.EventType != cardCreated || n.Summary != "用户开卡" || n.OriginalType != "user_card" || n.CreateTime != "2025-06-22T10:34:56+08:00" || n.CreatedAt.Unix() != 1750559696 {
					t.Errorf("%+v", n)
				}
				if string(n.Resource) != wechatpaytest.Created {
					t.Errorf("%s, want the very bytes", n.Resource)
				}
			}
			downloads := 1
			if row.serial == publicKeyID {
				downloads = 0
			}
			w.counts(t, 0, downloads)
		})
	}
}

// refusedHeaders are changes to a good notification that are answered with 401
// before any key is looked up.
var refusedHeaders = []struct{ fault, header, value, cause string }{
	{"no timestamp", "Wechatpay-Timestamp", "", "Wechatpay-Timestamp"},
	{"a timestamp in words", "Wechatpay-Timestamp", "yesterday", "Wechatpay-Timestamp"},
	{"a timestamp with a fraction", "Wechatpay-Timestamp", "1750559696.5", "Wechatpay-Timestamp"},
	{"a timestamp beyond int64", "Wechatpay-Timestamp", "99999999999999999999", "Wechatpay-Timestamp"},
	{"the least timestamp", "Wechatpay-Timestamp", "-9223372036854775808", "5 minutes"},
	{"the greatest timestamp", "Wechatpay-Timestamp", "9223372036854775807", "5 minutes"},
	{"no nonce", "Wechatpay-Nonce", "", "Wechatpay-Nonce"},
	{"a nonce with a line break", "Wechatpay-Nonce", "a\nb", "Wechatpay-Nonce"},
	{"a nonce of 129", "Wechatpay-Nonce", strings.Repeat("n", 129), "Wechatpay-Nonce"},
	{"no serial number", "Wechatpay-Serial", "", "Wechatpay-Serial"},
	{"a serial number that is not hex", "Wechatpay-Serial", "5157F09EFDC096DE15EBE81A47057A7232F1B8EG", "Wechatpay-Serial"},
	{"a serial number of 65", "Wechatpay-Serial", strings.Repeat("A", 65), "Wechatpay-Serial"},
	{"a serial number with a path", "Wechatpay-Serial", "../../etc/passwd", "Wechatpay-Serial"},
	{"the ID of a public key without digits", "Wechatpay-Serial", "PUB_KEY_ID_", "Wechatpay-Serial"},
	{"no signature", "Wechatpay-Signature", "", "Wechatpay-Signature"},
	{"a signature with a blank", "Wechatpay-Signature", "YQ== YQ==", "Wechatpay-Signature"},
	{"another kind of signature", "Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3", "Wechatpay-Signature-Type"},
}

func TestHeadersAreCheckedBeforeAnythingElse(t *testing.T) {
	for _, row := range refusedHeaders {
		t.Run(row.fault, func(t *testing.T) {
			n := signed(publicKeyID, good())
			n.header.Set(row.header, row.value)
			got, err := n.to(t, client(&versions{}, start(t, nil))) // without a secret: reading it would be a 500
			notAccepted(t, got, err, 401, "SIGNATURE_INVALID", row.cause)
		})
	}
	for _, sign := range []string{"0", "+", " "} {
		t.Run(fmt.Sprintf("a timestamp with %q in front", sign), func(t *testing.T) {
			n := signed(publicKeyID, good())
			n.header.Set("Wechatpay-Timestamp", sign+n.header.Get("Wechatpay-Timestamp"))
			got, err := n.to(t, client(&versions{}))
			notAccepted(t, got, err, 401, "SIGNATURE_INVALID", "malformed")
		})
	}
	for _, age := range []time.Duration{-6 * time.Minute, -301 * time.Second, 301 * time.Second, 6 * time.Minute, 24 * time.Hour} {
		t.Run(fmt.Sprintf("%v old", age), func(t *testing.T) {
			n := signed(publicKeyID, good())
			wechatpaytest.Sign(n.header, n.body, publicKeyID, keys().wechatpay, time.Now().Add(-age))
			got, err := n.to(t, client(&versions{}))
			notAccepted(t, got, err, 401, "SIGNATURE_INVALID", "5 minutes")
		})
	}
}

func TestANotificationWithoutAValidSignatureIsRefused(t *testing.T) {
	other := signed(publicKeyID, good())
	for _, row := range []struct {
		fault string
		edit  func(*notice)
	}{
		{"by another key", func(n *notice) {
			wechatpaytest.Sign(n.header, n.body, publicKeyID, keys().merchant, time.Now())
		}},
		{"another body", func(n *notice) { n.body = strings.Replace(n.body, "CREATE", "DELETE", 1) }},
		{"the body with a blank more", func(n *notice) { n.body += " " }},
		{"no body", func(n *notice) { n.body = "" }},
		{"another nonce", func(n *notice) { n.header.Set("Wechatpay-Nonce", "anotherNonce") }},
		{"another timestamp", func(n *notice) {
			n.header.Set("Wechatpay-Timestamp", strconv.FormatInt(time.Now().Unix()-60, 10))
		}},
		{"another notification's signature", func(n *notice) { n.header.Set("Wechatpay-Signature", other.header.Get("Wechatpay-Signature")) }},
		{"not base64", func(n *notice) { n.header.Set("Wechatpay-Signature", "!") }},
		{"of one byte", func(n *notice) { n.header.Set("Wechatpay-Signature", "YQ==") }},
	} {
		t.Run(row.fault, func(t *testing.T) {
			n := signed(publicKeyID, good())
			row.edit(&n)
			v := &versions{merchants: []*Merchant{modes["both"]().merchant(t)}}
			w := start(t, nil)
			got, err := n.to(t, client(v, w))
			notAccepted(t, got, err, 401, "SIGNATURE_INVALID", "signature")
			w.counts(t, 0, 0)
			if v.refreshes > 0 {
				t.Error("the secret was read again")
			}
		})
	}
}

func TestAWrongSignatureOnPurposeIsExpected(t *testing.T) {
	n := signed(publicKeyID, good())
	n.header.Set("Wechatpay-Signature", "WECHATPAY/SIGNTEST/"+n.header.Get("Wechatpay-Signature"))
	got, err := n.to(t, client(&versions{}))
	if e := notAccepted(t, got, err, 401, "SIGNATURE_TEST", "WECHATPAY/SIGNTEST/"); !e.Expected {
		t.Error("it is not logged as expected")
	}
}

func TestANotificationMayBeAlmostFiveMinutesOld(t *testing.T) {
	for _, age := range []time.Duration{295 * time.Second, -295 * time.Second} {
		n := signed(publicKeyID, good())
		wechatpaytest.Sign(n.header, n.body, publicKeyID, keys().wechatpay, time.Now().Add(-age))
		if _, err := n.to(t, client(&versions{merchants: []*Merchant{modes["both"]().merchant(t)}})); err != nil {
			t.Errorf("%v: %v", age, err)
		}
	}
	n := signed(publicKeyID, good())
	n.header.Del("Wechatpay-Signature-Type")
	if _, err := n.to(t, client(&versions{merchants: []*Merchant{modes["both"]().merchant(t)}})); err != nil {
		t.Errorf("without Wechatpay-Signature-Type: %v", err)
	}
}

// member sets a member of a notification, or takes it out.
func member(in, name string, value any) string {
	outer, resource := wechatpaytest.Document(cardCreated, wechatpaytest.Created, apiv3Key)
	members := outer
	if in == "resource" {
		members = resource
	}
	if members[name] = value; value == nil {
		delete(members, name)
	}
	return wechatpaytest.Encode(outer)
}

// withoutAssociatedData is a notification that is encrypted without associated data, and
// has a text in the place of the member.
func withoutAssociatedData(member string) string {
	return strings.Replace(resealed("fdasflkja484", ""), `,"associated_data":""`, member, 1)
}

// resealed is a notification encrypted with a nonce and associated data.
func resealed(nonce, associatedData string) string {
	outer, resource := wechatpaytest.Document(cardCreated, wechatpaytest.Created, apiv3Key)
	resource["nonce"], resource["associated_data"] = nonce, associatedData
	resource["ciphertext"] = wechatpaytest.Encrypt(wechatpaytest.Created, associatedData, nonce, apiv3Key)
	return wechatpaytest.Encode(outer)
}

func TestAMalformedNotificationIsRefused(t *testing.T) {
	twice := strings.Replace(good(), `"id":`, `"id":"other","id":`, 1)
	for _, row := range []struct{ fault, body, cause string }{
		{"no body", ``, "empty"},
		{"not JSON", `<xml/>`, "JSON"},
		{"cut short", good()[:len(good())-1], "JSON"},
		{"trailing data", good() + `{}`, "JSON"},
		{"an array", `[]`, "resource"},
		{"null", `null`, "resource"},
		{"not UTF-8", strings.Replace(good(), "EV-", "\xff", 1), "UTF-8"},
		{"a member twice", twice, "twice"},
		{"a member twice, once escaped", strings.Replace(twice, `"id":"other"`, `"\u0069d":"other"`, 1), "twice"},
		{"a member of resource twice", strings.Replace(good(), `"nonce":`, `"nonce":"fdasflkja485","nonce":`, 1), "twice"},
		{"no id", member("", "id", nil), "id"},
		{"an empty id", member("", "id", ""), "id"},
		{"id as a number", member("", "id", 1), "id"},
		{"id in capitals", strings.Replace(good(), `"id":`, `"ID":`, 1), "id"},
		{"no create_time", member("", "create_time", nil), "create_time"},
		{"create_time without an offset", member("", "create_time", "2025-06-22T10:34:56"), "RFC 3339"},
		{"create_time with a comma", member("", "create_time", "2025-06-22T10:34:56,5+08:00"), "RFC 3339"},
		{"create_time as a number", member("", "create_time", 1750559696), "create_time"},
		{"no event_type", member("", "event_type", nil), "event_type"},
		{"an event_type of 129", member("", "event_type", strings.Repeat("E", 129)), "event_type"},
		{"no resource_type", member("", "resource_type", nil), "resource_type"},
		{"another resource_type", member("", "resource_type", "plain"), "resource_type"},
		{"no summary", member("", "summary", nil), "summary"},
		{"summary null", member("", "summary", json.RawMessage("null")), "summary"},
		{"no resource", member("", "resource", nil), "resource"},
		{"resource as a text", member("", "resource", "x"), "resource"},
		{"no algorithm", member("resource", "algorithm", nil), "algorithm"},
		{"another algorithm", member("resource", "algorithm", "AEAD_SM4_GCM"), "algorithm"},
		{"no original_type", member("resource", "original_type", nil), "original_type"},
		{"no ciphertext", member("resource", "ciphertext", nil), "ciphertext"},
		{"a ciphertext that is not base64", member("resource", "ciphertext", "!"), "base64"},
		{"no nonce", member("resource", "nonce", nil), "nonce"},
		{"a nonce of 11 bytes", resealed("fdasflkja48", "user_card"), "12 bytes"},
		{"a nonce of 13 bytes", resealed("fdasflkja4845", "user_card"), "12 bytes"},
		{"associated_data as a number", member("resource", "associated_data", 1), "associated_data"},
		{"a resource that is not JSON", wechatpaytest.Notification(cardCreated, `card_id=1`, apiv3Key), "JSON object"},
		{"a resource that is an array", wechatpaytest.Notification(cardCreated, `[1]`, apiv3Key), "JSON object"},
		{"a resource with trailing data", wechatpaytest.Notification(cardCreated, wechatpaytest.Created+`{}`, apiv3Key), "JSON object"},
		{"a resource that is not UTF-8", wechatpaytest.Notification(cardCreated, "{\"a\":\"\xff\"}", apiv3Key), "JSON object"},
		{"an empty resource", wechatpaytest.Notification(cardCreated, "", apiv3Key), "JSON object"},
	} {
		t.Run(row.fault, func(t *testing.T) {
			v := &versions{merchants: []*Merchant{modes["both"]().merchant(t)}}
			got, err := signed(publicKeyID, row.body).to(t, client(v))
			notAccepted(t, got, err, 400, "NOTIFICATION_MALFORMED", row.cause)
			if v.refreshes > 0 {
				t.Error("the secret was read again")
			}
		})
	}
}

func TestWhatTheDocumentLeavesOpen(t *testing.T) {
	for _, row := range []struct{ rule, body string }{
		{"an event_type that nobody knows", wechatpaytest.Notification("SOMETHING.NEW", `{}`, apiv3Key)},
		{"associated_data may be empty", resealed("fdasflkja484", "")},
		{"associated_data may be null", withoutAssociatedData(`,"associated_data":null`)},
		{"associated_data may be missing", withoutAssociatedData(``)},
		{"summary may be empty", member("", "summary", "")},
		{"summary may have U+FFFD", member("", "summary", "用户\ufffd")},
		{"members may be added", member("", "added", map[string]any{"a": []int{1}})},
		{"members of resource may be added", member("resource", "added", "x")},
		{"create_time in UTC, with a fraction", member("", "create_time", "2025-06-22T02:34:56.120Z")},
		{"blanks between members", strings.ReplaceAll(good(), `,"`, ",\r\n\t \"")},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if _, err := signed(publicKeyID, row.body).to(t, client(&versions{merchants: []*Merchant{modes["both"]().merchant(t)}})); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWithoutTheRightAPIv3KeyTheRecordNamesIt(t *testing.T) {
	const otherKey = "00000000000000000000000000000000"
	for _, row := range []struct {
		fault  string
		secret fields
		serial string
	}{
		{"no apiv3_key", modes["public key"](), publicKeyID},
		{"a wrong one", modes["both"]().but("apiv3_key", otherKey), publicKeyID},
		{"a wrong one, and certificates only", modes["certificates"]().but("apiv3_key", otherKey), certA},
	} {
		t.Run(row.fault, func(t *testing.T) {
			w := start(t, nil)
			w.list = always(certificates(cert{serial: certA}))
			v := &versions{merchants: []*Merchant{row.secret.merchant(t)}}
			c := client(v, w)
			for range 3 {
				got, err := signed(row.serial, good()).to(t, c)
				notAccepted(t, got, err, 500, "CONFIG_ERROR", "apiv3_key")
			}
			if v.refreshes != 1 {
				t.Errorf("the secret was read again %d times", v.refreshes)
			}
			if w.downloads > 2 { // the list is asked for once more
				t.Errorf("%d downloads", w.downloads)
			}
		})
	}
	t.Run("an altered ciphertext", func(t *testing.T) {
		got, err := signed(publicKeyID, member("resource", "ciphertext", "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh")).to(t, client(&versions{merchants: []*Merchant{modes["both"]().merchant(t)}}))
		notAccepted(t, got, err, 500, "CONFIG_ERROR", "apiv3_key")
	})
	t.Run("no secret", func(t *testing.T) {
		got, err := signed(publicKeyID, good()).to(t, client(&versions{}))
		notAccepted(t, got, err, 500, "CONFIG_ERROR", "apiv3_key does not have 32 bytes")
	})
}

func TestANotificationAfterARotationIsReadAtOnce(t *testing.T) {
	const oldID, oldKey = "PUB_KEY_ID_0119000000012024010100291234567890", "00000000000000000000000000000000"
	for _, row := range []struct {
		rule   string
		before fields
		after  fields
		serial string
	}{
		{"a new public key", modes["both"]().but("wechatpay_public_key_id", oldID), modes["both"](), publicKeyID},
		{"a new apiv3_key", modes["both"]().but("apiv3_key", oldKey), modes["both"](), publicKeyID},
		{"an apiv3_key at last", modes["public key"](), modes["both"](), publicKeyID},
		{"both at once", modes["both"]().but("wechatpay_public_key_id", oldID).but("apiv3_key", oldKey), modes["both"](), publicKeyID},
		{"from certificates to a public key", modes["certificates"](), modes["both"](), publicKeyID},
		{"from a public key to certificates", modes["public key"](), modes["certificates"](), certA},
		{"a new apiv3_key, and certificates only", modes["certificates"]().but("apiv3_key", oldKey), modes["certificates"](), certA},
	} {
		t.Run(row.rule, func(t *testing.T) {
			w := start(t, nil)
			w.list = always(certificates(cert{serial: certA}))
			v := &versions{merchants: []*Merchant{row.before.merchant(t), row.after.merchant(t)}}
			if n, err := signed(row.serial, good()).to(t, client(v, w)); err != nil || string(n.Resource) != wechatpaytest.Created {
				t.Errorf("%+v, %v", n, err)
			}
			if v.refreshes != 1 {
				t.Errorf("the secret was read again %d times, want once", v.refreshes)
			}
		})
	}
	t.Run("a new platform certificate", func(t *testing.T) {
		w := start(t, nil)
		w.list = func(n int) reply {
			if n == 1 {
				return certificates(cert{serial: certA})
			}
			return certificates(cert{serial: certB})
		}
		v := &versions{merchants: []*Merchant{modes["certificates"]().merchant(t)}}
		c := client(v, w)
		for _, serial := range []string{certA, certA, certB, certB} {
			if _, err := signed(serial, good()).to(t, c); err != nil {
				t.Errorf("%s: %v", serial, err)
			}
		}
		w.counts(t, 0, 2)
		if v.refreshes > 0 {
			t.Error("the secret was read again")
		}
	})
}

func TestAFloodOfUnknownSerialsDownloadsOnce(t *testing.T) {
	t.Parallel()
	serial := func(i int) string { return fmt.Sprintf("%040X", i+1) }
	for _, row := range []struct {
		rule      string
		mode      string
		serial    func(int) string
		list      reply
		downloads int
		good      string // a serial that is accepted all the while; empty: none
	}{
		{"both", "both", serial, certificates(cert{serial: certA}), 1, publicKeyID},
		{"certificates only", "certificates", serial, certificates(cert{serial: certA}), 1, certA},
		{"both, and WeChat has no certificates", "both", serial, noCertificates, 1, publicKeyID},
		{"a public key only", "public key", serial, reply{}, 0, ""},
		{"IDs of public keys", "both", func(i int) string { return "PUB_KEY_ID_" + strconv.Itoa(i) }, reply{}, 0, publicKeyID},
		{"nothing that looks like a serial number", "both", func(i int) string { return "serial" + strconv.Itoa(i) }, reply{}, 0, publicKeyID},
	} {
		t.Run(row.rule, func(t *testing.T) {
			w := start(t, nil)
			w.list = always(row.list)
			v := &versions{merchants: []*Merchant{modes[row.mode]().merchant(t)}}
			c := client(v, w)
			for i := range 50 {
				n := signed(row.serial(i), good())
				got, err := n.to(t, c)
				notAccepted(t, got, err, 401, "SIGNATURE_INVALID", "")
				if row.good != "" {
					if _, err := signed(row.good, good()).to(t, c); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.counts(t, 0, row.downloads)
		})
	}
	t.Run("certificates only, and none can be had", func(t *testing.T) {
		w := start(t, nil)
		w.list = always(noCertificates)
		c := client(&versions{merchants: []*Merchant{modes["certificates"]().merchant(t)}}, w)
		for i := range 50 {
			got, err := signed(serial(i), good()).to(t, c)
			notAccepted(t, got, err, 500, "CONFIG_ERROR", "/v3/certificates")
		}
		w.counts(t, 0, 1)
	})
}

func TestWithoutCertificatesANotificationIsNotVerified(t *testing.T) {
	t.Parallel()
	c := NewClient(&versions{merchants: []*Merchant{modes["certificates"]().merchant(t)}}, upstream.New([]string{tlsdialtest.Nowhere}))
	got, err := signed(certA, good()).to(t, c)
	notAccepted(t, got, err, 500, "UPSTREAM_UNREACHABLE", "")
}

func TestOldCertificatesAreDownloadedAgainForANotification(t *testing.T) {
	w := start(t, nil)
	w.list = always(certificates(cert{serial: certA}))
	m := modes["certificates"]().merchant(t)
	c := client(&versions{merchants: []*Merchant{m}}, w)
	for _, row := range []struct {
		passed    time.Duration
		downloads int
	}{{0, 1}, {certificateTTL - time.Minute, 1}, {2 * time.Minute, 2}, {0, 2}} {
		m.keys.downloadedAt = m.keys.downloadedAt.Add(-row.passed)
		if _, err := signed(certA, good()).to(t, c); err != nil {
			t.Fatal(err)
		}
		w.counts(t, 0, row.downloads)
	}
}

// FuzzNotification parses and decrypts whatever WeChat Pay may sign.
func FuzzNotification(f *testing.F) {
	f.Add(good())
	f.Add(resealed("fdasflkja48", ""))
	f.Add(member("resource", "ciphertext", "YQ=="))
	f.Add(member("resource", "associated_data", nil))
	keys := &keyring{apiv3Key: apiv3Key}
	f.Fuzz(func(t *testing.T, body string) {
		n, resource, err := parseNotification([]byte(body))
		if (n == nil) == (err == nil) {
			t.Fatalf("%+v, %v", n, err)
		}
		if err == nil {
			_, _ = keys.decryptResource(resource)
		}
	})
}
