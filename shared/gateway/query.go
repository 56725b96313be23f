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

// Query has the names and values of a query's parameters, in the order in which they are sent.
type Query [][2]string

// Get returns the value of a parameter, or "" if it was not sent.
func (q Query) Get(name string) string {
	for _, parameter := range q {
		if parameter[0] == name {
			return parameter[1]
		}
	}
	return ""
}

// Query decodes a query that may have parameters with the given names, each of them once
// and with a value. It returns a PARAM_ERROR for the first fault, which repeats no value.
func (r *Request) Query(names ...string) (query Query, err error) {
	if r.RawQuery() == "" {
		return nil, nil
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
		case query.Get(name) != "":
			issue = "must not be given twice"
		case value == "" && err == nil:
			issue = "must not be empty"
		case err != nil || !utf8.ValidString(value):
			issue = "must be percent-encoded UTF-8"
		}
		if issue != "" {
			return nil, apierror.InvalidParam(apierror.Detail{Field: "/query/" + name, Issue: issue})
		}
		query = append(query, [2]string{name, value})
	}
	return query, nil
}

// Check applies rules to a parameter, as [validation.CheckPrivate] does.
func (q Query) Check(name string, rules ...validation.Rule) error {
	return validation.CheckPrivate("/query/"+name, q.Get(name), rules...)
}

// CheckPage checks which page of a list the query asks for. Where offset is missing it
// becomes 0, and limit becomes 20.
func (q *Query) CheckPage() error {
	for _, page := range (Query{{"offset", "0"}, {"limit", "20"}}) {
		if q.Get(page[0]) == "" {
			*q = append(*q, page)
		}
	}
	return cmp.Or(
		q.Check("offset", validation.WholeNumber(0, 999_999_999)),
		q.Check("limit", validation.WholeNumber(1, 20)),
	)
}

// Encode returns the query as it is signed and sent, with a question mark, or "" if there is
// none. A blank is %20: in a query of WeChat's a + stands for itself.
func (q Query) Encode() string {
	var text strings.Builder
	for i, parameter := range q {
		text.WriteByte("?&"[min(i, 1)])
		text.WriteString(parameter[0] + "=" + strings.ReplaceAll(url.QueryEscape(parameter[1]), "+", "%20"))
	}
	return text.String()
}
