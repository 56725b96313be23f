package contract

import (
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"membercard/shared/apierror"
)

// TestEachFieldOfASignedRequestMayBeLogged: a record names the field that WeChat Pay
// refused if it is a documented one. apierror lists them; it must not lack any.
func TestEachFieldOfASignedRequestMayBeLogged(t *testing.T) {
	checked := 0
	check := func(pointer string) {
		checked++
		e := apierror.FromWeChat(apierror.Answer{Status: 400, Code: "PARAM_ERROR", Detail: &apierror.Detail{Field: pointer}})
		if got := e.Detail.KnownField(); got != pointer {
			t.Errorf("%s is logged as %s", pointer, got)
		}
	}
	var properties func(pointer string, schema *openapi3.Schema)
	properties = func(pointer string, schema *openapi3.Schema) {
		for name, property := range schema.Properties {
			check(pointer + "/" + name)
			properties(pointer+"/"+name, property.Value)
		}
	}
	for _, r := range load(t).routes {
		if !strings.HasPrefix(r.path, "/v3/") {
			continue
		}
		for _, p := range r.operation.Parameters {
			check("/" + p.Value.In + "/" + p.Value.Name)
		}
		if body := r.operation.RequestBody; body != nil {
			properties("/body", body.Value.Content.Get("application/json").Schema.Value)
		}
	}
	if checked < 30 {
		t.Errorf("%d fields were found", checked)
	}
}
