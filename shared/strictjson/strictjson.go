// Package strictjson decodes JSON and refuses everything that a document does not
// allow. encoding/json alone ignores unknown names, and accepts names in another case,
// duplicate names (the last one wins), null, and invalid Unicode.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Fault is one violation of a rule. Its JSON, which reports of syncs have, is without Value.
type Fault struct {
	Path  string `json:"path"`  // JSON pointer into the document; "" is the whole document
	Value any    `json:"-"`     // the value at Path, or nil
	Issue string `json:"issue"` // what is wrong, as the predicate of a sentence about the field

	// Undocumented is the number of names at the end of Path that the sender chose. They
	// may be anything, such as an openid, and must not be logged.
	Undocumented int `json:"-"`
}

// Faults are faults of a document, in document order.
type Faults []Fault

// MaxFaults is the maximum number of faults that are looked for in a document.
const MaxFaults = 1000

func (f Faults) String() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Path + " " + fault.Issue
	}
	return strings.Join(lines, "; ")
}

// Decode decodes a JSON object into the struct that into points to, or returns the first
// fault. It refuses unknown fields (names are compared case-sensitively, after unescaping),
// duplicates, null, values of another type, invalid Unicode and U+FFFD, trailing data, and
// empty strings. A *string or a string in a map may be empty.
// A map type with a method Known(name string) bool takes only the names that it reports.
// A [json.RawMessage] takes any value, null and empty strings included; in it only
// duplicates, invalid Unicode and more than 100 levels are refused.
//
// If the document is valid JSON, into is filled as far as possible even when there
// is a fault.
func Decode(data []byte, into any) Faults { return decode(data, into, 1) }

// DecodeAll is [Decode], but returns all faults, at most [MaxFaults].
func DecodeAll(data []byte, into any) Faults { return decode(data, into, MaxFaults) }

func decode(data []byte, into any, maxFaults int) Faults {
	if hasBOM(data) {
		return Faults{{Issue: "must be UTF-8 without a byte-order mark (BOM)"}}
	}
	if !isUTF8(data) {
		return Faults{{Issue: "must be UTF-8"}}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return Faults{{Issue: "must be a JSON object, and is empty"}}
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return Faults{{Issue: "must be one JSON object: " + err.Error()}}
	}
	return decodeValue(data, "", into, maxFaults)
}

// DecodeValue is [DecodeAll] for a value that was decoded as a [json.RawMessage] before.
// path is its JSON pointer in the document. into may point to a variable of any type
// that a field may have.
func DecodeValue(value json.RawMessage, path string, into any) Faults {
	return decodeValue(value, path, into, MaxFaults)
}

func decodeValue(value json.RawMessage, path string, into any, maxFaults int) Faults {
	w := walker{tokens: json.NewDecoder(bytes.NewReader(value)), path: path, maxFaults: maxFaults}
	w.tokens.UseNumber()
	w.value(reflect.TypeOf(into).Elem(), false)
	if err := json.Unmarshal(value, into); err != nil && len(w.faults) == 0 { // unreachable: w found every fault
		w.fault(nil, "can't be decoded")
	}
	return w.faults
}

// hasBOM reports whether a document begins with a byte-order mark, which editors write and
// the AWS CLI keeps.
func hasBOM(data []byte) bool {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} { // UTF-8, UTF-16
		if bytes.HasPrefix(data, []byte(mark)) {
			return true
		}
	}
	return false
}

// isUTF8 reports whether a document is UTF-8. One that has a NUL among its first two bytes is
// UTF-16 or UTF-32 without a byte-order mark: no JSON begins so.
func isUTF8(data []byte) bool {
	return utf8.Valid(data) && !bytes.Contains(data[:min(len(data), 2)], []byte{0})
}

