// Package invocation has what the invocations of all Lambda functions share: an ID, and
// actions by name for events that are not HTTP requests.
package invocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"membercard/shared/apierror"
	"membercard/shared/deadline"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

// ID returns Lambda's request ID, or "" outside of Lambda.
func ID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}

// Action is a [lambda.Handler] for events that name an action, such as {"action": "sync"}.
// Schedules and operators send them.
type Action struct {
	Log  *telemetry.Log
	Name string
	// Do handles the event. It ends the record unless it refuses the event.
	Do func(ctx context.Context, record *telemetry.Record, event []byte) ([]byte, error)
	// Requests handles events without an action. If it is nil, they are an error.
	Requests lambda.Handler
}

// Invoke implements [lambda.Handler].
func (a Action) Invoke(ctx context.Context, event []byte) (answer []byte, err error) {
	var name string
	if !strictjson.Member(event, "action", &name) {
		if a.Requests != nil {
			return a.Requests.Invoke(ctx, event)
		}
		return nil, errors.New("the event has no action")
	}
	if name != a.Name {
		return nil, fmt.Errorf("there is no action %.32q", name)
	}
	ctx, record := a.Log.Begin(ctx, ID(ctx))
	ctx, cancel := deadline.WithReserve(ctx)
	defer cancel()
	panicked := RecordPanic(ctx, record, name, func() { answer, err = a.Do(ctx, record, event) })
	if panicked != nil {
		return nil, panicked
	}
	return answer, err
}

// RecordPanic calls f, which is part of what is named. If f panics, RecordPanic ends the
// record, which is that of ctx, and returns the error.
func RecordPanic(ctx context.Context, record *telemetry.Record, name string, f func()) error {
	err := apierror.Catch(ctx, f)
	if err != nil {
		e := apierror.From(err)
		record.Count(e.Metric())
		record.End(ctx, slog.LevelError, name+" failed", e.Code, slog.String("cause", e.Error()), slog.String("cure", e.Cure))
	}
	return err
}

// Decode decodes the event of an action into a struct with [strictjson.DecodeAll], so that a
// misspelt member is refused and not ignored. It reports only faults of the members
// themselves: the action has to check the contents of a json.RawMessage.
func Decode(event []byte, into any) error {
	faults := strictjson.DecodeAll(event, into)
	faults = slices.DeleteFunc(faults, func(f strictjson.Fault) bool { return strings.Count(f.Path, "/") > 1 })
	if len(faults) > 0 {
		return fmt.Errorf("the event is refused: %s", faults)
	}
	return nil
}
