package sandbox

// This file has the rules for the fields of requests.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind is the type of a field.
type Kind int

const (
	Text Kind = iota
	Boolean
	Integer
	Object
)

// Field is a document's rule for a member of the body, a parameter of the query or a
// segment of the path.
type Field struct {
	Name     string
	Title    string // its name in the document
	Kind     Kind
	Required bool
	Max      int                               // characters of a text; 0 means no limit
	Check    func(value string) (issue string) // for a text that is not empty; may be nil
	Members  []Field                           // of an object
}

// Issue is the error of a request that breaks a rule. WeChat Pay answers it as detail.
type Issue struct {
	Field    string `json:"field"` // a JSON pointer for the body, otherwise a name
	Value    string `json:"value"`
	Text     string `json:"issue"`
	Location string `json:"location"` // body, query, url or header
}

func (i *Issue) Error() string { return i.Text }

// NotAnObject is the error of a body that is not a JSON object.
func NotAnObject() error {
	return &Issue{Text: "请求报文不是合法的JSON对象", Location: "body"}
}

// Parse checks the fields of the body, or for GET of the query, and sets r.Given to those
// that the request has: texts unquoted, others as JSON. Other members are ignored.
func (r *Request) Parse(fields []Field) (err error) {
	if r.Method == http.MethodGet {
		r.Given, err = parseQuery(r.URI, fields)
		return err
	}
	if !utf8.Valid(r.Body) {
		return NotAnObject()
	}
	r.Given, err = ParseObject(r.Body, "", fields)
	return err
}

// parseQuery decodes only what is percent-encoded: a + stands for itself, because clients
// send the encrypt_code as it is in the jump.
func parseQuery(uri string, fields []Field) (map[string]string, error) {
	given := make(map[string]string)
	_, query, _ := strings.Cut(uri, "?")
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			continue
		}
		f, source := fields[i], "/query/"+name
		text, err := url.PathUnescape(value)
		if err == nil && f.Kind != Text {
			err = json.Unmarshal([]byte(text), f.target())
		}
		if err != nil {
			return nil, &Issue{name, value, f.wrongType(source), "query"}
		}
		if issue := f.checkText(source, text); f.Kind == Text && issue != "" {
			return nil, &Issue{name, text, issue, "query"}
		}
		given[name] = text
	}
	for _, f := range fields {
		if _, sent := given[f.Name]; f.Required && !sent {
			return nil, &Issue{f.Name, "", f.missing("/query/" + f.Name), "query"}
		}
	}
	return given, nil
}

// ParseObject is [Request.Parse] for the object at a JSON pointer.
func ParseObject(document []byte, at string, fields []Field) (map[string]string, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(document, &members) != nil || members == nil {
		return nil, NotAnObject()
	}
	given := make(map[string]string)
	for _, f := range fields {
		raw, sent := members[f.Name]
		pointer := at + "/" + f.Name
		if sent && !bytes.Equal(raw, []byte("null")) {
			value, err := f.parse(raw, pointer)
			if err != nil {
				return nil, err
			}
			given[f.Name] = value
		} else if f.Required {
			return nil, &Issue{pointer, "", f.missing("/body" + pointer), "body"}
		}
	}
	return given, nil
}

// parse validates the member at a JSON pointer.
func (f *Field) parse(raw json.RawMessage, pointer string) (string, error) {
	into := f.target()
	if json.Unmarshal(raw, into) != nil {
		return "", &Issue{pointer, string(raw), f.wrongType("/body" + pointer), "body"}
	}
	if f.Kind == Object {
		_, err := ParseObject(raw, pointer, f.Members)
		return string(raw), err
	}
	text, isText := into.(*string)
	if !isText {
		return string(raw), nil
	}
	if issue := f.checkText("/body"+pointer, *text); issue != "" {
		return "", &Issue{pointer, *text, issue, "body"}
	}
	return *text, nil
}

// target returns a pointer to decode a value of the field's kind into.
func (f *Field) target() any {
	return []any{new(string), new(bool), new(int64), new(map[string]json.RawMessage)}[f.Kind]
}

func (f *Field) wrongType(source string) string {
	name := []string{"字符串", "布尔值", "整数", "对象"}[f.Kind]
	return fmt.Sprintf("无法将 JSON 输入源“%s”映射到目标字段“%s”中，此字段需要一个合法的%s", source, f.Title, name)
}

func (f *Field) missing(source string) string {
	return fmt.Sprintf("输入源“%s”映射到字段“%s”必填性规则校验失败，此字段为必填项", source, f.Title)
}

// checkText returns the issue of a text, or "".
func (f *Field) checkText(source, value string) string {
	limit := ""
	switch n := utf8.RuneCountInString(value); {
	case n == 0 && f.Required:
		limit = fmt.Sprintf("字符数 %d，小于最小值 1", n)
	case f.Max > 0 && n > f.Max:
		limit = fmt.Sprintf("字符数 %d，大于最大值 %d", n, f.Max)
	}
	if limit != "" {
		return fmt.Sprintf("输入源“%s”映射到值字段“%s”字符串规则校验失败，%s", source, f.Title, limit)
	}
	if f.Check != nil && value != "" {
		if issue := f.Check(value); issue != "" {
			return fmt.Sprintf("输入源“%s”映射到值字段“%s”校验失败，%s", source, f.Title, issue)
		}
	}
	return ""
}

// OneOf allows only the given values.
func OneOf(values ...string) func(string) string {
	return func(value string) string {
		if slices.Contains(values, value) {
			return ""
		}
		return "取值应为" + strings.Join(values, "或")
	}
}

// OuterStr allows digits, letters, Chinese characters and half-width punctuation.
func OuterStr(value string) string {
	for _, c := range value {
		if c <= unicode.MaxASCII && unicode.IsGraphic(c) && c != ' ' || unicode.Is(unicode.Han, c) {
			continue
		}
		return "只能录入数字及中英文/半角标点"
	}
	return ""
}

// HalfWidth allows digits, letters and half-width punctuation.
func HalfWidth(value string) string {
	if strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c >= unicode.MaxASCII }) {
		return "只能录入数字及英文/半角标点"
	}
	return ""
}

// Time allows RFC 3339.
func Time(value string) string {
	if _, err := time.Parse(time.RFC3339, value); err != nil {
		return "不是合法的rfc3339格式"
	}
	return ""
}

// Color allows #RRGGBB.
func Color(value string) string {
	if digits, ok := strings.CutPrefix(value, "#"); ok && len(digits) == 6 && strings.Trim(digits, "0123456789abcdefABCDEF") == "" {
		return ""
	}
	return "应为#RRGGBB"
}
