package validation

import (
	"errors"
	"strings"
	"testing"

	"membercard/shared/apierror"
)

// row is a value, and whether a rule accepts it.
type row struct {
	what  string
	value string
	ok    bool
}

func hold(t *testing.T, rule Rule, issue string, rows []row) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.what, func(t *testing.T) {
			want := issue
			if row.ok {
				want = ""
			}
			if got := rule(row.value); got != want {
				t.Errorf("%q: %q, want %q", row.value, got, want)
			}
		})
	}
}

func TestRequired(t *testing.T) {
	hold(t, Required, "is required", []row{
		{"nothing", "", false},
		{"a blank is something", " ", true},
		{"a letter", "a", true},
	})
}

func TestMaxCountsCharacters(t *testing.T) {
	hold(t, MaxLength(32), "must have at most 32 characters", []row{
		{"nothing", "", true},
		{"32 letters", strings.Repeat("a", 32), true},
		{"33 letters", strings.Repeat("a", 33), false},
		{"32 Chinese characters, 96 bytes", strings.Repeat("卡", 32), true},
		{"33 Chinese characters", strings.Repeat("卡", 33), false},
		{"32 characters of 4 bytes", strings.Repeat("😀", 32), true},
		{"33 characters of 4 bytes", strings.Repeat("😀", 33), false},
		{"31 letters and one of 4 bytes", strings.Repeat("a", 31) + "😀", true},
		{"32 letters and one of 4 bytes", strings.Repeat("a", 32) + "😀", false},
	})
	hold(t, MaxLength(128), "must have at most 128 characters", []row{
		{"128 letters", strings.Repeat("a", 128), true},
		{"129 letters", strings.Repeat("a", 129), false},
	})
}

func TestOneOf(t *testing.T) {
	hold(t, OneOf("AUTO_ACTIVATE", "JUMP_ACTIVATE"), "must be AUTO_ACTIVATE or JUMP_ACTIVATE", []row{
		{"nothing is for Required", "", true},
		{"the first", "AUTO_ACTIVATE", true},
		{"the second", "JUMP_ACTIVATE", true},
		{"part of one", "AUTO", false},
		{"another case", "auto_activate", false},
		{"a blank behind", "AUTO_ACTIVATE ", false},
		{"both", "AUTO_ACTIVATE or JUMP_ACTIVATE", false},
	})
}

func TestCardID(t *testing.T) {
	hold(t, CardID, "must be 1 to 32 of the characters A-Z a-z 0-9 _ -", []row{
		{"nothing is for Required", "", true},
		{"the documents' example", "pbLatjvWOibDc5-TBnbUk1pD12o0", true},
		{"one character", "p", true},
		{"32 characters", strings.Repeat("p", 32), true},
		{"33 characters", strings.Repeat("p", 33), false},
		{"the ends of the alphabet", "AZaz09_-", true},
		{"before A", "p@", false},
		{"behind Z", "p[", false},
		{"before a", "p`", false},
		{"behind z", "p{", false},
		{"before 0", "p/", false},
		{"behind 9", "p:", false},
		{"another way up", "..", false},
		{"an escape", "p%2F", false},
		{"a query", "p?a=b", false},
		{"a fragment", "p#", false},
		{"a blank", "p ", false},
		{"a newline at the end", "p\n", false},
		{"a NUL", "p\x00", false},
		{"Chinese", "卡", false},
		{"a full-width letter", "ｐ", false},
		{"an Arabic digit", "٣", false},
		{"invalid UTF-8", "p\xff", false},
	})
}

func TestCode(t *testing.T) {
	hold(t, Code, "must be 1 to 32 of the characters A-Z a-z 0-9 _ -", []row{
		{"nothing is for Required", "", true},
		{"24 digits, as WeChat allocates", "478515832665201811291234", true},
		{"the merchant's own", "VIP-2026_a9", true},
		{"32 characters", strings.Repeat("1", 32), true},
		{"33 characters", strings.Repeat("1", 33), false},
		{"a slash", "1/2", false},
		{"another way up", "..", false},
		{"a full stop", "1.2", false},
		{"an escape", "1%2F", false},
		{"a query", "1?a=b", false},
		{"a fragment", "1#2", false},
		{"a semicolon", "1;2", false},
		{"a blank", "1 2", false},
		{"a newline at the end", "1\n", false},
		{"Chinese", "会员", false},
		{"a full-width digit", "１", false},
		{"invalid UTF-8", "1\xff", false},
	})
}

