package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// document has a field of every supported kind.
type document struct {
	ActivateType string            `json:"activate_type,omitzero"`
	Back         *bool             `json:"navigate_back_previous_page,omitzero"`
	Count        int64             `json:"count,omitzero"`
	Limit        *int64            `json:"limit,omitzero"`
	Clearable    *string           `json:"clearable,omitzero"`
	Inner        *inner            `json:"inner,omitzero"`
	List         []string          `json:"list,omitzero"`
	Inners       []inner           `json:"inners,omitzero"`
	Fields       map[string]string `json:"fields,omitzero"`
	Modules      map[string]*inner `json:"modules,omitzero"`
	Counts       []int64           `json:"counts,omitzero"`
	Any          json.RawMessage   `json:"any,omitzero"`

	Anys  map[string]json.RawMessage `json:"anys,omitzero"`
	Named named                      `json:"named,omitzero"`

	embedded
}

type named map[string]string

func (named) Known(name string) bool { return name == "k" }

type embedded struct {
	Within string `json:"within,omitzero"`
}

type inner struct {
	Name string `json:"name,omitzero"`
	Size int64  `json:"size,omitzero"`
	Odd  string `json:"a/b~c,omitzero"`
}

const (
	twice     = "must not be given twice"
	unknown   = "is not a field of this document"
	null      = "must not be null"
	empty     = "must not be empty"
	unicode   = NotUnicode
	text      = "must be a string"
	object    = "must be an object"
	array     = "must be an array"
	whole     = "must be a whole number"
	inRange   = "must be a whole number"
	trueFalse = "must be true or false"
	oneObject = "must be one JSON object" // and why
)

