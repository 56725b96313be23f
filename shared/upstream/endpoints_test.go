package upstream

import (
	"strings"
	"testing"
	"time"
)

func TestBreakersOrder(t *testing.T) {
	now := time.Now()
	for _, row := range []struct {
		what   string
		failed string // the endpoints that failed 29 s ago, or in capitals 30 s ago
		trial  bool
		want   string
		then   string // the order for the next call at the same time
	}{
		{"none failed", "", true, "abc", "abc"},
		{"one failed", "a", true, "bca", "bca"},
		{"another failed", "b", true, "acb", "acb"},
		{"two failed: in order of preference", "ab", true, "cab", "cab"},
		{"all failed", "abc", true, "abc", "abc"},
		{"one failed 30 s ago", "A", true, "abc", "bca"},
		{"one failed 30 s ago, but no trial is wanted", "A", false, "bca", "bca"},
		{"two failed 30 s ago", "AB", true, "abc", "cab"},
		{"one failed 30 s ago, one since", "Ab", true, "acb", "cab"},
		{"all failed 30 s ago", "ABC", true, "abc", "abc"},
	} {
		b := newBreakers([]string{"a", "b", "c"})
		for _, c := range row.failed {
			ago := 29 * time.Second
			if c < 'a' {
				ago = 30 * time.Second
			}
			b.trip(strings.ToLower(string(c)), now.Add(-ago))
		}
		for _, want := range []string{row.want, row.then} {
			if got := strings.Join(b.order(now, row.trial), ""); got != want {
				t.Errorf("%s: %s, want %s", row.what, got, want)
			}
		}
		for _, endpoint := range b.preferred {
			b.answered(endpoint)
		}
		if got := strings.Join(b.order(now, false), ""); got != "abc" {
			t.Errorf("%s: %s after all answered", row.what, got)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for _, row := range []struct {
		list string
		want string // joined with a blank; "" if the list is refused
	}{
		{"https://api.mch.weixin.qq.com", "https://api.mch.weixin.qq.com"},
		{"https://api.mch.weixin.qq.com,https://api2.mch.weixin.qq.com", "https://api.mch.weixin.qq.com https://api2.mch.weixin.qq.com"},
		{" https://a.example , https://b.example\n", "https://a.example https://b.example"},
		{"https://a.example/", "https://a.example"},
		{"HTTPS://a.example", "https://a.example"},
		{"https://a.example:8443", "https://a.example:8443"},
		{"https://127.0.0.1:8443,https://[::1]:8443", "https://127.0.0.1:8443 https://[::1]:8443"},
		{"", ""},
		{" ", ""},
		{",", ""},
		{"https://a.example,", ""},
		{"https://a.example;https://b.example", ""},
		{"http://a.example", ""},
		{"https://a.example,http://b.example", ""},
		{"a.example", ""},
		{"//a.example", ""},
		{"https://", ""},
		{"https://:443", ""},
		{"https://a.example/v3", ""},
		{"https://a.example?a=b", ""},
		{"https://a.example#a", ""},
		{"https://me@a.example", ""},
		{"https://me:secret@a.example", ""},
		{"https://a.example:port", ""},
		{"https://a b", ""},
	} {
		got, err := Endpoints(row.list)
		if strings.Join(got, " ") != row.want || (err != nil) != (row.want == "") {
			t.Errorf("%q: %q, %v, want %q", row.list, got, err, row.want)
		}
	}
}
