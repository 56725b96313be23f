package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Operation is an operation of a service S.
type Operation[S any] struct {
	Method string
	Path   string  // a name in braces matches one segment
	Needs  Needs   // besides what all operations of the service need
	Limit  string  // of the rate, which operations of the same limit share; empty for none
	Fields []Field // of the body, or for GET of the query

	// Serve is called with the server's lock held, after everything else has been checked.
	// An answer of nil is 204.
	Serve func(S, *Request) (answer any, err error)
}

// Needs is a credential of the caller, or another condition of an operation.
type Needs int

// Find returns the operation for a request, or nil, and sets r's segments. allowed has the
// methods of the operations with the request's path.
func Find[S any](operations []Operation[S], r *Request) (found *Operation[S], allowed []string) {
	for i, o := range operations {
		segments, ok := match(o.Path, r.Path)
		if !ok {
			continue
		}
		if allowed = append(allowed, o.Method); o.Method == r.Method {
			found, r.segments = &operations[i], segments
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

// CheckSegments checks the segments of the path.
func (r *Request) CheckSegments(fields []Field) error {
	for _, f := range fields {
		if _, ok := r.segments[f.Name]; !ok {
			continue
		}
		if issue := f.checkText("/url/"+f.Name, r.Segment(f.Name)); issue != "" {
			return &Issue{f.Name, r.Segment(f.Name), issue, "url"}
		}
	}
	return nil
}

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

// Parse checks the fields of the body, or for GET of the query, and sets r.Given to those
// that the request has: texts unquoted, others as JSON. Other members are ignored.
func (r *Request) Parse(fields []Field) (err error) {
	if r.Method == http.MethodGet {
		r.Given, err = ParseObject(queryObject(r.URI, fields), "query", "", fields)
	} else {
		r.Given, err = ParseObject(r.Body, "body", "", fields)
	}
	return err
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
		if json.Valid([]byte(text)) && slices.ContainsFunc(fields, func(f Field) bool { return f.Name == name && f.Kind != Text }) {
			members[name] = []byte(text)
		}
	}
	return JSON(members)
}

// ParseObject is [Request.Parse] for the object at a JSON pointer of the body or the query.
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
		into := f.target()
		issue := ""
		switch {
		case missing:
			value, issue = "", fmt.Sprintf("输入源“%s”映射到字段“%s”必填性规则校验失败，此字段为必填项", source, f.Title)
		case json.Unmarshal(raw, into) != nil:
			issue = fmt.Sprintf("无法将 JSON 输入源“%s”映射到目标字段“%s”中，此字段需要一个合法的%s", source, f.Title, []string{"字符串", "布尔值", "整数", "对象"}[f.Kind])
		case f.Kind == Text:
			value = *into.(*string)
			issue = f.checkText(source, value)
		case f.Kind == Object:
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

// target returns a pointer to decode a value of the field's kind into.
func (f *Field) target() any {
	return []any{new(string), new(bool), new(int64), new(map[string]json.RawMessage)}[f.Kind]
}

// checkText returns the issue of a text, or "".
func (f *Field) checkText(source, value string) string {
	issue := ""
	switch n := utf8.RuneCountInString(value); {
	case n == 0 && f.Required:
		issue = fmt.Sprintf("字符串规则校验失败，字符数 %d，小于最小值 1", n)
	case f.Max > 0 && n > f.Max:
		issue = fmt.Sprintf("字符串规则校验失败，字符数 %d，大于最大值 %d", n, f.Max)
	case f.Check != nil && n > 0 && f.Check(value) != "":
		issue = "校验失败，" + f.Check(value)
	default:
		return ""
	}
	return fmt.Sprintf("输入源“%s”映射到值字段“%s”%s", source, f.Title, issue)
}

// Checks of texts.
var (
	OuterStr  = matches(`^[!-~\p{Han}]*$`, "只能录入数字及中英文/半角标点")
	HalfWidth = matches(`^[!-~]*$`, "只能录入数字及英文/半角标点")
	Color     = matches(`^#[0-9A-Fa-f]{6}$`, "应为#RRGGBB")
	Time      = matches(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`, "不是合法的rfc3339格式")
)

func matches(pattern, issue string) func(string) string {
	compiled := regexp.MustCompile(pattern)
	return func(value string) string {
		if compiled.MatchString(value) {
			return ""
		}
		return issue
	}
}

// OneOf allows only the given values.
func OneOf(values ...string) func(string) string {
	return matches("^("+strings.Join(values, "|")+")$", "取值应为"+strings.Join(values, "或"))
}
