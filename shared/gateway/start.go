package gateway

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/env"
	"membercard/shared/telemetry"
)

// Start runs a Lambda function that has one operation. It calls connect once, during
// init, for the client with which the operation calls WeChat. It does not return.
func Start[Client any](connect func(*telemetry.Log) Client, operation func(context.Context, Client, *Request) (*Response, error)) {
	log := env.Log()
	lambda.Start(NewHandler(log, connect(log), operation))
}

// NewHandler returns the handler of an operation that calls WeChat with client.
func NewHandler[Client any](log *telemetry.Log, client Client, operation func(context.Context, Client, *Request) (*Response, error)) Handler {
	return Handler{Log: log, Operation: func(ctx context.Context, r *Request) (*Response, error) {
		return operation(ctx, client, r)
	}}
}
