package template

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// read reads a template of the given text. Errors name it template.yaml.
func read(t *testing.T, text string, params map[string]string) (*Template, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("template.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Read("template.yaml", params)
}

func TestRead(t *testing.T) {
	const text = `
Transform: AWS::Serverless-2016-10-31
Parameters:
  Level: {Type: String, Default: info}
  Memory: {Type: Number, Default: 256}
  Unneeded: {Type: String}
Conditions:
  Never: !Equals [a, b]
Globals:
  Function:
    Timeout: 15
    MemorySize: !Ref Memory
    Environment:
      Variables: {LEVEL: !Ref Level, SHARED: global, TIMES: 2}
Resources:
  MerchantTokenFunction:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 30
      Environment:
        Variables: {SHARED: own, NUMBER: 16, FLAG: true}
      Events:
        Nightly:
          Type: Schedule
        Changed:
          Type: EventBridgeRule
          Properties: {Pattern: {source: [!Ref Level]}, Input: '{"a": 1}', DeadLetterConfig: {Arn: x}}
  OmittedFunction:
    Type: AWS::Serverless::Function
    Condition: Never
  KeyCheckFunction:
    Type: AWS::Serverless::Function
    Properties: {MemorySize: 10240}
Outputs:
  Function: {Value: !Sub "${MerchantTokenFunction}/${AWS::Region}"}
  Omitted: {Condition: Never, Value: !Ref OmittedFunction}
`
	got, err := read(t, text, map[string]string{"Level": "debug", "AWS::Region": "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	want := &Template{Functions: []Function{{
		LogicalID:   "MerchantTokenFunction",
		Folder:      "functions/merchant-token",
		Timeout:     30 * time.Second,
		MemorySize:  256,
		Environment: map[string]string{"LEVEL": "debug", "SHARED": "own", "NUMBER": "16", "FLAG": "true", "TIMES": "2"},
	}, {
		LogicalID:   "KeyCheckFunction",
		Folder:      "functions/key-check",
		Timeout:     15 * time.Second,
		MemorySize:  10240,
		Environment: map[string]string{"LEVEL": "debug", "SHARED": "global", "TIMES": "2"},
	}},
		Rules:      []Rule{{LogicalID: "MerchantTokenFunctionChanged", Bus: "default", Pattern: []byte(`{"source":["debug"]}`), Function: "MerchantTokenFunction", Input: `{"a": 1}`}},
		Parameters: map[string]string{"Level": "debug", "Memory": "256"},
		Resources:  map[string]string{"MerchantTokenFunction": "MerchantTokenFunction", "KeyCheckFunction": "KeyCheckFunction"},
		Outputs:    map[string]string{"Function": "MerchantTokenFunction/eu-west-1"},
		Alarms:     map[string]json.RawMessage{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestDefaults(t *testing.T) {
	got, err := read(t, "Resources: {F: {Type: AWS::Serverless::Function, Properties: {CodeUri: .}}}", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Function{LogicalID: "F", Folder: "functions/f", Timeout: 3 * time.Second, MemorySize: 128, Environment: map[string]string{}}
	if f := got.Functions[0]; !reflect.DeepEqual(f, want) {
		t.Errorf("got %+v, want %+v", f, want)
	}
}

// intrinsics is a template without the value of its variable, on line 19.
const intrinsics = `
Parameters:
  Stage: {Type: String, Default: prod}
  Zones: {Type: CommaDelimitedList, Default: "a, b,c"}
  Needed: {Type: String}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  IsTest: !Not [!Condition IsProd]
  Both: !And [!Condition IsProd, !Condition IsTest]
  Either: !Or [!Condition IsTest, !Condition IsProd]
Resources:
  Table: {Type: AWS::DynamoDB::Table}
  Test: {Type: AWS::DynamoDB::Table, Condition: IsTest}
  F:
    Type: AWS::Serverless::Function
    Properties:
      Environment:
        Variables:
          V: `

func TestIntrinsics(t *testing.T) {
	tests := []struct {
		expression string
		want       string
		err        string // without the file
	}{
		{expression: `plain`, want: "plain"},
		{expression: `!Ref Stage`, want: "prod"},
		{expression: `!Ref Table`, want: "Table"},
		{expression: `!Ref AWS::Region`, want: "us-east-1"},
		{expression: `!Ref AWS::AccountId`, want: "123456789012"},
		{expression: `!Ref AWS::Partition`, want: "aws"},
		{expression: `!Ref AWS::URLSuffix`, want: "amazonaws.com"},
		{expression: `!Ref AWS::StackName`, want: "local"},
		{expression: `!Ref Needed`, err: ":19: Needed is neither a parameter with a value nor a resource"},
		{expression: `!Ref Nowhere`, err: ":19: Nowhere is neither a parameter with a value nor a resource"},
		{expression: `!Ref Test`, err: ":19: Test does not exist, by its condition"},
		{expression: `!GetAtt Test.Arn`, err: ":19: Test does not exist, by its condition"},
		{expression: `!Sub "${Test}"`, err: ":19: Test does not exist, by its condition"},
		{expression: `!GetAtt Table.Arn`, want: "arn:aws:local:us-east-1:123456789012:Table"},
		{expression: `!GetAtt Nowhere.Arn`, err: ":19: Nowhere is neither a parameter with a value nor a resource"},
		{expression: `!Sub "${Stage}-${AWS::Region}-${Table}-$"`, want: "prod-us-east-1-Table-$"},
		{expression: `!Sub "${Table.Arn}"`, want: "arn:aws:local:us-east-1:123456789012:Table"},
		{expression: `!Sub ["${A}/${Stage}", {A: !Ref Table}]`, want: "Table/prod"},
		{expression: `!Sub "${Nowhere}"`, err: ":19: Nowhere is neither a parameter with a value nor a resource"},
		{expression: `!Join ["-", [a, !Ref Stage, !Ref AWS::NoValue]]`, want: "a-prod"},
		{expression: `!If [IsProd, a, !Ref Needed]`, want: "a"},
		{expression: `!If [IsTest, a, !Ref Stage]`, want: "prod"},
		{expression: `!If [Both, a, b]`, want: "b"},
		{expression: `!If [Either, a, b]`, want: "a"},
		{expression: `!Join [",", !Ref Zones]`, want: "a,b,c"},
		{expression: `!GetAtt Table.StreamArn`, want: "Table.StreamArn"},
		{expression: `!If [Nowhere, a, b]`, err: ":19: no condition Nowhere"},
		{expression: `!Base64 x`, err: ":19: function Base64 is not supported"},
	}
	for _, test := range tests {
		t.Run(test.expression, func(t *testing.T) {
			got, err := read(t, intrinsics+test.expression, nil)
			switch {
			case test.err != "":
				if err == nil || err.Error() != "template.yaml"+test.err {
					t.Errorf("error %v, want template.yaml%s", err, test.err)
				}
			case err != nil:
				t.Error(err)
			case got.Functions[0].Environment["V"] != test.want:
				t.Errorf("got %q, want %q", got.Functions[0].Environment["V"], test.want)
			}
		})
	}
}

func TestReadFails(t *testing.T) {
	const function = "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      "
	for _, test := range []struct {
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
		{"unknown event", function + "Events: {E: {Type: HttpApi}}", nil, "template.yaml:5: F has the event E of type HttpApi, which is not supported"},
		{"output of what does not exist", function + "A: b\nOutputs: {O: {Value: !Ref X}}", nil, "template.yaml:6: X is neither a parameter with a value nor a resource"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := read(t, test.text, test.params)
			if err == nil || err.Error() != test.err {
				t.Errorf("error %v, want %s", err, test.err)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "template.yaml")
	if _, err := Read(missing, nil); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("error %v, want one naming %s", err, missing)
	}
}

// failing is a change of a template, after which reading it fails.
type failing struct {
	name, old, new string
	err            string // without the file and line
}

func requireFailures(t *testing.T, text string, params map[string]string, tests []failing) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			changed := strings.Replace(text, test.old, test.new, 1)
			if changed == text {
				t.Fatalf("no %s in the template", test.old)
			}
			_, err := read(t, changed, params)
			if err == nil || !strings.HasPrefix(err.Error(), "template.yaml:") || !strings.HasSuffix(err.Error(), ": "+test.err) {
				t.Errorf("error %v, want %s", err, test.err)
			}
		})
	}
}
