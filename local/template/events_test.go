package template

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// carriers is a template with a bus, a rule, a queue, its dead-letter queue and a
// mapping, all on a condition.
const carriers = `
Parameters:
  Confirm: {Type: String, Default: AUTO}
  Count: {Type: Number, Default: 12}
Conditions:
  Confirms: !Equals [!Ref Confirm, AUTO]
  Never: !Equals [a, b]
Resources:
  DoFunction:
    Type: AWS::Serverless::Function
    Properties:
      Environment:
        Variables:
          BUS: !Ref Bus
          QUEUE: !If [Confirms, !Ref Queue, ""]
          ARN: !If [Confirms, !GetAtt Queue.Arn, ""]
  Bus:
    Type: AWS::Events::EventBus
    Properties: {Name: !Sub "${AWS::StackName}-cards"}
  Rule:
    Type: AWS::Events::Rule
    Condition: Confirms
    Properties:
      EventBusName: !Ref Bus
      EventPattern: {source: [!Ref Count, a], detail-type: [{suffix: .CREATE}], detail: {n: [1, true, null, 1.5]}, resources: !If [Confirms, !Ref AWS::NoValue, [x]]}
      Targets: [{Id: a, Arn: !GetAtt Queue.Arn, DeadLetterConfig: {Arn: !GetAtt Dead.Arn}}]
  Queue:
    Type: AWS::SQS::Queue
    Condition: Confirms
    Properties:
      VisibilityTimeout: 180
      DelaySeconds: 5
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: !Ref Count}
      SqsManagedSseEnabled: true
  Dead: {Type: AWS::SQS::Queue, Condition: Confirms}
  Mapping:
    Type: AWS::Lambda::EventSourceMapping
    Condition: Confirms
    Properties: {EventSourceArn: !GetAtt Queue.Arn, FunctionName: !Ref DoFunction, BatchSize: 5, FunctionResponseTypes: [ReportBatchItemFailures], ScalingConfig: {MaximumConcurrency: 2}}
`

func TestCarriers(t *testing.T) {
	got, err := read(t, carriers, map[string]string{"AWS::Region": "eu-west-1", "AWS::StackName": "stack"})
	if err != nil {
		t.Fatal(err)
	}
	const arn, url = "arn:aws:sqs:eu-west-1:123456789012:", "https://sqs.eu-west-1.amazonaws.com/123456789012/"
	want := Template{
		Buses: []string{"stack-cards"},
		Rules: []Rule{{"Rule", "stack-cards", []byte(`{"detail":{"n":[1,true,null,1.5]},"detail-type":[{"suffix":".CREATE"}],"source":["12","a"]}`), []string{"Queue"}}},
		Queues: []Queue{
			{LogicalID: "Queue", ARN: arn + "Queue", URL: url + "Queue", VisibilityTimeout: 3 * time.Minute, Delay: 5 * time.Second, DeadLetters: "Dead", MaxReceiveCount: 12},
			{LogicalID: "Dead", ARN: arn + "Dead", URL: url + "Dead", VisibilityTimeout: 30 * time.Second},
		},
		EventSources: []EventSource{{"Mapping", "Queue", "DoFunction", 5, 2, true}},
	}
	env := map[string]string{"BUS": "stack-cards", "QUEUE": url + "Queue", "ARN": arn + "Queue"}
	if !reflect.DeepEqual(got.Functions[0].Environment, env) {
		t.Errorf("environment %v, want %v", got.Functions[0].Environment, env)
	}
	got.Functions = nil
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, want %+v", *got, want)
	}

	got, err = read(t, carriers, map[string]string{"Confirm": "OWN"})
	if err != nil || got.Rules != nil || got.Queues != nil || got.EventSources != nil || len(got.Buses) != 1 {
		t.Errorf("without the condition %+v, %v", got, err)
	}
}