func TestAlphanumeric(t *testing.T) {
	hold(t, Alphanumeric(4, "+/=%"), "must be 1 to 4 of the characters A-Z a-z 0-9 + / = %", []row{
		{"nothing is for Required", "", true},
		{"4 of each kind", "Az0+", true},
		{"the punctuation", "+/=%", true},
		{"5 characters", "Az09+", false},
		{"other punctuation", "a-b", false},
		{"a blank", "a b", false},
		{"a letter of 2 bytes", "é", false},
		{"a NUL", "a\x00", false},
		{"invalid UTF-8", "\xff", false},
	})
}

func TestVisibleASCII(t *testing.T) {
	const invisible = "must not have a blank, line break or other invisible character: "
	for _, row := range []struct{ value, issue string }{
		{"", ""},
		{"!\"#$%&'()*+,-./0123456789:;<=>?@AZ[\\]^_`az{|}~", ""},
		{"a\n", invisible + "U+000A is at its end"},
		{"a\r\n", invisible + "U+000D is at its end"},
		{" a", invisible + "U+0020 is at its beginning"},
		{"a\tb", invisible + "U+0009 is within"},
		{"a\u00a0", invisible + "U+00A0 is at its end"},
		{"a\u200bb", invisible + "U+200B is within"},
		{"\ufeffa", invisible + "U+FEFF is at its beginning"},
		{"a\u3000", invisible + "U+3000 is at its end"},
		{"a\x7f", invisible + "U+007F is at its end"},
		{"é", "must be ASCII characters"},
		{"会员", "must be ASCII characters"},
	} {
		if got := VisibleASCII(row.value); got != row.issue {
			t.Errorf("%q: %q, want %q", row.value, got, row.issue)
		}
	}
}

func TestHalfWidth(t *testing.T) {
	hold(t, HalfWidth, "must be digits, letters or half-width punctuation, without blanks", []row{
		{"nothing was sent", "", true},
		{"digits and letters", "0123456789AZaz", true},
		{"all half-width punctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", true},
		{"a blank", "a b", false},
		{"a tab", "a\t", false},
		{"a newline", "a\n", false},
		{"a NUL", "\x00", false},
		{"DEL", "\x7f", false},
		{"a no-break space", "a\u00a0b", false},
		{"Chinese", "会员", false},
		{"a full-width digit", "１", false},
		{"full-width punctuation", "，", false},
		{"an emoji", "😀", false},
		{"an accented letter", "é", false},
		{"an Arabic digit", "٣", false},
		{"invalid UTF-8", "a\xff", false},
	})
}

