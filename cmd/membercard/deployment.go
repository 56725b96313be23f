package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/spf13/cobra"

	"membercard/shared/strictjson"
)

// deployment is a deployed stack, or the local stack.
type deployment struct {
	aws        aws.Config
	outputs    map[string]string
	parameters map[string]string
	resources  map[string]string // physical IDs by logical ID
}

// stackFlag adds the flag --stack.
func (a *app) stackFlag(cmd *cobra.Command, name *string) *cobra.Command {
	cmd.Flags().StringVar(name, "stack", "", a.text("`NAME` of the stack in CloudFormation, like membercard-production", "CloudFormation 中堆栈的名称（`NAME`），例如 membercard-production"))
	return cmd
}

// deployed finds a stack and adds a step. If it can't be found, it returns nil and the
// report says why.
func (a *app) deployed(ctx context.Context, r *report, stack string) (*deployment, error) {
	const name = "stack"
	if stack == "" && a.local == nil {
		return nil, usagef("--stack is needed: the stack's name in CloudFormation")
	}
	c, bad := a.aws(ctx)
	if bad != nil {
		r.fail("AWS", bad)
		return nil, nil
	}
	if a.local != nil {
		r.add(step{Name: name, OK: true, Detail: "the local stack at " + a.localURL})
		return &deployment{c, a.local.Outputs, a.local.Parameters, a.local.Resources}, nil
	}
	d := &deployment{c, map[string]string{}, map[string]string{}, map[string]string{}}
	defer a.during("asking CloudFormation")()
	status, err := d.describe(ctx, stack)
	switch {
	case isCode(err, "ValidationError"):
		r.fail(name, faultf("list them: aws cloudformation describe-stacks --query 'Stacks[].StackName'; the region is set with --region", "there is no stack %s in region %s", stack, c.Region))
		return nil, nil
	case err != nil:
		r.fail(name, apiFault(err, "CloudFormation", "cloudformation:DescribeStacks and cloudformation:ListStackResources"))
		return nil, nil
	}
	ours := d.outputs["ApiUrl"] != "" && d.outputs["FunctionLogGroup"] != ""
	r.add(stateOf(name, stack, status, ours))
	if !ours {
		return nil, nil
	}
	return d, nil
}

// stateOf is the step for a stack's status in CloudFormation. ours is whether it has the
// outputs of membercard, which a stack also lacks before its first deployment has worked.
func stateOf(name, stack, status string, ours bool) step {
	found := step{Name: name, OK: true, Detail: stack + ", " + status}
	fail := func(cause, cure string) step { return step{Name: name, Cause: stack + ": " + cause, Cure: cure} }
	of := " --stack-name " + quote(stack)
	events := "see why: aws cloudformation describe-stack-events" + of
	const whenOver = "run this again when it is over"
	switch {
	case status == "UPDATE_ROLLBACK_FAILED":
		return fail("the last deployment failed, and so did undoing it ("+status+")", events+"; remove the cause, and go on: aws cloudformation continue-update-rollback"+of)
	case strings.HasSuffix(status, "_FAILED"):
		return fail("it is in the state "+status, events)
	case status == "ROLLBACK_COMPLETE":
		return fail("the first deployment failed and was undone ("+status+")", events+"; remove the cause, delete the stack (sam delete"+of+"), and deploy again")
	case status == "REVIEW_IN_PROGRESS":
		return fail("it was never deployed, it only has a change set ("+status+")", "deploy it: sam deploy")
	case status == "DELETE_IN_PROGRESS":
		return fail("it is being deleted ("+status+")", "deploy it again if it is still wanted: sam deploy")
	case !ours && strings.HasSuffix(status, "_IN_PROGRESS"):
		return fail("its first deployment is not over ("+status+")", whenOver+": aws cloudformation describe-stacks --query 'Stacks[].StackStatus'"+of)
	case !ours:
		return fail("it is no stack of membercard: it lacks the outputs ApiUrl and FunctionLogGroup", "name the stack that sam deploy made from template.yaml")
	case strings.HasSuffix(status, "_IN_PROGRESS"):
		found.Warning, found.Cure = "it is being changed now, so what follows may change", whenOver+": aws cloudformation describe-stacks --query 'Stacks[].StackStatus'"+of
	case strings.Contains(status, "ROLLBACK"):
		found.Warning, found.Cure = "the last deployment failed and was undone", events
	}
	return found
}

// describe asks CloudFormation for a stack.
func (d *deployment) describe(ctx context.Context, name string) (status string, err error) {
	client := cloudformation.NewFromConfig(d.aws)
	described, err := client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err != nil {
		return "", err
	}
	for _, s := range described.Stacks {
		status = string(s.StackStatus)
		for _, o := range s.Outputs {
			d.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
		}
		for _, p := range s.Parameters {
			d.parameters[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
		}
	}
	pages := cloudformation.NewListStackResourcesPaginator(client, &cloudformation.ListStackResourcesInput{StackName: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, r := range page.StackResourceSummaries {
			d.resources[aws.ToString(r.LogicalResourceId)] = aws.ToString(r.PhysicalResourceId)
		}
	}
	return status, nil
}

// invokeFor invokes a function for a step of the report, and decodes its answer. If there is
// none, the report says why.
func (a *app) invokeFor(ctx context.Context, r *report, name string, d *deployment, function string, event, answer any) bool {
	text, bad := a.invoke(ctx, d, function, event)
	switch {
	case bad != nil && bad.busy:
		r.add(step{Name: name, Skipped: bad.cause + "; " + bad.cure})
	case bad != nil:
		r.fail(name, bad)
	case json.Unmarshal(text, answer) != nil:
		r.fail(name, faultf("deploy the template again", "its answer is not the documented one"))
	default:
		return true
	}
	return false
}

// invoke invokes a function and waits for its answer. The fault is busy if the function's
// reserved concurrency is in use.
func (a *app) invoke(ctx context.Context, d *deployment, function string, event any) (answer []byte, bad *fault) {
	client := lambda.NewFromConfig(d.aws, func(o *lambda.Options) { o.RetryMaxAttempts = 1 }) // a repeated sync or check would be another one
	defer a.during("invoking " + function)()
	out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: strictjson.Encode(event)})
	switch {
	case isCode(err, "TooManyRequestsException"):
		return nil, &fault{cause: "it runs already, or the account's concurrency is used up", cure: "run this again in a minute", busy: true}
	case isCode(err, "ResourceNotFoundException"):
		return nil, faultf("deploy the template again", "Lambda has no function %s", function)
	case err != nil:
		return nil, apiFault(err, "Lambda", "lambda:InvokeFunction")
	case out.FunctionError != nil:
		var e struct {
			Message string `json:"errorMessage"`
		}
		_ = json.Unmarshal(out.Payload, &e) // without a message the cause says less
		cause, cure, _ := strings.Cut(e.Message, "; cure: ")
		if cure == "" {
			cure = "read its log: aws logs tail " + quote(d.outputs["FunctionLogGroup"]) + " --since 10m"
			if a.local != nil {
				cure = "read the log of go run ./local"
			}
		}
		return nil, &fault{cause: fmt.Sprintf("the function failed: %s", cause), cure: cure}
	}
	return out.Payload, nil
}
