package gateway

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"membercard/shared/apierror"
	"membercard/shared/strictjson"
	"membercard/shared/validation"
)

// Query has the parameters of a query by their names. Those that were not sent are "".
type Query map[string]string

// Query decodes a query that may have parameters with the given names, each of them once
// and with a value. It returns a PARAM_ERROR for the first fault, which repeats no value.
func (r *Request) Query(names ...string) (Query, error) {
	query := Query{}
	if r.RawQuery() == "" {
		return query, nil
	}
	for part := range strings.SplitSeq(r.RawQuery(), "&") {
		sentName, sentValue, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(sentName)
		if err != nil {
			name = sentName
		}
		if !slices.Contains(names, name) {
			return nil, apierror.InvalidParam(apierror.Detail{Field: "/query/" + strictjson.Escape(name), Issue: "is not a parameter of this operation", Undocumented: 1})
		}
		value, err := url.QueryUnescape(sentValue)
		issue := ""
		switch {
		case query[name] != "":
			issue = "must not be given twice"
		case value == "" && err == nil:
			issue = "must not be empty"
		case err != nil || !utf8.ValidString(value):
			issue = "must be percent-encoded UTF-8"
		}
		if issue != "" {
			return nil, apierror.InvalidParam(apierror.Detail{Field: "/query/" + name, Issue: issue})
		}
		query[name] = value
	}
	return query, nil
}

// Check applies rules to a parameter, as [validation.CheckPrivate] does.
func (q Query) Check(name string, rules ...validation.Rule) error {
	return validation.CheckPrivate("/query/"+name, q[name], rules...)
}

// CheckPage checks which page of a list the query asks for. Where offset is missing it
// becomes 0, and limit becomes 20.
func (q Query) CheckPage() error {
	q["offset"], q["limit"] = cmp.Or(q["offset"], "0"), cmp.Or(q["limit"], "20")
	return cmp.Or(
		q.Check("offset", validation.WholeNumber(0, 999_999_999)),
		q.Check("limit", validation.WholeNumber(1, 20)),
	)
}

// Encode returns the query as it is signed and sent, with a question mark, or "" if there is
// none. A blank is %20: in a query of WeChat's a + stands for itself.
func (q Query) Encode() string {
	values := url.Values{}
	for name, value := range q {
		values.Set(name, value)
	}
	if len(values) == 0 {
		return ""
	}
	return "?" + strings.ReplaceAll(values.Encode(), "+", "%20")
}
