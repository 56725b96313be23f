// Command empty is a function that does nothing. Its cold start is the minimum for Go.
package main

import "github.com/aws/aws-lambda-go/lambda"

func main() {
	lambda.Start(func() (map[string]any, error) { return map[string]any{"statusCode": 200, "body": "{}"}, nil })
}
