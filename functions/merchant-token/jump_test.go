package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing/signingtest"
	"membercard/shared/telemetry/telemetrytest"
)

// TestWhatAPageMayChoose: a page may send its customers to the listed origins and mini
// programs only. The merchant's own system may send them anywhere.
func TestWhatAPageMayChoose(t *testing.T) {
	allowed := signingtest.Of(jump{origins: []string{"https://shop.example.com:443", "http://localhost:5173"}, appids: []string{"wxea9c30a90fs8d3fe"}}.mint)
	nowhere := signingtest.Of(jump{}.mint)
	at := func(activateURL string) string {
		text, _ := json.Marshal(activateURL)
		return auto(`"activate_url":` + string(text))
	}
	to := func(appid string) string { return auto(`"activate_appid":"` + appid + `"`) }
	for _, row := range []struct {
		what      string
		operation signingtest.Operation
		body      string
		field     string // at fault; "" for none
	}{
		{"no target", nowhere, `{"activate_type":"AUTO_ACTIVATE"}`, ""},
		{"an allowed origin", allowed, at("https://shop.example.com/members?a=b#c"), ""},
		{"without a path", allowed, at("https://shop.example.com"), ""},
		{"in capitals", allowed, at("HTTPS://Shop.Example.COM/"), ""},
		{"with the port that browsers leave out", allowed, at("https://shop.example.com:443/"), ""},
		{"with an empty port", allowed, at("https://shop.example.com:/"), ""},
		{"an allowed port", allowed, at("http://localhost:5173/members"), ""},
		{"an @ in the path", allowed, at("https://shop.example.com/@evil.example"), ""},
		{"an allowed mini program", allowed, to("wxea9c30a90fs8d3fe"), ""},

		{"an origin where none is allowed", nowhere, at("https://shop.example.com/"), "/body/activate_url"},
		{"a stranger's", allowed, at("https://evil.example/"), "/body/activate_url"},
		{"a stranger's, with JUMP_ACTIVATE", allowed, `{"activate_type":"JUMP_ACTIVATE","activate_url":"https://evil.example/"}`, "/body/activate_url"},
		{"another scheme", allowed, at("http://shop.example.com/"), "/body/activate_url"},
		{"another port", allowed, at("https://shop.example.com:8443/"), "/body/activate_url"},
		{"no port", allowed, at("http://localhost/"), "/body/activate_url"},
		{"a host below", allowed, at("https://a.shop.example.com/"), "/body/activate_url"},
		{"a host above", allowed, at("https://example.com/"), "/body/activate_url"},
		{"a longer host", allowed, at("https://shop.example.com.evil.example/"), "/body/activate_url"},
		{"a full stop at the end", allowed, at("https://shop.example.com./"), "/body/activate_url"},
		{"letters that browsers take for others", allowed, at("https://ｓhop.example.com/"), "/body/activate_url"},
		{"the allowed one in the query", allowed, at("https://evil.example?@shop.example.com/"), "/body/activate_url"},
		{"the allowed one in the fragment", allowed, at("https://evil.example#@shop.example.com/"), "/body/activate_url"},
		{"a mini program where none is allowed", nowhere, to("wxea9c30a90fs8d3fe"), "/body/activate_appid"},
		{"another mini program", allowed, to("wx0000000000000000"), "/body/activate_appid"},
		{"a part of an AppID", allowed, to("wxea9c30a90fs8d3f"), "/body/activate_appid"},
		{"an AppID and more", allowed, to("wxea9c30a90fs8d3fe0"), "/body/activate_appid"},
		{"an AppID in another case", allowed, to("WXEA9C30A90FS8D3FE"), "/body/activate_appid"},
		{"an allowed URL and another mini program", allowed, auto(`"activate_url":"https://shop.example.com/","activate_appid":"wx0"`), "/body/activate_appid"},
	} {
		t.Run(row.what, func(t *testing.T) {
			event := post(cardID, row.body)
			for _, page := range []gatewaytest.Event{gatewaytest.LoggedIn(event, "o1"), gatewaytest.WithJWT(event, map[string]string{"sub": "1"})} {
				endpoint, came := signingtest.WeChatPay(t, 200, minted)
				o := row.operation.Invoke(t, page, endpoint)
				if called := came() != ""; called != (row.field == "") {
					t.Errorf("called: %v", called)
				}
				if row.field == "" {
					if o.Status != 200 {
						t.Errorf("%d %s", o.Status, o.Body)
					}
				} else if o.Status != 403 || o.Error.Code != "JUMP_NOT_ALLOWED" || o.Error.Detail == nil || o.Error.Detail.Field != row.field || o.Error.Solution == "" {
					t.Errorf("%d %s, want JUMP_NOT_ALLOWED at %s", o.Status, o.Body, row.field)
				}
			}
			for _, own := range []gatewaytest.Event{event, gatewaytest.ByIAM(event)} {
				endpoint, _ := signingtest.WeChatPay(t, 200, minted)
				if o := row.operation.Invoke(t, own, endpoint); o.Status != 200 {
					t.Errorf("the merchant's own system gets %d %s", o.Status, o.Body)
				}
			}
		})
	}
	t.Run("a malformed request is no question of permission", func(t *testing.T) {
		nowhere.Refuses(t, gatewaytest.LoggedIn(post(cardID, at("https://user:password@evil.example/")), "o1"), "/body/activate_url", "user information")
	})
}