// refused are documents with one fault each, named after the rule that they break.
var refused = []struct{ rule, document, path, issue string }{
	{"an empty body", ``, "", "must be a JSON object, and is empty"},
	{"a blank body", " \t\r\n", "", "must be a JSON object, and is empty"},
	{"an array", `[]`, "", object},
	{"an array with members", `[{"activate_type":"x"},[]]`, "", object},
	{"a string", `"activate_type"`, "", object},
	{"a number", `1`, "", object},
	{"a boolean", `true`, "", object},
	{"null itself", `null`, "", null},
	{"cut short", `{"activate_type":"x"`, "", oneObject},
	{"not JSON", `activate_type=AUTO_ACTIVATE`, "", oneObject},
	{"single quotes", `{'activate_type':'x'}`, "", oneObject},
	{"a trailing comma", `{"activate_type":"x",}`, "", oneObject},
	{"a comment", `{"activate_type":"x"} // x`, "", oneObject},
	{"NaN", `{"count":NaN}`, "", oneObject},
	{"a byte-order mark", "\ufeff{}", "", "must be UTF-8 without a byte-order mark (BOM)"},
	{"UTF-16 with a byte-order mark", "\xff\xfe{\x00}\x00", "", "must be UTF-8 without a byte-order mark (BOM)"},
	{"a control character in a string", "{\"activate_type\":\"a\nb\"}", "", oneObject},
	{"trailing object", `{"activate_type":"x"}{"activate_type":"y"}`, "", oneObject},
	{"trailing text", `{"activate_type":"x"}x`, "", oneObject},
	{"trailing null", `{"activate_type":"x"} null`, "", oneObject},
	{"trailing bracket", `{"activate_type":"x"}}`, "", oneObject},
	{"deep nesting of arrays", strings.Repeat("[", 100_000), "", oneObject},
	{"deep nesting below an unknown field", `{"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "", oneObject},
	{"nesting that is allowed, below an unknown field", `{"x":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}`, "/x", unknown},
	{"nesting that is allowed, of another type", `{"count":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}`, "/count", whole},

	{"invalid UTF-8 in a value", "{\"activate_type\":\"\xff\"}", "", "must be UTF-8"},
	{"invalid UTF-8 in a name", "{\"activate_type\xff\":\"x\"}", "", "must be UTF-8"},
	{"overlong UTF-8", "{\"activate_type\":\"\xc0\xaf\"}", "", "must be UTF-8"},
	{"a surrogate in UTF-8", "{\"activate_type\":\"\xed\xa0\x80\"}", "", "must be UTF-8"},
	{"UTF-16", "{\x00}\x00", "", "must be UTF-8"},
	{"UTF-16 in the other order", "\x00{\x00}", "", "must be UTF-8"},
	{"a lone high surrogate", `{"activate_type":"\ud83d"}`, "/activate_type", unicode},
	{"a lone low surrogate", `{"activate_type":"x\ude00"}`, "/activate_type", unicode},
	{"surrogates in the wrong order", `{"activate_type":"\ude00\ud83d"}`, "/activate_type", unicode},
	{"a lone surrogate in a list", `{"list":["a","\ud800"]}`, "/list/1", unicode},
	{"a lone surrogate in a map's value", `{"fields":{"k":"\ud800"}}`, "/fields/k", unicode},
	{"a lone surrogate in a map's name", `{"fields":{"\ud800":"v"}}`, "/fields/\ufffd", unicode},
	{"what stands for broken characters", "{\"activate_type\":\"马\ufffd\"}", "/activate_type", unicode},

	{"an unknown field", `{"activate_typ":"x"}`, "/activate_typ", unknown},
	{"a name in another case", `{"Activate_Type":"x"}`, "/Activate_Type", unknown},
	{"a Go name", `{"ActivateType":"x"}`, "/ActivateType", unknown},
	{"a name that folds to k", "{\"\u212aind\":1}", "/\u212aind", unknown},
	{"an escaped name in another case", `{"\u0041ctivate_type":"x"}`, "/Activate_type", unknown},
	{"a name with a blank", `{"activate_type ":"x"}`, "/activate_type ", unknown},
	{"no name", `{"":"x"}`, "/", unknown},
	{"a tag's option", `{"activate_type,omitzero":"x"}`, "/activate_type,omitzero", unknown},
	{"/ and ~ in an unknown name", `{"a/b~c":1}`, "/a~1b~0c", unknown},
	{"~1 in an unknown name", `{"~1":1}`, "/~01", unknown},
	{"/ and ~ in a known name", `{"inner":{"a/b~c":1}}`, "/inner/a~1b~0c", text},
	{"an unknown field with an object", `{"x":{"activate_type":null,"y":[1,{}]}}`, "/x", unknown},
	{"an unknown field in an object", `{"inner":{"activate_type":"x"}}`, "/inner/activate_type", unknown},
	{"an unknown field in an array's object", `{"inners":[{"name":"x"},{"nam":"x"}]}`, "/inners/1/nam", unknown},

	{"a duplicate", `{"activate_type":"x","activate_type":"x"}`, "/activate_type", twice},
	{"an escaped duplicate", `{"activate_type":"x","\u0061ctivate_type":"y"}`, "/activate_type", twice},
	{"an escaped duplicate that comes first", `{"\u0061ctivate_type":"x","activate_type":"y"}`, "/activate_type", twice},
	{"a duplicate of another type", `{"activate_type":"x","activate_type":{"a":[]}}`, "/activate_type", twice},
	{"a duplicate null", `{"activate_type":"x","activate_type":null}`, "/activate_type", twice},
	{"a duplicate in an object", `{"inner":{"name":"x","name":"x"}}`, "/inner/name", twice},
	{"a duplicate in an array's object", `{"inners":[{},{"name":"x","n\u0061me":"x"}]}`, "/inners/1/name", twice},
	{"a duplicate in a map", `{"fields":{"k":"1","\u006b":"2"}}`, "/fields/k", twice},
	{"a duplicate with /", `{"fields":{"a/b":"1","a\/b":"2"}}`, "/fields/a~1b", twice},

	{"null for a string", `{"activate_type":null}`, "/activate_type", null},
	{"null for a pointer", `{"clearable":null}`, "/clearable", null},
	{"null for a boolean", `{"navigate_back_previous_page":null}`, "/navigate_back_previous_page", null},
	{"null for an object", `{"inner":null}`, "/inner", null},
	{"null for an array", `{"list":null}`, "/list", null},
	{"null in an array", `{"list":["x",null]}`, "/list/1", null},
	{"null for a map", `{"fields":null}`, "/fields", null},
	{"null in a map", `{"fields":{"k":null}}`, "/fields/k", null},
	{"null for a map of pointers", `{"modules":null}`, "/modules", null},
	{"null deeper than a pointer in a map", `{"modules":{"k":{"name":null}}}`, "/modules/k/name", null},

	{"an empty string", `{"activate_type":""}`, "/activate_type", empty},
	{"an empty string in an object", `{"inner":{"name":""}}`, "/inner/name", empty},
	{"an empty string in an array", `{"list":[""]}`, "/list/0", empty},

	{"a number for a string", `{"activate_type":1}`, "/activate_type", text},
	{"a boolean for a string", `{"activate_type":false}`, "/activate_type", text},
	{"an object for a string", `{"activate_type":{"a":{"b":[1]}}}`, "/activate_type", text},
	{"an array for a string", `{"activate_type":["x"]}`, "/activate_type", text},
	{"a number for a *string", `{"clearable":0}`, "/clearable", text},
	{"a string for a boolean", `{"navigate_back_previous_page":"true"}`, "/navigate_back_previous_page", trueFalse},
	{"a number for a boolean", `{"navigate_back_previous_page":1}`, "/navigate_back_previous_page", trueFalse},
	{"an empty string for a boolean", `{"navigate_back_previous_page":""}`, "/navigate_back_previous_page", trueFalse},
	{"a string for a number", `{"count":"1"}`, "/count", whole},
	{"a boolean for a number", `{"count":true}`, "/count", whole},
	{"a string for an object", `{"inner":"x"}`, "/inner", object},
	{"an array for an object", `{"inner":[]}`, "/inner", object},
	{"an array for a map", `{"fields":[]}`, "/fields", object},
	{"an object for an array", `{"list":{"0":"x"}}`, "/list", array},
	{"a string for an array", `{"list":"x"}`, "/list", array},
	{"a number in an array of strings", `{"list":["x",1]}`, "/list/1", text},
	{"an array in an array of strings", `{"list":[["x"]]}`, "/list/0", text},
	{"a name that a map does not take", `{"named":{"K":1}}`, "/named/K", unknown},
	{"a number in a map of strings", `{"fields":{"k":1}}`, "/fields/k", text},

	{"a fraction", `{"count":1.5}`, "/count", inRange},
	{"a fraction of zero", `{"count":1.0}`, "/count", inRange},
	{"an exponent", `{"count":1e2}`, "/count", inRange},
	{"an endless number", `{"count":1e999}`, "/count", inRange},
	{"more than an int64", `{"count":9223372036854775808}`, "/count", inRange},
	{"less than an int64", `{"count":-9223372036854775809}`, "/count", inRange},
	{"a fraction behind a pointer", `{"limit":0.1}`, "/limit", inRange},
	{"a fraction in an object", `{"inner":{"size":0.1}}`, "/inner/size", inRange},
	{"a fraction in an array", `{"counts":[1,0.1]}`, "/counts/1", inRange},
	{"a fraction in an array's object", `{"inners":[{},{"size":0.1}]}`, "/inners/1/size", inRange},

	{"a duplicate in any value", `{"any":{"a":1,"b":2,"\u0061":3}}`, "/any/a", twice},
	{"a duplicate deep in any value", `{"any":[0,{"x":{"a":null,"a":null}}]}`, "/any/1/x/a", twice},
	{"a duplicate in a map of any values", `{"anys":{"a":1,"a":2}}`, "/anys/a", twice},
	{"a duplicate deep in a map of any values", `{"anys":{"a":[{"b":1,"b":1}]}}`, "/anys/a/0/b", twice},
	{"a lone surrogate in any value", `{"any":{"a":["\ud800"]}}`, "/any/a/0", unicode},
	{"a lone surrogate as any value", `{"any":"\udc00"}`, "/any", unicode},
	{"a lone surrogate in a name in any value", `{"any":{"x\ud800":1}}`, "/any/x\ufffd", unicode},
	{"101 levels in any value", `{"any":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, "/any" + strings.Repeat("/0", 100), "must not be nested deeper than 100 levels"},
	{"9,000 levels in any value", `{"any":` + strings.Repeat(`{"a":`, 9_000) + `1` + strings.Repeat("}", 9_000) + `}`, "/any" + strings.Repeat("/a", 100), "must not be nested deeper than 100 levels"},
	{"an array for a map of any values", `{"anys":[]}`, "/anys", object},
	{"null for a map of any values", `{"anys":null}`, "/anys", null},
}

func TestDecodeRefuses(t *testing.T) {
	for _, row := range refused {
		t.Run(row.rule, func(t *testing.T) {
			var into document
			faults := Decode([]byte(row.document), &into)
			if len(faults) != 1 {
				t.Fatalf("Decode: %v, want one fault", faults)
			}
			got := faults[0]
			wrongIssue := got.Issue != row.issue && !(row.issue == oneObject && strings.HasPrefix(got.Issue, oneObject+": "))
			if got.Path != row.path || wrongIssue {
				t.Errorf("%q %q, want %q %q", got.Path, got.Issue, row.path, row.issue)
			}
			if !json.Valid([]byte(row.document)) && !reflect.DeepEqual(into, document{}) {
				t.Errorf("the struct was filled from what is no JSON: %+v", into)
			}
		})
	}
}

// A value of the wrong kind may be anything, such as an openid.
func TestDecodeRepeatsNoValue(t *testing.T) {
	for _, text := range []string{
		`{"count":"one"}`, `{"count":true}`, `{"activate_type":17}`, `{"activate_type":null}`,
		`{"activate_type":{"a":1}}`, `{"activate_type":["a"]}`, `{"unknown":"value"}`,
	} {
		faults := Decode([]byte(text), new(document))
		if len(faults) != 1 || faults[0].Value != nil {
			t.Errorf("%s: %#v", text, faults)
		}
	}
}

func TestDecodeAllFindsAllFaultsInTheDocumentsOrder(t *testing.T) {
	const body = `{
		"zeta": 1,
		"list": ["x", null, 3],
		"activate_type": "",
		"inner": {"size": "big", "x": {}, "name": null},
		"count": 1.5,
		"inners": [{"name": ""}, 7],
		"fields": {"b": 1, "a": null},
		"activate_type": "AUTO_ACTIVATE"
	}`
	faults := DecodeAll([]byte(body), new(document))
	want := strings.Join([]string{
		"/zeta " + unknown,
		"/list/1 " + null,
		"/list/2 " + text,
		"/activate_type " + empty,
		"/inner/size " + whole,
		"/inner/x " + unknown,
		"/inner/name " + null,
		"/count " + inRange,
		"/inners/0/name " + empty,
		"/inners/1 " + object,
		"/fields/b " + text,
		"/fields/a " + null,
		"/activate_type " + twice,
	}, "; ")
	if faults.String() != want {
		t.Errorf("faults\n%v, want\n%s", faults, want)
	}
	if faults := Decode([]byte(body), new(document)); faults.String() != "/zeta "+unknown {
		t.Errorf("Decode returns %v, want the first fault", faults)
	}
}

// What a fault takes does not depend on how deep it is, and there are at most 1000.
func TestFaultsAreBounded(t *testing.T) {
	const levels = 90
	body := strings.Repeat(`{"`+strings.Repeat("n", 1000)+`":`, levels) + `{"a":0` + strings.Repeat(`,"a":0`, 2*MaxFaults) + "}" + strings.Repeat("}", levels)
	faults := DecodeAll([]byte(body), new(json.RawMessage))
	if len(faults) != MaxFaults {
		t.Fatalf("%d faults", len(faults))
	}
	for _, fault := range faults {
		if len(fault.Path) > 1200 || !strings.HasSuffix(fault.Path, "…/…") || fault.Undocumented != strings.Count(fault.Path, "/") {
			t.Fatalf("%d names are chosen in %d bytes: %s", fault.Undocumented, len(fault.Path), fault.Path)
		}
	}
}

func TestDecodeFillsAsFarAsItGoesWhatItRefuses(t *testing.T) {
	var got document
	faults := Decode([]byte(`{"unknown":1,"activate_type":"x","count":"one","navigate_back_previous_page":true,"limit":0.5,"list":["a"],"inner":{"name":"n","size":{}}}`), &got)
	if len(faults) == 0 {
		t.Fatal("no faults")
	}
	if got.ActivateType != "x" || got.Back == nil || !*got.Back || len(got.List) != 1 || got.Inner == nil || got.Inner.Name != "n" || got.Count != 0 {
		t.Errorf("%+v, want all that fits", got)
	}
}

func TestDecodeAccepts(t *testing.T) {
	for _, row := range []struct {
		rule, document string
		want           document
	}{
		{"no field at all", `{}`, document{}},
		{"blanks around it", " \n{ }\t", document{}},
		{"the merchant document's example", `{"activate_type": "AUTO_ACTIVATE", "navigate_back_previous_page": true}`,
			document{ActivateType: "AUTO_ACTIVATE", Back: new(true)}},
		{"an explicit false", `{"navigate_back_previous_page": false}`, document{Back: new(false)}},
		{"an escaped name", `{"\u0061ctivate_type":"x"}`, document{ActivateType: "x"}},
		{"escaped text", `{"activate_type":"\u4f1a\u5458\n\"\ud83d\ude00\u0000"}`, document{ActivateType: "会员\n\"😀\x00"}},
		{"Chinese", `{"activate_type":"会员卡"}`, document{ActivateType: "会员卡"}},
		{"a blank string", `{"activate_type":" "}`, document{ActivateType: " "}},
		{"an empty *string", `{"clearable":""}`, document{Clearable: new("")}},
		{"an empty string in a map", `{"fields":{"custom_url":""}}`, document{Fields: map[string]string{"custom_url": ""}}},
		{"a name that a map takes", `{"named":{"k":""}}`, document{Named: named{"k": ""}}},
		{"null for a pointer in a map", `{"modules":{"a":null,"b":{}}}`, document{Modules: map[string]*inner{"a": nil, "b": {}}}},
		{"names of a map in any case", `{"fields":{"a":"1","A":"2","a/b":"3"}}`, document{Fields: map[string]string{"a": "1", "A": "2", "a/b": "3"}}},
		{"the same name at two levels", `{"inner":{"name":"a"},"inners":[{"name":"b"},{"name":"c"}]}`,
			document{Inner: &inner{Name: "a"}, Inners: []inner{{Name: "b"}, {Name: "c"}}}},
		{"/ and ~ in a known name", `{"inner":{"a\/b~c":"x"}}`, document{Inner: &inner{Odd: "x"}}},
		{"the ends of an int64", `{"count":-9223372036854775808,"limit":9223372036854775807}`,
			document{Count: -1 << 63, Limit: new(int64(1<<63 - 1))}},
		{"zero", `{"count":0,"limit":-0}`, document{Limit: new(int64(0))}},
		{"empty containers", `{"list":[],"fields":{},"inner":{}}`,
			document{List: []string{}, Fields: map[string]string{}, Inner: &inner{}}},
		{"any value", `{"any":{"n":1.0e999,"s":"","z":null,"t":true,"x":{"n":[{"n":2}]}}}`, document{Any: json.RawMessage(`{"n":1.0e999,"s":"","z":null,"t":true,"x":{"n":[{"n":2}]}}`)}},
		{"any value as null", `{"any":null}`, document{Any: json.RawMessage(`null`)}},
		{"a field of an embedded struct", `{"within":"x"}`, document{embedded: embedded{"x"}}},
		{"any value as it was written", `{"any":[ 0.10, "\u4f1a<" ]}`, document{Any: json.RawMessage(`[ 0.10, "\u4f1a<" ]`)}},
		{"100 levels", `{"any":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, document{Any: json.RawMessage(strings.Repeat("[", 100) + strings.Repeat("]", 100))}},
		{"a map of any values", `{"anys":{"a":null,"A":[{"a":1},{"a":1}]}}`, document{Anys: map[string]json.RawMessage{"a": json.RawMessage(`null`), "A": json.RawMessage(`[{"a":1},{"a":1}]`)}}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			var got document
			if faults := Decode([]byte(row.document), &got); len(faults) > 0 {
				t.Fatal(faults)
			}
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("%+v, want %+v", got, row.want)
			}
		})
	}
}

// TestUndocumentedNames: Undocumented counts the names in a path, from its end, that the sender chose.
func TestUndocumentedNames(t *testing.T) {
	for _, row := range []struct {
		where, document, path string
		want                  int
	}{
		{"the document", `[]`, "", 0},
		{"a field", `{"count":"x"}`, "/count", 0},
		{"a field of an object", `{"inner":{"size":"x"}}`, "/inner/size", 0},
		{"an element of a list", `{"list":[1]}`, "/list/0", 0},
		{"a field twice", `{"count":1,"count":1}`, "/count", 0},
		{"an unknown field", `{"x":1}`, "/x", 1},
		{"an unknown field of an object", `{"inners":[{"x":1}]}`, "/inners/0/x", 1},
		{"a name that is no Unicode", `{"x\ud800":1}`, "/x\ufffd", 1},
		{"any value", `{"any":"\ud800"}`, "/any", 0},
		{"an object in any value", `{"any":{"x":1,"x":2}}`, "/any/x", 1},
		{"an object in a list in any value", `{"any":[{"x":{"y":"\ud800"}}]}`, "/any/0/x/y", 2},
		{"a map's value", `{"fields":{"x":1}}`, "/fields/x", 1},
		{"a map's value that is null", `{"fields":{"x":null}}`, "/fields/x", 1},
		{"a map's name twice", `{"fields":{"x":"1","x":"2"}}`, "/fields/x", 1},
		{"a name twice in a map of any values", `{"anys":{"x":1,"x":2}}`, "/anys/x", 1},
		{"deep in a map of any values", `{"anys":{"x":{"y":[{"z":1,"z":2}]}}}`, "/anys/x/y/0/z", 4},
		{"beside a map's value", `{"fields":{"x":"1"},"count":"x"}`, "/count", 0},
	} {
		t.Run(row.where, func(t *testing.T) {
			if faults := Decode([]byte(row.document), new(document)); len(faults) != 1 || faults[0].Path != row.path || faults[0].Undocumented != row.want {
				t.Errorf("%#v, want %s with %d chosen names", faults, row.path, row.want)
			}
		})
	}
}

func TestDecodeValue(t *testing.T) {
	for _, row := range []struct {
		rule, value string
		into        any
		path, issue string
	}{
		{"a string", `"x"`, new(string), "", ""},
		{"an empty string", `""`, new(string), "/a", empty},
		{"an empty string where it may be", `""`, new(*string), "", ""},
		{"null", `null`, new(*string), "/a", null},
		{"a number", `7`, new(int64), "", ""},
		{"a number for a string", `7`, new(string), "/a", text},
		{"a fault inside", `{"name":"x","size":true}`, new(inner), "/a/size", whole},
		{"any values", `{"x":null}`, new(map[string]json.RawMessage), "", ""},
		{"a string for any values", `"x"`, new(map[string]json.RawMessage), "/a", object},
	} {
		t.Run(row.rule, func(t *testing.T) {
			faults := DecodeValue(json.RawMessage(row.value), "/a", row.into)
			if row.issue == "" {
				if got := Encode(row.into); len(faults) > 0 || string(got) != row.value {
					t.Errorf("%v, and %s", faults, got)
				}
				return
			}
			if len(faults) != 1 || faults[0].Path != row.path || faults[0].Issue != row.issue {
				t.Errorf("%v, want %s %s", faults, row.path, row.issue)
			}
		})
	}
}

func TestIsObject(t *testing.T) {
	for _, row := range []struct {
		data string
		want bool
	}{
		{`{}`, true},
		{` {"nickname": "张三"} `, true},
		{``, false},
		{`null`, false},
		{`[]`, false},
		{`"{}"`, false},
		{`{`, false},
		{`{}{}`, false},
		{"{\"a\":\"\xff\"}", false},
	} {
		if got := IsObject([]byte(row.data)); got != row.want {
			t.Errorf("IsObject(%q) = %t", row.data, got)
		}
	}
}

func TestEncodeKeepsTextAsItIs(t *testing.T) {
	for _, row := range []struct {
		value any
		want  string
	}{
		{document{ActivateType: "https://a.b/?c=1&d=<e>"}, `{"activate_type":"https://a.b/?c=1&d=<e>"}`},
		{document{ActivateType: "会员😀々"}, `{"activate_type":"会员😀々"}`},
		{document{ActivateType: `"` + "\n"}, `{"activate_type":"\"\n"}`},
		{document{Fields: map[string]string{"b": "&", "a": "<"}}, `{"fields":{"a":"<","b":"&"}}`},
		{document{}, `{}`},
		{"two\n", `"two\n"`},
	} {
		if got := Encode(row.value); string(got) != row.want {
			t.Errorf("Encode(%+v) = %s, want %s", row.value, got, row.want)
		}
	}
}

func TestEncodePanicsForWhatHasNoJSON(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a func is encoded")
		}
	}()
	Encode(func() {})
}

// FuzzDecode checks that every decoder understands an accepted document in the same
// way, also after it was encoded again.
func FuzzDecode(f *testing.F) {
	for _, row := range refused {
		if len(row.document) < 1000 {
			f.Add([]byte(row.document))
		}
	}
	f.Add([]byte(`{"activate_type":"AUTO_ACTIVATE","navigate_back_previous_page":true,"clearable":""}`))
	f.Add([]byte(`{"count":-1,"limit":0,"list":["会员","\ud83d\ude00"],"fields":{"a":"","A":"<"},"inner":{"name":"x","a/b~c":"&"},"inners":[{},{"size":9}],"counts":[1,2]}`))
	f.Add([]byte(`{"list":[],"fields":{},"counts":[],"inners":[],"inner":{}}`))
	f.Add([]byte(`{"any":[null,{"a":"","b":{"a":1.0}}],"anys":{"a":null,"b":[[],"<"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first document
		if faults := Decode(data, &first); len(faults) > 0 {
			for _, fault := range faults {
				if fault.Issue == "" || fault.Path != "" && fault.Path[0] != '/' {
					t.Fatalf("a fault without issue or pointer: %#v", fault)
				}
			}
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepted, but not JSON: %q", data)
		}
		anything := first.Any != nil || first.Anys != nil // is kept as it was written
		if err := unambiguous(json.NewDecoder(bytes.NewReader(data)), anything || first.Modules != nil); err != nil {
			t.Fatalf("accepted %q: %v", data, err)
		}
		again := Encode(first)
		var second document
		if faults := Decode(again, &second); len(faults) > 0 {
			t.Fatalf("%s was made of %q, and is refused: %v", again, data, faults)
		}
		if same := Encode(second); string(same) != string(again) || !anything && !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v became %+v", first, second)
		}
	})
}

// unambiguous returns an error if a JSON value has a duplicate name, or a null where
// none is allowed.
func unambiguous(d *json.Decoder, nulls bool) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case nil:
		if !nulls {
			return errors.New("a null")
		}
	case json.Delim('{'):
		seen := map[json.Token]bool{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("the name %q twice", name)
			}
			seen[name] = true
			if err := unambiguous(d, nulls); err != nil {
				return err
			}
		}
		_, err = d.Token()
	case json.Delim('['):
		for d.More() {
			if err := unambiguous(d, nulls); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}
