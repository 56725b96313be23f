package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"membercard/shared/apierror"
	"membercard/shared/awsconfig"
	"membercard/shared/eventbus"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
)

const (
	// attemptTimeout limits each of the SDK's attempts to put an event. If a connection
	// died while the function was frozen, the next attempt uses a new one.
	attemptTimeout = 1200 * time.Millisecond
	// maxBackoff limits the pause between two attempts, so that all three fit into the
	// time that WeChat Pay waits.
	maxBackoff = 300 * time.Millisecond
)

type bus struct {
	client *eventbridge.Client
	name   string
}

func newBus(config aws.Config, name string) *bus {
	return &bus{eventbridge.NewFromConfig(config, func(o *eventbridge.Options) {
		if client, ok := o.HTTPClient.(*http.Client); ok {
			limited := *client
			limited.Timeout = attemptTimeout
			o.HTTPClient = &limited
		}
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = maxBackoff })
	}), name}
}

// detail is the Detail of an event, without its last member, the decrypted resource.
type detail struct {
	ID           string `json:"id"`
	EventType    string `json:"event_type"`
	CreateTime   string `json:"create_time"` // RFC 3339
	Summary      string `json:"summary"`
	OriginalType string `json:"original_type"`
}

// put puts a notification on the bus as one event (PutEvents). It returns nil only if the
// bus has taken the event. The SDK repeats attempts that fail temporarily. The error is an
// [apierror.Error].
func (b *bus) put(ctx context.Context, n *signing.Notification) error {
	text := encode(n)
	out, err := b.client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
		EventBusName: &b.name,
		Source:       aws.String(eventbus.Source),
		DetailType:   &n.EventType,
		Time:         &n.CreatedAt,
		Detail:       &text,
	}}})
	switch {
	case err != nil:
		return unavailable(awsconfig.Failure("EventBridge", err))
	case len(out.Entries) == 1 && out.Entries[0].ErrorCode != nil:
		return unavailable(awsconfig.Refused("EventBridge", *out.Entries[0].ErrorCode))
	case len(out.Entries) != 1 || out.FailedEntryCount != 0 || out.Entries[0].EventId == nil:
		return unavailable(errors.New("EventBridge did not confirm that it took the event"))
	}
	return nil
}

// encode returns the Detail of a notification's event, which contains the resource byte for
// byte. A notification of 64 KiB can't exceed EventBridge's limit of 256 KiB.
func encode(n *signing.Notification) string {
	members := strictjson.Encode(detail{n.ID, n.EventType, n.CreateTime, n.Summary, n.OriginalType})
	return string(members[:len(members)-1]) + `,"resource":` + string(n.Resource) + "}"
}

func unavailable(cause error) *apierror.Error {
	return &apierror.Error{
		Status:  http.StatusInternalServerError,
		Code:    "EVENT_BUS_UNAVAILABLE",
		Message: "the notification could not be passed on",
		Cause:   cause,
		Cure:    "check that the bus that EVENT_BUS_NAME names exists and that the function's role may put events on it (events:PutEvents); WeChat Pay sends the notification again",
	}
}
