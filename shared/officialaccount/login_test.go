package officialaccount

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseLogin(t *testing.T) {
	const (
		value = "0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"
		app   = `{"appid":"wx5f0c2b8e7d4a9361","secret":"` + value + `"}`
	)
	for _, row := range []struct {
		what, secret string
		names        string // what the error names; "" is a good secret
	}{
		{"both", `{"mini_program":` + app + `,"official_account":` + app + `}`, ""},
		{"the mini program alone", `{"mini_program":` + app + `}`, ""},
		{"the official account alone", `{"official_account":` + app + `}`, ""},
		{"neither", `{}`, "mini_program and official_account"},
		{"no appid", `{"mini_program":{"secret":"` + value + `"}}`, "mini_program/appid"},
		{"no secret", `{"mini_program":{"appid":"` + value + `"}}`, "mini_program/secret"},
		{"no appid of the official account", `{"official_account":{"secret":"` + value + `"}}`, "official_account/appid"},
		{"no secret of the official account", `{"official_account":{"appid":"` + value + `"}}`, "official_account/secret"},
		{"one good, one without a secret", `{"mini_program":` + app + `,"official_account":{"appid":"` + value + `"}}`, "official_account/secret"},
		{"one good, one with nothing in it", `{"mini_program":{},"official_account":` + app + `}`, "mini_program/appid"},
		{"an empty appid", `{"mini_program":{"appid":"","secret":"` + value + `"}}`, "mini_program/appid"},
		{"an empty secret", `{"official_account":{"appid":"` + value + `","secret":""}}`, "official_account/secret"},
		{"one null", `{"mini_program":` + app + `,"official_account":null}`, "official_account"},
		{"secret null", `{"mini_program":{"appid":"` + value + `","secret":null}}`, "mini_program/secret"},
		{"secret as a number", `{"mini_program":{"appid":"` + value + `","secret":12345}}`, "mini_program/secret"},
		{"an app as a string", `{"mini_program":"` + value + `"}`, "mini_program"},
		{"an app in an array", `{"mini_program":[` + app + `]}`, "mini_program"},
		{"a misspelt app", `{"miniprogram":` + app + `}`, "miniprogram"},
		{"an app in another case", `{"Mini_Program":` + app + `}`, "Mini_Program"},
		{"a misspelt key", `{"mini_program":{"appid":"wx5f0c2b8e7d4a9361","appsecret":"` + value + `"}}`, "mini_program/appsecret"},
		{"the official account's own secret", app, "appid"},
		{"an app twice", `{"mini_program":` + app + `,"mini_program":` + app + `}`, "mini_program"},
		{"a key twice", `{"mini_program":{"appid":"x","secret":"` + value + `","secret":"` + value + `"}}`, "mini_program/secret"},
		{"broken Unicode", `{"mini_program":{"appid":"` + value + `\ud800","secret":"` + value + `"}}`, "mini_program/appid"},
		{"an array", `[` + app + `]`, "JSON object"},
		{"the bare secret", value, "JSON object"},
		{"a JSON string", `"` + value + `"`, "JSON object"},
		{"null", `null`, "JSON object"},
		{"trailing data", `{"mini_program":` + app + `}` + value, "JSON object"},
		{"cut short", `{"mini_program":` + app, "JSON object"},
		{"bytes that are not UTF-8", "{\"mini_program\":{\"appid\":\"" + value + "\xff\"}}", "must be UTF-8"},
		{"nothing", ``, "JSON object"},
		{"a byte-order mark", "\ufeff" + `{"mini_program":` + app + `}`, "byte-order mark"},
		{"a blank in an appid", `{"mini_program":{"appid":"wx 5f0c2b8e7d4a9361","secret":"` + value + `"}}`, "mini_program/appid must not have a blank"},
		{"a tab after a secret", `{"mini_program":` + app + `,"official_account":{"appid":"wx5f0c2b8e7d4a9361","secret":"` + value + `\t"}}`, "official_account/secret must not have a blank"},
	} {
		a, err := ParseLogin([]byte(row.secret))
		if row.names == "" {
			if err != nil || a == nil {
				t.Errorf("%s: %v", row.what, err)
				continue
			}
			for name, got := range map[string]bool{"mini_program": a.MiniProgram != nil, "official_account": a.OfficialAccount != nil} {
				if got != strings.Contains(row.secret, name) {
					t.Errorf("%s: %s is there: %v", row.what, name, got)
				}
			}
			continue
		}
		if err == nil || a != nil || !strings.Contains(err.Error(), row.names) || !strings.Contains(err.Error(), "login secret") {
			t.Errorf("%s: %+v, %v, want an error that names %s", row.what, a, err, row.names)
			continue
		}
		if strings.Contains(err.Error(), value) || strings.Contains(err.Error(), "12345") || strings.Contains(err.Error(), "wx5f0c") {
			t.Errorf("%s: a value is in the error: %v", row.what, err)
		}
	}
}

func TestTheSameSecretHasTheSameError(t *testing.T) {
	const secret = `{"mini_program":{"appid":"wx"},"official_account":{"secret":"0c7ad0e5c0f74d1a"}}`
	_, first := ParseLogin([]byte(secret))
	for range 50 { // the order of a map is another each time
		if _, err := ParseLogin([]byte(secret)); first == nil || err == nil || err.Error() != first.Error() {
			t.Fatalf("now %v, now %v", first, err)
		}
	}
}

func FuzzParseLogin(f *testing.F) {
	f.Add([]byte(`{"mini_program":{"appid":"wx5f0c2b8e7d4a9361","secret":"0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"}}`))
	f.Add([]byte(`{"official_account":{"appid":"wx5f0c2b8e7d4a9361","secret":"0c7ad0e5c0f74d1a8f2f6b6a1d1f9e21"},"mini_program":null}`))
	f.Add([]byte(`{"mini_program":{"appid":{"secret":"x"}}}`))
	f.Add([]byte(`{"":{"":1}}`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, secret []byte) {
		a, err := ParseLogin(secret)
		if (a == nil) != (err != nil) {
			t.Fatalf("%q: %+v, %v", secret, a, err)
		}
		if err == nil {
			if a.MiniProgram == nil && a.OfficialAccount == nil ||
				a.MiniProgram != nil && (a.MiniProgram.AppID == "" || a.MiniProgram.Secret == "") ||
				a.OfficialAccount != nil && (a.OfficialAccount.AppID == "" || a.OfficialAccount.Secret == "") {
				t.Fatalf("let pass: %q", secret)
			}
			return
		}
		var whole any
		if json.Unmarshal(secret, &whole) != nil {
			// None of them quotes it.
			said := strings.TrimPrefix(err.Error(), "the login secret: ")
			if said != "it is not one JSON object" && said != "it must be UTF-8" && !strings.HasPrefix(said, "it begins with a byte-order mark (BOM)") {
				t.Fatalf("%q: %v", secret, err)
			}
			return
		}
		keys, values := strings.Builder{}, []string(nil)
		var walk func(any)
		walk = func(v any) {
			switch v := v.(type) {
			case string:
				values = append(values, v)
			case []any:
				for _, member := range v {
					walk(member)
				}
			case map[string]any:
				for key, member := range v {
					keys.WriteString(key)
					walk(member)
				}
			}
		}
		walk(whole)
		for _, value := range values {
			if len(value) >= 20 && !strings.Contains(keys.String(), value) && strings.Contains(err.Error(), value) {
				t.Fatalf("%q: a value is in the error: %v", secret, err)
			}
		}
	})
}
