package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"membercard/local/aws"
	"membercard/local/discovery"
)

const (
	region          = "eu-central-1"
	accessKeyID     = "AKIDMEMBERCARDTEST00"
	secretAccessKey = "a-secret-access-key"
)

// secretsManager is the local Secrets Manager behind one that may refuse an
// operation.
type secretsManager struct {
	*httptest.Server
	aws *aws.Server

	mu      sync.Mutex
	refuses map[string]string // an operation, and the exception that it is answered with
}

func startSecretsManager() (*secretsManager, error) {
	server, err := aws.Start(region, accessKeyID, secretAccessKey)
	if err != nil {
		return nil, err
	}
	m := &secretsManager{aws: server, refuses: map[string]string{}}
	m.Server = httptest.NewServer(m)
	return m, nil
}

func (m *secretsManager) discovery() discovery.AWS {
	return discovery.AWS{Region: region, AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey, Endpoint: m.URL}
}

// refuse has an operation answered with an exception; "" ends that.
func (m *secretsManager) refuse(operation, exception string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuses[operation] = exception
}

// writes returns how many requests to write a secret there were.
func (m *secretsManager) writes() int {
	return m.aws.Secrets.Calls("PutSecretValue") + m.aws.Secrets.Calls("CreateSecret")
}

func (m *secretsManager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	m.mu.Lock()
	exception := m.refuses[operation]
	m.mu.Unlock()
	if exception == "" {
		m.aws.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	message := "User: arn:aws:iam::123456789012:user/op is not authorized to perform: secretsmanager:" + operation
	if exception == "InvalidRequestException" {
		message = "You can't perform this operation on the secret because it was marked for deletion."
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": exception, "message": message})
}