func TestWebURL(t *testing.T) {
	const long = "https://w.url.cn/"
	hold(t, WebURL, "must be an absolute http or https URL", []row{
		{"nothing was sent", "", true},
		{"the merchant document's example", "https://w.url.cn/s/Ahz3p2C", true},
		{"http", "http://example.com", true},
		{"an upper-case scheme", "HTTPS://example.com/a", true},
		{"a query and a fragment", "https://example.com/a?b=c&d=%20#e", true},
		{"a port", "https://example.com:8443/", true},
		{"an IPv6 address", "https://[::1]/", true},
		{"a Chinese path", "https://example.com/会员", true},
		{"a Chinese host", "https://例子.中国/", true},
		{"relative", "/s/Ahz3p2C", false},
		{"relative, without a slash", "pages/activate/activate", false},
		{"no scheme", "w.url.cn/s/Ahz3p2C", false},
		{"no scheme but a host", "//w.url.cn/s/Ahz3p2C", false},
		{"ftp", "ftp://example.com/a", false},
		{"javascript", "javascript:alert(1)", false},
		{"a mini program's scheme", "weixin://dl/business", false},
		{"no host", "https:///s", false},
		{"a port without a host", "https://:443/", false},
		{"a scheme alone", "https://", false},
		{"opaque", "https:w.url.cn", false},
		{"a blank inside", "https://w.url.cn/s/ Ahz3p2C", false},
		{"a blank before", " https://w.url.cn/", false},
		{"a blank behind", "https://w.url.cn/ ", false},
		{"a newline inside", "https://w.url.cn/\ns", false},
		{"a newline behind", "https://w.url.cn/\n", false},
		{"a tab", "https://w.url.cn/\ts", false},
		{"a wide blank", "https://w.url.cn/\u3000s", false},
		{"a NUL", "https://w.url.cn/\x00", false},
		{"a broken escape in the host", "https://%zz/", false},
		{"an IPv4 address in an IPv6 address", "https://[::ffff:127.0.0.1]/", false},
		{"an IPv6 address with a zone", "https://[fe80::1%25eth0]/", false},
		{"a broken IPv6 address", "https://[::1/", false},
		{"a port of letters", "https://w.url.cn:https/", false},
	})
	hold(t, WebURL, "must be an absolute http or https URL without user information", []row{
		{"a user", "https://user@example.com/", false},
		{"a password", "https://user:password@example.com/", false},
		{"another host before the real one", "https://bank.example@evil.example/", false},
		{"an empty user", "https://@example.com/", false},
		{"an @ in the path", "https://example.com/@user", true},
		{"an @ in the query", "https://example.com?a@b", true},
	})
	limited := func(value string) string { return MaxLength(128)(value) + WebURL(value) }
	hold(t, limited, "must have at most 128 characters", []row{
		{"128 characters", long + strings.Repeat("a", 128-len(long)), true},
		{"129 characters", long + strings.Repeat("a", 129-len(long)), false},
		{"128 characters of more bytes", long + strings.Repeat("卡", 128-len(long)), true},
		{"129 characters of more bytes", long + strings.Repeat("卡", 129-len(long)), false},
	})
}

func TestTime(t *testing.T) {
	hold(t, Time, "must be a time in RFC 3339, such as 2025-06-22T13:29:35+08:00", []row{
		{"nothing was sent", "", true},
		{"the brand document's example", "2025-06-22T13:29:35+08:00", true},
		{"UTC", "2027-01-01T00:00:00Z", true},
		{"an offset", "2027-01-01T00:00:00-11:45", true},
		{"an unknown offset", "2027-01-01T00:00:00-00:00", true},
		{"the greatest offset", "2027-01-01T00:00:00+23:59", true},
		{"a fraction", "2027-01-01T00:00:00.5Z", true},
		{"a fraction of more than nanoseconds", "2027-01-01T00:00:00.1234567891234Z", true},
		{"a leap day", "2028-02-29T00:00:00Z", true},
		{"a day that there is not", "2027-02-29T00:00:00Z", false},
		{"a month that there is not", "2027-13-01T00:00:00Z", false},
		{"an hour of one digit", "2025-06-22T3:29:35+08:00", false},
		{"a comma before the fraction", "2025-06-22T13:29:35,5+08:00", false},
		{"both", "2025-06-22T3:29:35,5+08:00", false},
		{"a point without a fraction", "2025-06-22T13:29:35.Z", false},
		{"an hour that there is not", "2027-01-01T24:00:00Z", false},
		{"a minute that there is not", "2027-01-01T23:60:00Z", false},
		{"a leap second", "2016-12-31T23:59:60Z", false},
		{"an offset's hours that there are not", "2027-01-01T00:00:00+24:00", false},
		{"an offset's minutes that there are not", "2027-01-01T00:00:00+08:60", false},
		{"an offset without a colon", "2027-01-01T00:00:00+0800", false},
		{"an offset of hours", "2027-01-01T00:00:00+08", false},
		{"no offset", "2027-01-01T00:00:00", false},
		{"a date alone", "2027-01-01", false},
		{"no seconds", "2027-01-01T00:00Z", false},
		{"t and z", "2027-01-01t00:00:00z", false},
		{"a blank for the T", "2027-01-01 00:00:00Z", false},
		{"a blank behind", "2027-01-01T00:00:00Z ", false},
		{"an Arabic digit", "2027-01-01T00:00:0٣Z", false},
	})
}

