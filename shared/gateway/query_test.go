package gateway

import (
	"strings"
	"testing"

	"membercard/shared/apierror"
)

// asked is a request with a query.
func asked(query string) *Request { return &Request{event: event{RawQueryString: query}} }

func TestQuery(t *testing.T) {
	for _, row := range []struct{ rule, query, encoded, field, issue string }{
		{"none", "", "", "", ""},
		{"one", "openid=obLatjnx9gnqzS4myYGmLZ7LgLBA", "?openid=obLatjnx9gnqzS4myYGmLZ7LgLBA", "", ""},
		{"two, in their order", "openid=o&brand_id=1004", "?openid=o&brand_id=1004", "", ""},
		{"decoded once, encoded once", "openid=a%2Bb%252F%26c", "?openid=a%2Bb%252F%26c", "", ""},
		{"an escape that is not needed", "openid=%6f", "?openid=o", "", ""},
		{"an escaped name", "open%69d=o", "?openid=o", "", ""},
		{"a + is a blank", "openid=a+b%20c", "?openid=a%20b%20c", "", ""},
		{"what is not escaped", "openid=a/b=c;d?e", "?openid=a%2Fb%3Dc%3Bd%3Fe", "", ""},
		{"Chinese", "openid=会员", "?openid=%E4%BC%9A%E5%91%98", "", ""},

		{"an unknown name", "openid=o&card=1", "", "/query/card", "not a parameter"},
		{"a name in another case", "OpenID=o", "", "/query/OpenID", "not a parameter"},
		{"a name with a slash", "a%2Fb=1", "", "/query/a~1b", "not a parameter"},
		{"a name with a broken escape", "a%zz=1", "", "/query/a%zz", "not a parameter"},
		{"a name of 100", strings.Repeat("n", 100) + "=1", "", "/query/" + strings.Repeat("n", 64) + "…", "not a parameter"},
		{"no name", "=o", "", "/query/", "not a parameter"},
		{"an ampersand behind", "openid=o&", "", "/query/", "not a parameter"},
		{"twice", "openid=o&openid=o", "", "/query/openid", "twice"},
		{"twice, once escaped", "openid=o&open%69d=p", "", "/query/openid", "twice"},
		{"an empty value", "openid=", "", "/query/openid", "empty"},
		{"a name alone", "openid", "", "/query/openid", "empty"},
		{"a broken escape", "openid=%zz", "", "/query/openid", "percent-encoded UTF-8"},
		{"a cut escape", "openid=o%2", "", "/query/openid", "percent-encoded UTF-8"},
		{"a broken byte", "openid=%ff", "", "/query/openid", "percent-encoded UTF-8"},
		{"the first fault", "openid=%zz&card=1", "", "/query/openid", "percent-encoded UTF-8"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			query, err := asked(row.query).Query("brand_id", "openid")
			if row.issue == "" {
				if err != nil || query.Encode() != row.encoded {
					t.Errorf("%s, %v, want %s", query.Encode(), err, row.encoded)
				}
				return
			}
			requireFault(t, err, row.field, row.issue)
			if logged := apierror.From(err).Detail.KnownField(); row.field != "/query/openid" && logged != "/query/…" {
				t.Errorf("%s would be logged", logged)
			}
		})
	}
}

func TestCheckPage(t *testing.T) {
	for _, row := range []struct{ query, encoded, field string }{
		{"", "?offset=0&limit=20", ""},
		{"offset=40", "?offset=40&limit=20", ""},
		{"limit=1&offset=999999999", "?limit=1&offset=999999999", ""},
		{"offset=1000000000", "", "/query/offset"},
		{"offset=-1", "", "/query/offset"},
		{"offset=%2B1", "", "/query/offset"},
		{"offset=01", "", "/query/offset"},
		{"offset=1.0", "", "/query/offset"},
		{"offset=%EF%BC%91", "", "/query/offset"}, // a full-width digit
		{"limit=0", "", "/query/limit"},
		{"limit=20", "?limit=20&offset=0", ""},
		{"limit=21", "", "/query/limit"},
		{"limit=18446744073709551617", "", "/query/limit"},
	} {
		t.Run(row.query, func(t *testing.T) {
			query, err := asked(row.query).Query("offset", "limit")
			if err != nil {
				t.Fatal(err)
			}
			switch err := query.CheckPage(); {
			case row.field != "":
				requireFault(t, err, row.field, "whole number")
			case err != nil || query.Encode() != row.encoded:
				t.Errorf("%s, %v, want %s", query.Encode(), err, row.encoded)
			}
		})
	}
}

// requireFault fails the test unless err is a PARAM_ERROR that repeats no value.
func requireFault(t *testing.T, err error, field, issue string) {
	t.Helper()
	if err == nil {
		t.Fatal("no fault")
	}
	e := apierror.From(err)
	if d := e.Detail; e.Code != "PARAM_ERROR" || d == nil || d.Field != field || d.Location != "query" || d.Value != nil || !strings.Contains(d.Issue, issue) {
		t.Errorf("%v %+v, want %s %s", e, d, field, issue)
	}
}
