package wechatpay

// This file validates bodies by the rules of the documents.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// kind is the type of a member of a JSON object.
type kind int

const (
	text kind = iota
	boolean
	integer
	object
)

// field is a document's rule for a member of a JSON object.
type field struct {
	name     string
	title    string // its name in the document
	kind     kind
	required bool
	max      int                               // characters of a text; 0 means no limit
	check    func(value string) (issue string) // for a text that is not empty; may be nil
	members  []field                           // of an object
}

// parse validates a body and returns the members that it has: texts unquoted, others as
// JSON. Unknown members are ignored.
func parse(r *Request, fields []field) (map[string]string, *refusal) {
	if refused := checkContentType(r.Header); refused != nil {
		return nil, refused
	}
	if !utf8.Valid(r.Body) {
		return nil, notAnObject()
	}
	return parseObject(r.Body, "", fields)
}

func notAnObject() *refusal { return invalid("body", "", "", "请求报文不是合法的JSON对象") }

// parseObject validates the object at a JSON pointer.
func parseObject(document []byte, at string, fields []field) (map[string]string, *refusal) {
	var members map[string]json.RawMessage
	if json.Unmarshal(document, &members) != nil || members == nil {
		return nil, notAnObject()
	}
	given := make(map[string]string)
	for _, f := range fields {
		raw, sent := members[f.name]
		pointer := at + "/" + f.name
		if sent && !bytes.Equal(raw, []byte("null")) {
			value, refused := f.parse(raw, pointer)
			if refused != nil {
				return nil, refused
			}
			given[f.name] = value
		} else if f.required {
			return nil, invalid("body", pointer, "",
				fmt.Sprintf("输入源“/body%s”映射到字段“%s”必填性规则校验失败，此字段为必填项", pointer, f.title))
		}
	}
	return given, nil
}

// parse validates the member at a JSON pointer.
func (f *field) parse(raw json.RawMessage, pointer string) (string, *refusal) {
	var value string
	into, name := any(&value), "字符串"
	switch f.kind {
	case boolean:
		into, name = new(bool), "布尔值"
	case integer:
		into, name = new(int64), "整数"
	case object:
		into, name = new(map[string]json.RawMessage), "对象"
	}
	if json.Unmarshal(raw, into) != nil {
		return "", invalid("body", pointer, string(raw),
			fmt.Sprintf("无法将 JSON 输入源“/body%s”映射到目标字段“%s”中，此字段需要一个合法的%s", pointer, f.title, name))
	}
	if f.kind == object {
		if _, refused := parseObject(raw, pointer, f.members); refused != nil {
			return "", refused
		}
	}
	if f.kind != text {
		return string(raw), nil
	}
	least := 0
	if f.required {
		least = 1
	}
	if n := utf8.RuneCountInString(value); n < least || f.max > 0 && n > f.max {
		return "", invalid("body", pointer, value, lengthIssue("/body"+pointer, f.title, n, least, f.max))
	}
	if f.check != nil && value != "" {
		if issue := f.check(value); issue != "" {
			return "", invalid("body", pointer, value,
				fmt.Sprintf("输入源“/body%s”映射到值字段“%s”校验失败，%s", pointer, f.title, issue))
		}
	}
	return value, nil
}

// checkOneOf allows only the given values.
func checkOneOf(values ...string) func(string) string {
	return func(value string) string {
		if slices.Contains(values, value) {
			return ""
		}
		return "取值应为" + strings.Join(values, "或")
	}
}

func checkOuterStr(value string) string {
	for _, c := range value {
		if c <= unicode.MaxASCII && unicode.IsGraphic(c) && c != ' ' || unicode.Is(unicode.Han, c) {
			continue
		}
		return "只能录入数字及中英文/半角标点"
	}
	return ""
}

// checkHalfWidth allows digits, letters and half-width punctuation.
func checkHalfWidth(value string) string {
	if strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c >= unicode.MaxASCII }) {
		return "只能录入数字及英文/半角标点"
	}
	return ""
}

func checkTime(value string) string {
	if _, err := time.Parse(time.RFC3339, value); err != nil {
		return "不是合法的rfc3339格式"
	}
	return ""
}

func checkColor(value string) string {
	if digits, ok := strings.CutPrefix(value, "#"); ok && len(digits) == 6 && strings.Trim(digits, "0123456789abcdefABCDEF") == "" {
		return ""
	}
	return "应为#RRGGBB"
}

// checkPath checks that a parameter in the path has 1 to 32 characters.
func checkPath(name, title, value string) *refusal {
	if n := utf8.RuneCountInString(value); n < 1 || n > 32 {
		return invalid("url", name, value, lengthIssue("/url/"+name, title, n, 1, 32))
	}
	return nil
}

func lengthIssue(source, title string, n, least, most int) string {
	limit := fmt.Sprintf("大于最大值 %d", most)
	if n < least {
		limit = fmt.Sprintf("小于最小值 %d", least)
	}
	return fmt.Sprintf("输入源“%s”映射到值字段“%s”字符串规则校验失败，字符数 %d，%s", source, title, n, limit)
}

// detail names the invalid parameter: with a JSON pointer if it is in the body, otherwise
// with its name.
type detail struct {
	Field    string `json:"field"`
	Value    string `json:"value"`
	Issue    string `json:"issue"`
	Location string `json:"location"`
}

// invalid refuses a parameter.
func invalid(location, field, value, issue string) *refusal {
	refused := refuse(http.StatusBadRequest, "PARAM_ERROR", "%s", issue)
	refused.Detail = detail{Field: field, Value: value, Issue: issue, Location: location}
	return refused
}
