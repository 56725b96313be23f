package main

import (
	"membercard/local/aws"
	"membercard/local/discovery"
)

const (
	region          = "eu-central-1"
	accessKeyID     = "AKIDMEMBERCARDTEST00"
	secretAccessKey = "a-secret-access-key"
)

// secretsManager is the local stack's AWS, whose Secrets Manager may refuse an operation.
type secretsManager struct {
	aws *aws.Server
	URL string
}

func startSecretsManager() (*secretsManager, error) {
	server, err := aws.Start(region, accessKeyID, secretAccessKey)
	if err != nil {
		return nil, err
	}
	return &secretsManager{server, server.URL()}, nil
}

func (m *secretsManager) Close() error { return m.aws.Close() }

func (m *secretsManager) discovery() discovery.AWS {
	return discovery.AWS{Region: region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey, Endpoint: m.URL}
}

// refuse has an operation answered with an exception; "" ends that.
func (m *secretsManager) refuse(operation, exception string) {
	if exception == "" {
		m.aws.Secrets.Fail(nil)
		return
	}
	message := "User: arn:aws:iam::123456789012:user/op is not authorized to perform: secretsmanager:" + operation
	if exception == "InvalidRequestException" {
		message = "You can't perform this operation on the secret because it was marked for deletion."
	}
	m.aws.Secrets.Fail(&aws.Fault{Operation: operation, Status: 400, Code: exception, Message: message})
}

// writes returns how many requests to write a secret there were.
func (m *secretsManager) writes() int {
	return m.aws.Secrets.Calls("PutSecretValue") + m.aws.Secrets.Calls("CreateSecret")
}
