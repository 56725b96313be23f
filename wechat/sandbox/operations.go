package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// API is a service's table of operations: its operations.json.
type API struct {
	Segments   []Field // of all paths, by the names in braces there
	Operations []Operation
}

// Operation is an operation of an API.
type Operation struct {
	Name   string // of what it does, for the service
	Title  string // of its document
	Method string
	Path   string // a name in braces matches one segment
	Needs  string // a credential of the caller or a header
	Limit  string // of the rate, which operations of the same limit share; empty for none
	Fields []Field
	// Reserved are the values for which the operation fails with an error of its document.
	Reserved []Reserved
}

// Reserved is a value of a field or a segment that leads to an error. The first that a
// request has decides.
type Reserved struct {
	Field, Value  string
	Status        int
	Code, Message string
}

// Field is a document's rule for a member of the body, a parameter of the query of a GET,
// or a segment of the path.
type Field struct {
	Name     string
	Title    string // its name in the document
	Kind     string // boolean, integer or object; empty for a text
	Required bool
	Min      *int64         // of an integer, if not nil
	Max      int            // characters of a text, or the greatest integer; 0 means no limit
	Values   []string       // of a text that is not empty, if there are any
	Pattern  *regexp.Regexp // of a text that is not empty, if not nil
	Rule     string         // the pattern in words
	Members  []Field        // of an object
}

// Issue is the error of a request that breaks a rule. WeChat Pay answers it as detail.
type Issue struct {
	Field    string `json:"field"` // a JSON pointer for the body, otherwise a name
	Value    string `json:"value"`
	Text     string `json:"issue"`
	Location string `json:"location"` // body, query, url or header
}

func (i *Issue) Error() string { return i.Text }

// ParseAPI parses a table, which is known to be valid.
func ParseAPI(table []byte) (api API) {
	d := json.NewDecoder(bytes.NewReader(table))
	d.DisallowUnknownFields()
	if err := d.Decode(&api); err != nil {
		panic(err)
	}
	return api
}

// Find returns the operation for a request, or nil, and sets r's segments. allowed has the
// methods of the operations with the request's path.
func (a *API) Find(r *Request) (found *Operation, allowed []string) {
	for i, o := range a.Operations {
		segments, ok := match(o.Path, r.Path)
		if !ok {
			continue
		}
		if allowed = append(allowed, o.Method); o.Method == r.Method {
			found, r.segments = &a.Operations[i], segments
		}
	}
	return found, allowed
}

// match returns the segments of a path that match the names in a pattern.
func match(pattern, path string) (segments map[string]string, ok bool) {
	names, values := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(names) != len(values) {
		return nil, false
	}
	segments = make(map[string]string)
	for i, name := range names {
		if strings.HasPrefix(name, "{") {
			segments[strings.Trim(name, "{}")] = values[i]
		} else if name != values[i] {
			return nil, false
		}
	}
	return segments, true
}

// Segment returns the decoded segment of the path that has a name in the table.
func (r *Request) Segment(name string) string {
	return Must(url.PathUnescape(r.segments[name])) // cannot fail: the server has parsed the path
}

// Check checks a request's segments and fields, and sets r.Given to the fields that it has:
// texts unquoted, others as JSON. Other members are ignored. reserved is the value that
// the request has, or nil.
func (a *API) Check(o *Operation, r *Request) (reserved *Reserved, err error) {
	for _, f := range a.Segments {
		if _, ok := r.segments[f.Name]; !ok {
			continue
		}
		if issue := f.checkText("/url/"+f.Name, r.Segment(f.Name)); issue != "" {
			return nil, &Issue{f.Name, r.Segment(f.Name), issue, "url"}
		}
	}
	switch {
	case o.Fields == nil:
	case o.Method == http.MethodGet:
		r.Given, err = ParseObject(queryObject(r.URI, o.Fields), "query", "", o.Fields)
	default:
		r.Given, err = ParseObject(r.Body, "body", "", o.Fields)
	}
	i := slices.IndexFunc(o.Reserved, func(v Reserved) bool {
		return r.Given[v.Field] == v.Value || r.segments[v.Field] == v.Value
	})
	if err != nil || i < 0 {
		return nil, err
	}
	return &o.Reserved[i], nil
}