// DecodeSecret is [DecodeAll] for a secret. Its error names the keys at fault and contains
// no values.
func DecodeSecret(data []byte, into any) error {
	if hasBOM(data) {
		return errors.New("it begins with a byte-order mark (BOM); save it as UTF-8 without one")
	}
	if !isUTF8(data) {
		return errors.New("it must be UTF-8")
	}
	faults := DecodeAll(data, into)
	if len(faults) == 0 {
		return nil
	}
	for i, fault := range faults {
		if fault.Path == "" {
			return errors.New("it is not one JSON object")
		}
		faults[i].Path = fault.Path[1:] // the key, not a pointer
	}
	return errors.New(faults.String())
}

// Member decodes one member of a JSON object into a variable. It reports whether the
// member exists, is not null and has the type of the variable. The name is compared
// case-sensitively. Other members may have any form.
func Member(object []byte, name string, into any) bool {
	var members map[string]json.RawMessage
	return utf8.Valid(object) && json.Unmarshal(object, &members) == nil && members[name] != nil && string(members[name]) != "null" && json.Unmarshal(members[name], into) == nil
}

// IsObject reports whether data is a JSON object.
func IsObject(data []byte) bool {
	var members map[string]json.RawMessage
	return utf8.Valid(data) && json.Unmarshal(data, &members) == nil && members != nil
}

// walker compares the tokens of a valid document with a Go type. A sender may nest deep,
// choose long names and make thousands of faults, so the walker keeps only where it is,
// and builds a path only for a fault.
type walker struct {
	tokens    *json.Decoder
	path      string // of the document
	steps     []step // from the document to the current value
	depth     int    // within a json.RawMessage
	faults    Faults
	maxFaults int
}

// step is one reference token of a JSON pointer.
type step struct {
	name   string
	index  int  // in an array; -1 in an object
	chosen bool // the sender chose the name
}

// NotUnicode is the issue of a text with U+FFFD. Decoders put it where a surrogate is alone,
// and API Gateway may do so where a body is not UTF-8, such as one in GBK, before a function
// sees it. A U+FFFD that somebody wrote looks the same.
const NotUnicode = "must be valid Unicode, without the replacement character U+FFFD"

func (w *walker) isFull() bool { return len(w.faults) >= w.maxFaults }

func (w *walker) fault(value any, issue string) {
	const maxPath = 1 << 10 // bytes, and one more name
	var path strings.Builder
	path.WriteString(w.path)
	chosen := 0
	for _, s := range w.steps {
		if s.chosen || chosen > 0 {
			chosen++
		}
		if path.Len() > maxPath {
			path.WriteString("/…")
			break
		}
		if s.index >= 0 {
			s.name = strconv.Itoa(s.index)
		}
		path.WriteString("/" + Escape(s.name))
	}
	w.faults = append(w.faults, Fault{Path: path.String(), Value: value, Issue: issue, Undocumented: chosen})
}

// value checks the next value, which may be one of a map, against t.
func (w *walker) value(t reflect.Type, inMap bool) {
	isPointer := t.Kind() == reflect.Pointer
	if isPointer {
		t = t.Elem()
	}
	token, _ := w.tokens.Token() // the document is valid JSON
	kind, name := kindOf(t)
	anything := kind == reflect.Interface
	switch token := token.(type) {
	case nil:
		if !anything && !(isPointer && inMap) {
			w.fault(nil, "must not be null")
		}
	case json.Delim:
		switch {
		case token == '{' && kind == reflect.Struct:
			w.object(func(key string) (reflect.Type, bool) { return field(t, key) }, false)
		case token == '{' && kind == reflect.Map:
			names, limited := reflect.Zero(t).Interface().(interface{ Known(name string) bool })
			w.object(func(key string) (reflect.Type, bool) { return t.Elem(), !limited || names.Known(key) }, true)
		case token == '[' && kind == reflect.Slice:
			w.array(t.Elem())
		case anything:
			w.nested(token, t)
		default:
			w.fault(nil, "must be "+name)
			w.skip(token)
		}
	case string:
		switch {
		case kind != reflect.String && !anything:
			w.fault(nil, "must be "+name)
		case strings.ContainsRune(token, utf8.RuneError):
			w.fault(nil, NotUnicode)
		case token == "" && !isPointer && !inMap && !anything:
			w.fault(token, "must not be empty")
		}
	case bool:
		if kind != reflect.Bool && !anything {
			w.fault(nil, "must be "+name)
		}
	case json.Number:
		if _, err := token.Int64(); !anything && (kind != reflect.Int64 || err != nil) {
			w.fault(nil, "must be "+name)
		}
	}
}