// TestCarrierDefaults takes out what is optional.
func TestCarrierDefaults(t *testing.T) {
	text := strings.NewReplacer("      EventBusName: !Ref Bus\n", "", ", BatchSize: 5, FunctionResponseTypes: [ReportBatchItemFailures], ScalingConfig: {MaximumConcurrency: 2}", "").Replace(carriers)
	got, err := read(t, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (EventSource{"Mapping", "Queue", "DoFunction", 10, 0, false}); got.EventSources[0] != want || got.Rules[0].Bus != "default" {
		t.Errorf("got %+v, and bus %s", got.EventSources[0], got.Rules[0].Bus)
	}
}

// TestCarriersFail changes the template above: new replaces old.
func TestCarriersFail(t *testing.T) {
	for _, test := range []struct{ name, old, new, err string }{
		{"no bus's name", `Properties: {Name: !Sub "${AWS::StackName}-cards"}`, "Properties: {}", "Bus has no Name"},
		{"no pattern", "      EventPattern:", "      Description:", "Rule has no EventPattern that is an object"},
		{"schedule", "      EventPattern:", "      ScheduleExpression: rate(1 day)\n      EventPattern:", "Rule has the property ScheduleExpression, which is not supported"},
		{"no targets", "      Targets: [{Id: a, Arn: !GetAtt Queue.Arn, DeadLetterConfig: {Arn: !GetAtt Dead.Arn}}]\n", "", "Rule has no list of Targets"},
		{"other target", "{Id: a, Arn: !GetAtt Queue.Arn", "{Id: a, Arn: !GetAtt DoFunction.Arn", `"DoFunction" is no AWS::SQS::Queue`},
		{"part of the event", "{Id: a,", "{Id: a, InputPath: $.detail,", "Rule has the property InputPath, which is not supported"},
		{"queue of another kind", "      DelaySeconds: 5", "      FifoQueue: true", "Queue has the property FifoQueue, which is not supported"},
		{"visibility", "180", "43201", `VisibilityTimeout "43201" is not a number from 0 to 43200`},
		{"delay", "DelaySeconds: 5", "DelaySeconds: 901", `DelaySeconds "901" is not a number from 0 to 900`},
		{"no count", ", maxReceiveCount: !Ref Count", "", "Queue has no maxReceiveCount"},
		{"count", "maxReceiveCount: !Ref Count", "maxReceiveCount: 0", `maxReceiveCount "0" is not a number from 1 to 1000`},
		{"dead letters", "deadLetterTargetArn: !GetAtt Dead.Arn", "deadLetterTargetArn: !GetAtt Bus.Arn", `"Bus" is no AWS::SQS::Queue`},
		{"other source", "EventSourceArn: !GetAtt Queue.Arn", "EventSourceArn: !GetAtt Bus.Arn", `"Bus" is no AWS::SQS::Queue`},
		{"other function", "FunctionName: !Ref DoFunction", "FunctionName: !Ref Bus", `"local-cards" is no AWS::Serverless::Function`},
		{"batch", "BatchSize: 5", "BatchSize: 11", `BatchSize "11" is not a number from 1 to 10`},
		{"window", "BatchSize: 5", "MaximumBatchingWindowInSeconds: 5", "Mapping has the property MaximumBatchingWindowInSeconds, which is not supported"},
		{"response type", "[ReportBatchItemFailures]", "[Report]", "Mapping has the FunctionResponseType Report, not ReportBatchItemFailures"},
		{"concurrency", "MaximumConcurrency: 2", "MaximumConcurrency: 1", `MaximumConcurrency "1" is not a number from 2 to 1000`},
		{"absent queue", "  Dead: {Type: AWS::SQS::Queue, Condition: Confirms}", "  Dead: {Type: AWS::SQS::Queue, Condition: Never}", "Dead does not exist, by its condition"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(carriers, test.old, test.new, 1)
			if text == carriers {
				t.Fatalf("no %s in the template", test.old)
			}
			_, err := read(t, text, nil)
			if err == nil || !strings.HasPrefix(err.Error(), "template.yaml:") || !strings.HasSuffix(err.Error(), ": "+test.err) {
				t.Errorf("error %v, want %s", err, test.err)
			}
		})
	}
}
