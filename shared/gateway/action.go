package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"membercard/shared/apierror"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

// Function is a Lambda handler for requests and for what a schedule or a person
// invokes it for: {"action": "sync"}, for instance.
type Function struct {
	Requests Handler
	Actions  map[string]Action
}

// Action carries out an invocation by its event, and ends its record.
type Action func(ctx context.Context, record *telemetry.Record, event []byte) ([]byte, error)

// Invoke implements lambda.Handler.
func (f Function) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	var name string
	if !strictjson.Member(payload, "action", &name) {
		return f.Requests.Invoke(ctx, payload)
	}
	action, ok := f.Actions[name]
	if !ok {
		return nil, fmt.Errorf("there is no action %.32q", name)
	}
	ctx, record := f.Requests.Log.Begin(ctx, InvocationID(ctx))
	defer func() { // a panic would end the process
		if value := recover(); value != nil {
			e := apierror.FromPanic(value)
			record.End(ctx, slog.LevelError, name+" failed", e.Code, slog.String("cause", e.Error()), slog.String("cure", e.Cure), slog.String("stack", string(debug.Stack())))
			answer, err = nil, e
		}
	}()
	ctx, cancel := WithReserve(ctx)
	defer cancel()
	return action(ctx, record, payload)
}

// InvocationID is Lambda's ID of the invocation.
func InvocationID(ctx context.Context) string {
	if invocation, ok := lambdacontext.FromContext(ctx); ok {
		return invocation.AwsRequestID
	}
	return ""
}
