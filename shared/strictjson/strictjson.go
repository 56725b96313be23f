// Package strictjson decodes JSON the way a contract wants it: what is not expected
// is refused by name. encoding/json alone would let pass names in another case,
// repeated names (the last wins), nulls, and broken Unicode.
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

// A Fault is one place that breaks a rule.
type Fault struct {
	Path  string // JSON pointer into the document; "" is the whole document
	Value any    // what stands there, if that helps; nil otherwise
	Issue string // the rule that it breaks, to be read after the name of the field

	// Foreign says that the name of the field is the sender's, and may be
	// anything: it is not for a log.
	Foreign bool
}

// Faults are all faults of a document, in its order.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Path + " " + fault.Issue
	}
	return strings.Join(lines, "; ")
}

// Decode fills the struct that into points to from a JSON object, or returns
// [Faults]. Refused are, by name and place: fields that the struct does not
// have (compared case-sensitively, after unescaping), duplicates, null, values
// of another type, text that is not valid Unicode, trailing data, and the empty
// string, except where the field is a *string or a map's value: those may be
// sent empty, to mean it.
//
// A document that is JSON at all is decoded as far as it goes even so, so that
// who wants to can look for the faults of another kind as well.
func Decode(data []byte, into any) error {
	if !utf8.Valid(data) {
		return Faults{{Issue: "must be UTF-8"}}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return Faults{{Issue: "must be a JSON object, and is empty"}}
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return Faults{{Issue: "must be one JSON object: " + err.Error()}}
	}
	w := walker{tokens: json.NewDecoder(bytes.NewReader(data))}
	w.tokens.UseNumber()
	w.value(reflect.TypeOf(into).Elem(), "", false)
	err := json.Unmarshal(data, into)
	if len(w.faults) > 0 {
		return w.faults
	}
	return err
}

// DecodeSecret is [Decode] for a secret: its error names the keys at fault and
// shows nothing of the text.
func DecodeSecret(data []byte, into any) error {
	err := Decode(data, into)
	faults, ok := errors.AsType[Faults](err)
	if !ok {
		return err
	}
	lines := make([]string, len(faults))
	for i, fault := range faults {
		if fault.Path == "" {
			return errors.New("it is not one JSON object")
		}
		lines[i] = strings.TrimPrefix(fault.Path, "/") + " " + fault.Issue
	}
	return errors.New(strings.Join(lines, "; "))
}

// Member reads one member of a JSON object, whose name is compared exactly, into
// a variable. It says whether it is there and has the variable's type.
func Member(object []byte, name string, into any) bool {
	var members map[string]json.RawMessage
	return utf8.Valid(object) && json.Unmarshal(object, &members) == nil && members[name] != nil && string(members[name]) != "null" && json.Unmarshal(members[name], into) == nil
}

// walker goes through a valid document beside the type that it should have.
type walker struct {
	tokens *json.Decoder
	faults Faults
}

func (w *walker) fault(path string, value any, issue string) {
	w.faults = append(w.faults, Fault{Path: path, Value: value, Issue: issue})
}

// value checks the next value against t.
func (w *walker) value(t reflect.Type, path string, mayBeEmpty bool) {
	if t.Kind() == reflect.Pointer {
		w.value(t.Elem(), path, t.Elem().Kind() == reflect.String)
		return
	}
	token, err := w.tokens.Token()
	if err != nil { // the document was found valid before
		w.fault(path, nil, "is cut short")
		return
	}
	kind, name := kindOf(t)
	switch token := token.(type) {
	case nil:
		w.fault(path, nil, "must not be null")
	case json.Delim:
		switch {
		case token == '{' && kind == reflect.Struct:
			w.object(path, func(key string) (reflect.Type, bool) { return field(t, key) }, false)
		case token == '{' && kind == reflect.Map:
			w.object(path, func(string) (reflect.Type, bool) { return t.Elem(), true }, true)
		case token == '[' && kind == reflect.Slice:
			for i := 0; w.tokens.More(); i++ {
				w.value(t.Elem(), path+"/"+strconv.Itoa(i), false)
			}
			w.tokens.Token()
		default:
			w.fault(path, nil, "must be "+name)
			w.skip()
		}
	case string:
		switch {
		case kind != reflect.String:
			w.fault(path, nil, "must be "+name)
		case strings.ContainsRune(token, utf8.RuneError):
			w.fault(path, nil, "must be valid Unicode")
		case token == "" && !mayBeEmpty:
			w.fault(path, token, "must not be empty")
		}
	case bool:
		if kind != reflect.Bool {
			w.fault(path, nil, "must be "+name)
		}
	case json.Number:
		if _, err := token.Int64(); kind != reflect.Int64 || err != nil {
			w.fault(path, nil, "must be "+name)
		}
	}
}

// object checks the members of an object whose brace was just read.
func (w *walker) object(path string, typeOf func(key string) (reflect.Type, bool), mayBeEmpty bool) {
	seen := map[string]bool{}
	for w.tokens.More() {
		token, _ := w.tokens.Token()
		key := token.(string)
		at := path + "/" + Escape(key)
		t, known := typeOf(key)
		switch {
		case strings.ContainsRune(key, utf8.RuneError):
			w.faults = append(w.faults, Fault{Path: at, Issue: "must be valid Unicode", Foreign: true})
			w.discard()
		case seen[key]:
			w.fault(at, nil, "must not be given twice")
			w.discard()
		case !known:
			w.faults = append(w.faults, Fault{Path: at, Issue: "is not a field of this document", Foreign: true})
			w.discard()
		default:
			w.value(t, at, mayBeEmpty)
		}
		seen[key] = true
	}
	w.tokens.Token()
}

// discard passes over one whole value.
func (w *walker) discard() {
	var value json.RawMessage
	_ = w.tokens.Decode(&value)
}

// skip passes over the rest of a value whose opening bracket was just read.
func (w *walker) skip() {
	for depth := 1; depth > 0; {
		token, err := w.tokens.Token()
		if err != nil {
			return
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// clip keeps a message readable when a name is not.
func clip(name string) string {
	const most = 64
	if utf8.RuneCountInString(name) <= most {
		return name
	}
	return string([]rune(name)[:most]) + "…"
}

// Escape is a name as a JSON pointer has it; of a long one only the beginning.
func Escape(name string) string { return pointerEscape.Replace(clip(name)) }

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// field finds the field of struct t with exactly this JSON name.
func field(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name && tag != "" {
			return f.Type, true
		}
	}
	return nil, false
}

// kindOf tells which kind of JSON value fills t, and its name in a message.
func kindOf(t reflect.Type) (reflect.Kind, string) {
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
	panic(fmt.Sprintf("strict: a %s cannot be decoded", t))
}

// Encode is the JSON of a value, compact and with its text as it is:
// encoding/json alone would write <, > and & as escapes.
func Encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}
