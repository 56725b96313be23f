package officialaccount

import (
	"strings"
	"testing"
)

func TestParseAccount(t *testing.T) {
	const value = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
	for _, row := range []struct {
		what, secret string
		names        string // what the error names; "" is a good secret
	}{
		{"the contract's", `{"appid": "wx5f0c2b8e7d4a9361", "secret": "` + value + `"}`, ""},
		{"no appid", `{"secret":"` + value + `"}`, "appid"},
		{"no secret", `{"appid":"` + value + `"}`, "secret"},
		{"nothing in it", `{}`, "appid"},
		{"an empty appid", `{"appid":"","secret":"` + value + `"}`, "appid"},
		{"an empty secret", `{"appid":"` + value + `","secret":""}`, "secret"},
		{"secret null", `{"appid":"` + value + `","secret":null}`, "secret"},
		{"secret as a number", `{"appid":"` + value + `","secret":12345}`, "secret"},
		{"a misspelt key", `{"appid":"wx5f0c2b8e7d4a9361","appsecret":"` + value + `"}`, "appsecret"},
		{"a key in another case", `{"AppID":"wx5f0c2b8e7d4a9361","secret":"` + value + `"}`, "AppID"},
		{"a key too many", `{"appid":"wx5f0c2b8e7d4a9361","secret":"` + value + `","token":"x"}`, "token"},
		{"a key twice", `{"appid":"wx5f0c2b8e7d4a9361","secret":"` + value + `","secret":"` + value + `"}`, "secret"},
		{"an array", `["` + value + `"]`, "JSON object"},
		{"the bare secret", value, "JSON object"},
		{"a JSON string", `"` + value + `"`, "JSON object"},
		{"null", `null`, "JSON object"},
		{"trailing data", `{"appid":"wx5f0c2b8e7d4a9361","secret":"` + value + `"}` + value, "JSON object"},
		{"nothing", ``, "JSON object"},
		{"a byte-order mark", "\ufeff" + `{"appid":"wx5f0c2b8e7d4a9361","secret":"` + value + `"}`, "byte-order mark"},
		{"another encoding", `{"appid":"wx5f0c2b8e7d4a9361","secret":"` + value + "\xd0\xc2\"}", "must be UTF-8"},
		{"a line break after the appid", `{"appid":"wx5f0c2b8e7d4a9361\n","secret":"` + value + `"}`, "appid must not have a blank, line break or other invisible character: U+000A is at its end"},
		{"a no-break space before the secret", `{"appid":"wx5f0c2b8e7d4a9361","secret":"\u00a0` + value + `"}`, "secret must not have a blank, line break or other invisible character: U+00A0 is at its beginning"},
		{"a zero-width space in the secret", `{"appid":"wx5f0c2b8e7d4a9361","secret":"` + value[:8] + "\u200b" + value[8:] + `"}`, "secret must not have a blank, line break or other invisible character: U+200B is within"},
		{"a full-width letter", `{"appid":"ｗx5f0c2b8e7d4a9361","secret":"` + value + `"}`, "appid must be ASCII"},
	} {
		a, err := ParseAccount([]byte(row.secret))
		if row.names == "" {
			if err != nil || *a != (Account{"wx5f0c2b8e7d4a9361", value}) {
				t.Errorf("%s: %+v, %v", row.what, a, err)
			}
			continue
		}
		if err == nil || a != nil || !strings.Contains(err.Error(), row.names) || !strings.Contains(err.Error(), "official account") {
			t.Errorf("%s: %+v, %v, want an error that names %s", row.what, a, err, row.names)
			continue
		}
		if strings.Contains(err.Error(), value) || strings.Contains(err.Error(), "12345") {
			t.Errorf("%s: a value is in the error: %v", row.what, err)
		}
	}
}

func FuzzParseAccount(f *testing.F) {
	f.Add([]byte(`{"appid": "wx5f0c2b8e7d4a9361", "secret": "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"}`))
	f.Add([]byte(`{"appid":"wx","secrets":"0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"}`))
	f.Add([]byte(`{"appid":{"secret":"x"}}`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, secret []byte) {
		a, err := ParseAccount(secret)
		if (a == nil) != (err != nil) || a != nil && (a.AppID == "" || a.Secret == "") {
			t.Errorf("%q: %+v, %v", secret, a, err)
		}
	})
}