// queryObject returns the query as a JSON object. It decodes only what is percent-encoded:
// a + stands for itself, because clients send the encrypt_code as it is in the jump.
func queryObject(uri string, fields []Field) []byte {
	members := make(map[string]json.RawMessage)
	_, query, _ := strings.Cut(uri, "?")
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		text, err := url.PathUnescape(value)
		if err != nil {
			text = value
		}
		members[name] = JSON(text)
		if json.Valid([]byte(text)) && slices.ContainsFunc(fields, func(f Field) bool { return f.Name == name && f.Kind != "" }) {
			members[name] = []byte(text)
		}
	}
	return JSON(members)
}

// ParseObject checks the fields of the object at a JSON pointer of the body or the query.
func ParseObject(document []byte, location, at string, fields []Field) (map[string]string, error) {
	var members map[string]json.RawMessage
	if !utf8.Valid(document) || json.Unmarshal(document, &members) != nil || members == nil {
		return nil, &Issue{Text: "请求报文不是合法的JSON对象", Location: "body"}
	}
	given := make(map[string]string)
	for _, f := range fields {
		pointer, raw := at+"/"+f.Name, members[f.Name]
		missing := raw == nil || string(raw) == "null"
		if missing && !f.Required {
			continue
		}
		value, source := string(raw), "/"+location+pointer
		into, name := f.target()
		issue := ""
		switch {
		case missing:
			value, issue = "", fmt.Sprintf("输入源“%s”映射到字段“%s”必填性规则校验失败，此字段为必填项", source, f.Title)
		case json.Unmarshal(raw, into) != nil:
			issue = fmt.Sprintf("无法将 JSON 输入源“%s”映射到目标字段“%s”中，此字段需要一个合法的%s", source, f.Title, name)
		case f.Kind == "":
			value = *into.(*string)
			issue = f.checkText(source, value)
		case f.Kind == "integer":
			issue = f.checkInteger(source, *into.(*int64))
		case f.Kind == "object":
			if _, err := ParseObject(raw, location, pointer, f.Members); err != nil {
				return nil, err
			}
		}
		if issue != "" {
			if location != "body" {
				pointer = f.Name
			}
			return nil, &Issue{pointer, value, issue, location}
		}
		given[f.Name] = value
	}
	return given, nil
}

// target returns a pointer to decode a value of the field's kind into, and the kind's name.
func (f *Field) target() (any, string) {
	switch f.Kind {
	case "boolean":
		return new(bool), "布尔值"
	case "integer":
		return new(int64), "整数"
	case "object":
		return new(map[string]json.RawMessage), "对象"
	}
	return new(string), "字符串"
}

// checkInteger returns the issue of an integer, or "".
func (f *Field) checkInteger(source string, n int64) string {
	switch {
	case f.Min != nil && n < *f.Min:
		return fmt.Sprintf("输入源“%s”映射到值字段“%s”数字规则校验失败，值 %d，小于最小值 %d", source, f.Title, n, *f.Min)
	case f.Max > 0 && n > int64(f.Max):
		return fmt.Sprintf("输入源“%s”映射到值字段“%s”数字规则校验失败，值 %d，大于最大值 %d", source, f.Title, n, f.Max)
	}
	return ""
}

// checkText returns the issue of a text, or "".
func (f *Field) checkText(source, value string) string {
	issue := ""
	switch n := utf8.RuneCountInString(value); {
	case n == 0 && f.Required:
		issue = fmt.Sprintf("字符串规则校验失败，字符数 %d，小于最小值 1", n)
	case f.Max > 0 && n > f.Max:
		issue = fmt.Sprintf("字符串规则校验失败，字符数 %d，大于最大值 %d", n, f.Max)
	case f.Values != nil && n > 0 && !slices.Contains(f.Values, value):
		issue = "校验失败，取值应为" + strings.Join(f.Values, "或")
	case f.Pattern != nil && n > 0 && !f.Pattern.MatchString(value):
		issue = "校验失败，" + f.Rule
	default:
		return ""
	}
	return fmt.Sprintf("输入源“%s”映射到值字段“%s”%s", source, f.Title, issue)
}