func TestOuterStr(t *testing.T) {
	hold(t, OuterStr, "must be digits, Chinese or English letters, or half-width punctuation, without blanks", []row{
		{"nothing was sent", "", true},
		{"the merchant document's example", "szwxtd", true},
		{"digits", "0123456789", true},
		{"English letters", "AZaz", true},
		{"Chinese letters", "深圳万象天地", true},
		{"traditional Chinese letters", "會員卡", true},
		{"the iteration mark", "人々", true},
		{"a Chinese letter beyond the basic plane", "𠮷野家", true},
		{"a Chinese letter of Unicode 17", "\U000323b0", true},
		{"all half-width punctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", true},
		{"a mixture", "门店-01_A", true},
		{"a blank", "a b", false},
		{"a blank alone", " ", false},
		{"a tab", "a\t", false},
		{"a newline", "a\n", false},
		{"a wide blank", "a\u3000b", false},
		{"a no-break space", "a\u00a0b", false},
		{"a zero-width space", "a\u200bb", false},
		{"a NUL", "\x00", false},
		{"DEL", "\x7f", false},
		{"a full-width letter", "Ａ", false},
		{"a full-width digit", "１", false},
		{"full-width punctuation", "，", false},
		{"a full-width exclamation mark", "！", false},
		{"a Chinese full stop", "。", false},
		{"Chinese quotation marks", "“门店”", false},
		{"an emoji", "😀", false},
		{"an accented letter", "é", false},
		{"a combining accent", "e\u0301", false},
		{"Greek", "α", false},
		{"Japanese kana", "カ", false},
		{"Korean", "카", false},
		{"an Arabic digit", "٣", false},
		{"invalid UTF-8", "a\xff", false},
	})
}

func TestCheckNamesTheField(t *testing.T) {
	for _, row := range []struct {
		pointer, value string
		rules          []Rule
		message        string
		location       string
		shown          any
	}{
		{"/body/brand_id", "", []Rule{Required, MaxLength(32)}, "brand_id is required", "body", nil},
		{"/body/brand_id", strings.Repeat("1", 33), []Rule{Required, MaxLength(32)}, "brand_id must have at most 32 characters", "body", strings.Repeat("1", 33)},
		{"/path/card_id", "a/b", []Rule{Required, CardID}, "card_id must be 1 to 32 of the characters A-Z a-z 0-9 _ -", "path", "a/b"},
		{"/body/activate_type", "AUTO", []Rule{Required, OneOf("AUTO_ACTIVATE", "JUMP_ACTIVATE")}, "activate_type must be AUTO_ACTIVATE or JUMP_ACTIVATE", "body", "AUTO"},
		{"/body/both", "\n\n", []Rule{MaxLength(1), OuterStr}, "both must have at most 1 characters", "body", "\n\n"},
	} {
		err := Check(row.pointer, row.value, row.rules...)
		e, ok := errors.AsType[*apierror.Error](err)
		if !ok || e.Code != "PARAM_ERROR" || e.Status != 400 || e.Detail == nil {
			t.Errorf("%s: %#v, want a PARAM_ERROR with detail", row.pointer, err)
			continue
		}
		if e.Message != row.message || e.Detail.Field != row.pointer || e.Detail.Location != row.location || e.Detail.Value != row.shown {
			t.Errorf("%s: %q %+v, want %q in %s with the value %v", row.pointer, e.Message, *e.Detail, row.message, row.location, row.shown)
		}
	}
}

func TestCheckLetsPass(t *testing.T) {
	if err := Check("/body/brand_id", "1004", Required, MaxLength(32)); err != nil {
		t.Error(err)
	}
	if err := Check("/body/outer_str", "", MaxLength(32), OuterStr, WebURL, CardID, OneOf("a")); err != nil {
		t.Errorf("what was not sent: %v", err)
	}
	if err := Check("/body/any", "\xff"); err != nil {
		t.Errorf("without rules: %v", err)
	}
}

func TestCheckPrivateRepeatsNothing(t *testing.T) {
	private := strings.Repeat("obLatjnx9gnqzS4myYGmLZ7LgLBA", 5)
	e, ok := errors.AsType[*apierror.Error](CheckPrivate("/body/openid", private, Required, MaxLength(128)))
	if !ok {
		t.Fatal("not refused")
	}
	if e.Detail.Field != "/body/openid" || e.Detail.Value != nil || strings.Contains(e.Error(), private[:28]) {
		t.Errorf("%v %+v, want no value", e, *e.Detail)
	}
	if err := CheckPrivate("/body/openid", "obLatjnx9gnqzS4myYGmLZ7LgLBA", Required, MaxLength(128)); err != nil {
		t.Error(err)
	}
}
