package main

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"membercard/shared/cardfields"
	"membercard/shared/cardplan"
)

// compileSchema compiles plan.schema.json as an editor does, with a check of the
// format of times.
func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile("plan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// A plan is valid for both the schema and the code or for neither, except for rules
// that no schema can express.
func TestTheSchemaAgreesWithTheCode(t *testing.T) {
	schema := compileSchema(t)
	const (
		jan1, jan2 = "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"
		userName   = `"custom_app_brand_pass":"p","custom_app_brand_user_name":`
	)
	type verdict int
	const (
		good verdict = iota
		bad
		codeOnly // bad, but the schema can't know
	)
	local, err := os.ReadFile("../../local/plan.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what, plan string
		want       verdict
	}{
		{"the contract's", examplePlan, good},
		{"that of local/", string(local), good},
		{"no cards", `{"cards":[]}`, good},
		{"cards missing", `{}`, bad},
		{"an array", `[]`, bad},
		{"null", `null`, bad},
		{"cards null", `{"cards":null}`, bad},
		{"cards as an object", `{"cards":{}}`, bad},
		{"an unknown member", `{"cards":[],"$schema":"plan.schema.json"}`, bad},
		{"a card as a string", `{"cards":["p"]}`, bad},
		{"a card without fields", planOf(``), good},
		{"card_id missing", `{"cards":[{}]}`, bad},
		{"card_id empty", `{"cards":[{"card_id":""}]}`, bad},
		{"card_id of 32", `{"cards":[{"card_id":"` + strings.Repeat("p", 32) + `"}]}`, good},
		{"card_id of 33", `{"cards":[{"card_id":"` + strings.Repeat("p", 33) + `"}]}`, bad},
		{"card_id of another alphabet", `{"cards":[{"card_id":"p.q"}]}`, bad},
		{"card_id with a line's end", `{"cards":[{"card_id":"p\n"}]}`, bad},
		{"card_id as a number", `{"cards":[{"card_id":7}]}`, bad},
		{"an unknown member of a card", planOf(`,"field":{}`), bad},
		{"fields empty", planOf(`,"fields":{}`), good},
		{"fields null", planOf(`,"fields":null`), bad},
		{"fields as an array", planOf(`,"fields":[]`), bad},
		{"an unknown field", planOf(`,"fields":{"brand_name":"x"}`), bad},
		{"a text", planOf(`,"fields":{"center_title":"快速买单"}`), good},
		{"an empty text", planOf(`,"fields":{"center_title":""}`), good},
		{"a text null", planOf(`,"fields":{"center_title":null}`), bad},
		{"a text as a number", planOf(`,"fields":{"center_title":1}`), bad},
		{"a link", planOf(`,"fields":{"activate_url":"https://example.com:8443/a?b=c#d"}`), good},
		{"a link with its scheme in capitals", planOf(`,"fields":{"custom_url":"HTTPS://example.com"}`), good},
		{"an empty link", planOf(`,"fields":{"custom_url":""}`), good},
		{"a link without a scheme", planOf(`,"fields":{"custom_url":"example.com"}`), bad},
		{"a link of another scheme", planOf(`,"fields":{"custom_url":"weixin://dl"}`), bad},
		{"a link without a host", planOf(`,"fields":{"custom_url":"http:///x"}`), bad},
		{"a link with a query for a host", planOf(`,"fields":{"custom_url":"http://?x"}`), bad},
		{"a link with a blank for a host", planOf(`,"fields":{"custom_url":"http:// x"}`), bad},
		{"a link with a blank", planOf(`,"fields":{"custom_url":"http://example.com/a b"}`), bad},
		{"a link with a line's end", planOf(`,"fields":{"custom_url":"http://example.com/\n"}`), bad},
		{"a link with a broken escape", planOf(`,"fields":{"custom_url":"http://example.com/%zz"}`), bad},
		{"a link with nothing but a port", planOf(`,"fields":{"custom_url":"http://:80/"}`), bad},
		{"a mini program", planOf(`,"fields":{` + userName + `"gh_86a091e50ad4@app"}`), good},
		{"an ID in capitals, with _ and -", planOf(`,"fields":{` + userName + `"gh_A-b_9@app"}`), good},
		{"a mini program without @app", planOf(`,"fields":{` + userName + `"gh_86a091e50ad4"}`), bad},
		{"a mini program without gh_", planOf(`,"fields":{` + userName + `"86a091e50ad4@app"}`), bad},
		{"a mini program without ID", planOf(`,"fields":{` + userName + `"gh_@app"}`), bad},
		{"a mini program of another alphabet", planOf(`,"fields":{` + userName + `"gh_卡@app"}`), bad},
		{"a mini program with a line's end", planOf(`,"fields":{` + userName + `"gh_86a091e50ad4@app\n"}`), bad},
		{"an empty pair", planOf(`,"fields":{"center_app_brand_user_name":"","center_app_brand_pass":""}`), good},
		{"half a pair", planOf(`,"fields":{"center_app_brand_pass":"p"}`), codeOnly},
		{"a card twice", `{"cards":[{"card_id":"p"},{"card_id":"p"}]}`, codeOnly},
		{"a field twice", planOf(`,"fields":{"custom_url":"","custom_url":""}`), codeOnly},
		{"campaigns empty", planOf(`,"campaigns":[]`), good},
		{"campaigns as an object", planOf(`,"campaigns":{}`), bad},
		{"a campaign without fields", planOf(`,"campaigns":[{}]`), bad},
		{"a campaign of fields alone", planOf(`,"campaigns":[{"fields":{}}]`), good},
		{"an unknown member of a campaign", planOf(`,"campaigns":[{"fields":{},"to":"` + jan1 + `"}]`), bad},
		{"a name", planOf(`,"campaigns":[{"fields":{},"name":"新年"}]`), good},
		{"an empty name", planOf(`,"campaigns":[{"fields":{},"name":""}]`), bad},
		{"a name as a number", planOf(`,"campaigns":[{"fields":{},"name":1}]`), bad},
		{"both times", campaigns(``, during(jan1, jan2, pair)), good},
		{"until before from", campaigns(``, during(jan2, jan1, pair)), codeOnly},
		{"an offset", campaigns(``, during("2027-01-01T00:00:00+05:45", "", pair)), good},
		{"a fraction", campaigns(``, during("2027-01-01T00:00:00.123456789-11:00", "", pair)), good},
		{"a fraction of more digits", campaigns(``, during("2027-01-01T00:00:00.1234567891234Z", "", pair)), good},
		{"a comma before the fraction", campaigns(``, during("2027-01-01T00:00:00,5Z", "", pair)), bad},
		{"no offset", campaigns(``, during("2027-01-01T00:00:00", "", pair)), bad},
		{"an offset without a colon", campaigns(``, during("2027-01-01T00:00:00+0800", "", pair)), bad},
		{"an offset that there is not", campaigns(``, during("2027-01-01T00:00:00+24:00", "", pair)), bad},
		{"an offset's minutes that there are not", campaigns(``, during("2027-01-01T00:00:00+08:60", "", pair)), bad},
		{"a date alone", campaigns(``, during("2027-01-01", "", pair)), bad},
		{"without seconds", campaigns(``, during("2027-01-01T00:00Z", "", pair)), bad},
		{"an hour of one digit", campaigns(``, during("2027-01-01T8:00:00Z", "", pair)), bad},
		{"an hour that there is not", campaigns(``, during("2027-01-01T24:00:00Z", "", pair)), bad},
		{"a day that there is not", campaigns(``, during("2027-02-29T00:00:00Z", "", pair)), bad},
		{"a leap second, which Go does not have", campaigns(``, during("2016-12-31T23:59:60Z", "", pair)), bad},
		{"a leap day", campaigns(``, during("2028-02-29T00:00:00Z", "", pair)), good},
		{"t and z", campaigns(``, during("2027-01-01t00:00:00z", "", pair)), bad},
		{"a blank for the T", campaigns(``, during("2027-01-01 00:00:00Z", "", pair)), bad},
		{"an empty time", planOf(`,"campaigns":[{"fields":{},"from":""}]`), bad},
		{"a time null", planOf(`,"campaigns":[{"fields":{},"until":null}]`), bad},
		{"a campaign's unknown field", campaigns(``, during(jan1, jan2, `"title":"x"`)), bad},
		{"a campaign's link that is none", campaigns(``, during(jan1, jan2, `"center_url":"x"`)), bad},
	} {
		t.Run(row.what, func(t *testing.T) {
			content, err := jsonschema.UnmarshalJSON(strings.NewReader(row.plan))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(content); (err == nil) != (row.want != bad) {
				t.Errorf("the schema says %v", err)
			}
			if _, err := cardplan.Parse([]byte(row.plan)); (err == nil) != (row.want == good) {
				t.Errorf("the code says %v", err)
			}
		})
	}
}

// The schema and the code have the same fields, each of the same kind.
func TestTheSchemasFieldsAreTheCodes(t *testing.T) {
	file, err := os.Open("plan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	defs := content.(map[string]any)["$defs"].(map[string]any)
	properties := defs["fields"].(map[string]any)["properties"].(map[string]any)
	if got, want := slices.Sorted(maps.Keys(properties)), slices.Sorted(slices.Values(cardfields.Names)); !slices.Equal(got, want) {
		t.Errorf("the schema has %v, the code %v", got, want)
	}
	for name, property := range properties {
		want := "#/$defs/text"
		switch {
		case strings.HasSuffix(name, "_url"):
			want = "#/$defs/url"
		case strings.HasSuffix(name, "_app_brand_user_name"):
			want = "#/$defs/userName"
		}
		if ref := property.(map[string]any)["$ref"]; ref != want {
			t.Errorf("%s is a %v, want %s", name, ref, want)
		}
	}
}

// The fields and the types of cards are the documented ones.
func TestTheFieldsAreTheContracts(t *testing.T) {
	want := strings.Fields(`custom_url_name custom_url custom_url_sub_title custom_app_brand_user_name custom_app_brand_pass
		center_title center_sub_title center_url center_app_brand_user_name center_app_brand_pass
		promotion_url_name promotion_url promotion_url_sub_title promotion_app_brand_user_name promotion_app_brand_pass
		activate_url activate_app_brand_user_name activate_app_brand_pass`)
	if !slices.Equal(cardfields.Names, want) {
		t.Errorf("fields are %v", cardfields.Names)
	}
	for _, name := range want {
		if got := cardfields.OfMemberCard(name); got != strings.HasPrefix(name, "activate") {
			t.Errorf("%s is of member_card itself: %v", name, got)
		}
	}
	want = strings.Fields(`groupon cash discount gift general_coupon member_card scenic_ticket movie_ticket boarding_pass meeting_ticket`)
	if !slices.Equal(cardfields.CardTypes, want) {
		t.Errorf("types are %v", cardfields.CardTypes)
	}
}
