// Command authorizer is a Lambda authorizer that follows the order in a request's
// Authorization: it fails, hangs or answers the JSON that is there. On true it
// authorizes the request and returns the number of its invocation and the event.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	count := 0
	lambda.Start(func(_ context.Context, event json.RawMessage) (any, error) {
		count++
		var request struct {
			Headers struct{ Authorization string }
		}
		if err := json.Unmarshal(event, &request); err != nil {
			return nil, err
		}
		switch order := request.Headers.Authorization; order {
		case "true":
			return map[string]any{"isAuthorized": true, "context": map[string]any{"count": count, "event": event}}, nil
		case "error":
			return nil, errors.New("as ordered")
		case "hang":
			time.Sleep(time.Hour)
			return nil, nil
		default:
			return json.RawMessage(order), nil
		}
	})
}
