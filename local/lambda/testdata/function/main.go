// Command function is a Lambda function that follows the order in its event, in the
// body of an HTTP request's event, or in the first message of a queue's event, where
// ID stands for that message's. At initialization the order is in INIT.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	switch os.Getenv("INIT") {
	case "exit":
		os.Exit(3)
	case "done":
		os.Exit(0)
	case "hang":
		time.Sleep(time.Hour)
	case "error":
		url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
		body := strings.NewReader(`{"errorType":"Config.Missing","errorMessage":"no key"}`)
		if _, err := http.Post(url, "application/json", body); err != nil {
			panic(err)
		}
		os.Exit(1)
	case "once": // the first instance fails, those after it do not
		if f, err := os.OpenFile(os.Getenv("MARK"), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			f.Close()
			os.Exit(3)
		}
	}
	if addr := os.Getenv("HOLD"); addr != "" {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			panic(err)
		}
		defer conn.Close()
	}
	lambda.Start(handle)
}

func handle(_ context.Context, event json.RawMessage) (any, error) {
	var order struct {
		Do     string
		Addr   string
		Answer json.RawMessage
		Body   string

		Records []struct{ MessageID, Body string }
	}
	if err := json.Unmarshal(event, &order); err != nil {
		return nil, err
	}
	if len(order.Records) > 0 {
		first := order.Records[0]
		order.Body = strings.ReplaceAll(first.Body, "ID", first.MessageID)
	}
	_ = json.Unmarshal([]byte(order.Body), &order) // a body need not be an order
	switch order.Do {
	case "answer":
		return order.Answer, nil
	case "env":
		return os.Environ(), nil
	case "error":
		return nil, errors.New("as ordered")
	case "exit":
		os.Exit(7)
	case "hang":
		time.Sleep(time.Hour)
	case "print":
		os.Stdout.WriteString("to stdout\n")
		os.Stderr.WriteString("to stderr\n")
	case "panic":
		panic("as ordered")
	case "wait": // until the other end closes
		conn, err := net.Dial("tcp", order.Addr)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, conn)
		return nil, err
	}
	return event, nil
}
