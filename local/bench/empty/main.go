// Command empty is a function that does nothing: the minimum of a cold start in Go.
package main

import "github.com/aws/aws-lambda-go/lambda"

func main() {
	lambda.Start(func() (map[string]any, error) { return map[string]any{"statusCode": 200, "body": "{}"}, nil })
}
