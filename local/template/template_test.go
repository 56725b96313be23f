package template

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Who edits the template is told the line, and what can't be deployed. What is read of the
// project's own template is what the tests of the stack work with.
func TestReadFails(t *testing.T) {
	const function = "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      "
	const never = "\n  Never: {Type: B, Condition: Not}\nConditions: {Not: !Equals [a, b]}"
	value := func(expression string) string { return function + "Environment: {Variables: {V: " + expression + "}}" }
	for _, row := range []struct {
		name, text string
		params     map[string]string
		err        string
	}{
		{"empty", "", nil, "template.yaml: no AWS::Serverless::Function in Resources"},
		{"malformed", "a: b\nc: [", nil, "template.yaml: yaml: line 2: did not find expected node content"},
		{"no function", "Resources:\n  A: {Type: B}", nil, "template.yaml: no AWS::Serverless::Function in Resources"},
		{"unknown parameter", function + "A: b", map[string]string{"P": "x"}, "template.yaml: no parameter P"},
		{"unknown condition", "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Condition: C", nil, "template.yaml:4: no condition C"},
		{"no number", function + "MemorySize: much", nil, `template.yaml:2: F: strconv.Atoi: parsing "much": invalid syntax`},
		{"output of what does not exist", function + "A: b\nOutputs: {O: {Value: !Ref X}}", nil, "template.yaml:6: X is neither a parameter with a value nor a resource"},
		{"no such resource", value("!GetAtt X.Arn"), nil, "template.yaml:5: X is neither a parameter with a value nor a resource"},
		{"a parameter without a value", "Parameters: {P: {Type: String}}\n" + value("!Ref P"), nil, "template.yaml:6: P is neither a parameter with a value nor a resource"},
		{"a resource that is not deployed", value(`!Sub "${Never}"`) + never, nil, "template.yaml:5: Never does not exist, by its condition"},
		{"another intrinsic function", value("!Base64 x"), nil, "template.yaml:5: function Base64 is not supported"},
		// CloudFormation passes RouteSettings on as they are; the value of a parameter is a string.
		{"a route's limit by parameter", "Parameters: {P: {Type: Number, Default: 5}}\n" + function + "A: b\n" +
			"  S: {Type: AWS::ApiGatewayV2::Stage, Properties: {RouteSettings: {GET /: {ThrottlingRateLimit: !Ref P}}}}", nil,
			"template.yaml:7: S: cannot unmarshal string into Go struct field .RouteSettings.ThrottlingRateLimit of type float64"},
		{"a queue of another type", function + "A: b\n  R: {Type: AWS::Events::Rule, Properties: {Targets: [{Arn: !GetAtt F.Arn}]}}", nil,
			`template.yaml:6: R: "F" is no AWS::SQS::Queue`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile("template.yaml", []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Read("template.yaml", row.params); err == nil || err.Error() != row.err {
				t.Errorf("error %v, want %s", err, row.err)
			}
		})
	}
	if _, err := Read("missing.yaml", nil); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("error %v, want one naming the file", err)
	}
}

// By default pages may send customers to the origins that may call, but that can be forbidden.
func TestJumpOrigins(t *testing.T) {
	for _, row := range []struct{ jump, want string }{
		{"", "https://shop.example,https://m.shop.example"},
		{"https://cards.example", "https://cards.example"},
		{"none", ""},
	} {
		read, err := Read("../../template.yaml", map[string]string{
			"MerchantSecretArn": "x", "AllowedOrigins": "https://shop.example,https://m.shop.example", "JumpOrigins": row.jump,
		})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(read.Functions, func(f Function) bool { return f.Folder == "functions/merchant-token" })
		if jumps, ok := read.Functions[i].Environment["JUMP_ORIGINS"]; !ok || jumps != row.want {
			t.Errorf("%q: JUMP_ORIGINS is %q, want %q", row.jump, jumps, row.want)
		}
	}
}