// object checks the members of an object after its opening brace. In a map the sender
// chooses the names, and strings may be empty.
func (w *walker) object(typeOf func(key string) (t reflect.Type, known bool), isMap bool) {
	seen := map[string]bool{}
	for !w.isFull() && w.tokens.More() {
		token, _ := w.tokens.Token()
		key := token.(string)
		t, known := typeOf(key)
		w.steps = append(w.steps, step{key, -1, isMap || !known})
		switch {
		case strings.ContainsRune(key, utf8.RuneError):
			w.fault(nil, NotUnicode)
			w.discard()
		case seen[key]:
			w.fault(nil, "must not be given twice")
			w.discard()
		case !known:
			w.fault(nil, "is not a field of this document")
			w.discard()
		default:
			w.value(t, isMap)
		}
		w.steps = w.steps[:len(w.steps)-1]
		seen[key] = true
	}
	w.tokens.Token()
}

// array checks the values of an array after its opening bracket.
func (w *walker) array(t reflect.Type) {
	for i := 0; !w.isFull() && w.tokens.More(); i++ {
		w.steps = append(w.steps, step{index: i})
		w.value(t, false)
		w.steps = w.steps[:len(w.steps)-1]
	}
	w.tokens.Token()
}

// nested checks an object or an array in a json.RawMessage after its opening bracket.
func (w *walker) nested(opening json.Delim, t reflect.Type) {
	const maxDepth = 100
	w.depth++
	defer func() { w.depth-- }()
	switch {
	case w.depth > maxDepth:
		w.fault(nil, "must not be nested deeper than 100 levels")
		w.skip(opening)
	case opening == '{':
		w.object(func(string) (reflect.Type, bool) { return t, true }, true)
	default:
		w.array(t)
	}
}

func (w *walker) discard() {
	var value json.RawMessage
	_ = w.tokens.Decode(&value)
}

// skip skips the rest of an object or an array after its opening bracket.
func (w *walker) skip(opening json.Delim) {
	for w.tokens.More() {
		if opening == '{' {
			w.tokens.Token() // the name
		}
		w.discard()
	}
	w.tokens.Token()
}

func clip(name string) string {
	const maxLength = 64
	n := 0
	for i := range name {
		if n++; n > maxLength {
			return name[:i] + "…"
		}
	}
	return name
}

// Escape returns a name in JSON pointer syntax (RFC 6901), cut after 64 characters.
func Escape(name string) string { return pointerEscape.Replace(clip(name)) }

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// field returns the type of the field of struct t, or of one embedded in it, with this JSON
// name.
func field(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			if inner, known := field(f.Type, name); known {
				return inner, true
			}
		}
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name && tag != "" {
			return f.Type, true
		}
	}
	return nil, false
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

// kindOf returns the kind of JSON value that t takes, and its name in messages. A
// [json.RawMessage] takes any value, for which the kind is [reflect.Interface].
func kindOf(t reflect.Type) (reflect.Kind, string) {
	if t == rawMessage {
		return reflect.Interface, "any value"
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return t.Kind(), "an object"
	case reflect.Slice:
		return reflect.Slice, "an array"
	case reflect.String:
		return reflect.String, "a string"
	case reflect.Bool:
		return reflect.Bool, "true or false"
	case reflect.Int64:
		return reflect.Int64, "a whole number"
	}
	panic(fmt.Sprintf("strictjson: a %s cannot be decoded", t))
}

// Encode returns the compact JSON of a value. Unlike [json.Marshal] it does not
// escape <, > and &. A []byte is JSON already, and stays as it is. Encode panics for a value
// that is not JSON, such as a function or NaN: only a defect makes one.
func Encode(value any) []byte {
	if text, ok := value.([]byte); ok {
		return text
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}
