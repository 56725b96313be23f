package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"membercard/shared/cardfields"
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

// The fields and the types of cards are the documented ones.
func TestTheFieldsAreTheContracts(t *testing.T) {
	want := strings.Fields(`custom_url_name custom_url custom_url_sub_title custom_app_brand_user_name custom_app_brand_pass
		center_title center_sub_title center_url center_app_brand_user_name center_app_brand_pass
		promotion_url_name promotion_url promotion_url_sub_title promotion_app_brand_user_name promotion_app_brand_pass
		activate_url activate_app_brand_user_name activate_app_brand_pass
		bonus_url bonus_app_brand_user_name bonus_app_brand_pass
		balance_url balance_app_brand_user_name balance_app_brand_pass`)
	for i := range 3 {
		for _, member := range strings.Fields("name_type name url app_brand_user_name app_brand_pass") {
			want = append(want, fmt.Sprintf("custom_field%d.%s", i+1, member))
		}
	}
	for i := range 2 {
		for _, member := range strings.Fields("name tips url app_brand_user_name app_brand_pass") {
			want = append(want, fmt.Sprintf("custom_cell%d.%s", i+1, member))
		}
	}
	if !slices.Equal(cardfields.Names, want) {
		t.Errorf("fields are %v", cardfields.Names)
	}
	for i, name := range want {
		if got := cardfields.OfMemberCard(name); got != (i >= 15) {
			t.Errorf("%s is of member_card itself: %v", name, got)
		}
	}
	want = strings.Fields(`groupon cash discount gift general_coupon member_card scenic_ticket movie_ticket boarding_pass meeting_ticket`)
	if !slices.Equal(cardfields.CardTypes, want) {
		t.Errorf("types are %v", cardfields.CardTypes)
	}
}