func TestAllowedJumps(t *testing.T) {
	for _, row := range []struct {
		entry, origin string // "" is no origin
	}{
		{"https://shop.example.com", "https://shop.example.com:443"},
		{" https://Shop.Example.com ", "https://shop.example.com:443"},
		{"http://localhost:5173", "http://localhost:5173"},
		{"http://127.0.0.1", "http://127.0.0.1:80"},
		{"https://[2001:db8::7]:8443", "https://[2001:db8::7]:8443"},
		{"https://my_shop.example.com", "https://my_shop.example.com:443"},
		{"*", ""},
		{"null", ""},
		{"https://*.example.com", ""},
		{"https://shop.example.com/", ""},
		{"https://shop.example.com/members", ""},
		{"https://shop.example.com?a=b", ""},
		{"https://user@shop.example.com", ""},
		{"shop.example.com", ""},
		{"//shop.example.com", ""},
		{"https://", ""},
		{"https:shop.example.com", ""},
		{"ftp://shop.example.com", ""},
		{"https://商店.example", ""},
		{"https://shop example.com", ""},
		{"https://shop.example.com:https", ""},
	} {
		t.Run(row.entry, func(t *testing.T) {
			log, records := telemetrytest.New()
			t.Setenv("JUMP_ORIGINS", "https://a.example,"+row.entry+",,https://b.example")
			t.Setenv("JUMP_APPIDS", "wx1, wx2")
			want := []string{"https://a.example:443", row.origin, "https://b.example:443"}
			if row.origin == "" {
				want = slices.Delete(want, 1, 2)
			}
			if j := allowedJumps(log); !slices.Equal(j.origins, want) || !slices.Equal(j.appids, []string{"wx1", "wx2"}) {
				t.Errorf("%q, %q, want the origins %q", j.origins, j.appids, want)
			}
			if logged := records.String(); (logged == "") != (row.origin != "") || row.origin == "" && !strings.Contains(logged, "JumpOrigins") {
				t.Errorf("logged: %s", logged)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		log, records := telemetrytest.New()
		t.Setenv("JUMP_ORIGINS", "")
		t.Setenv("JUMP_APPIDS", "")
		if j := allowedJumps(log); len(j.origins)+len(j.appids) > 0 || records.String() != "" {
			t.Errorf("%+v, logged: %s", j, records.String())
		}
	})
}
