package aws

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"slices"
	"time"
)

const maxSecretSize = 64 << 10 // bytes

// Secrets is Secrets Manager: CreateSecret, GetSecretValue and PutSecretValue.
type Secrets struct {
	service
	region  string
	secrets []*secret
}

type secret struct {
	name, arn string
	versions  []secretVersion // the last is AWSCURRENT, the one before it AWSPREVIOUS
}

type secretVersion struct {
	id, value string
	created   time.Time
}

func newSecrets(region string) *Secrets {
	s := &Secrets{region: region}
	s.service = newJSON("secretsmanager", "application/x-amz-json-1.1", map[string]operation{
		"CreateSecret":   decoding(s.createSecret),
		"GetSecretValue": decoding(s.getSecretValue),
		"PutSecretValue": decoding(s.putSecretValue),
	})
	return s
}

// Put stores value as the current version of the secret called name, creating
// the secret if there is none, and returns its ARN.
func (s *Secrets) Put(name, value string) (arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(name)
	if failed != nil {
		found = s.create(name)
	}
	found.versions = append(found.versions, secretVersion{rand.Text(), value, time.Now()})
	return found.arn
}

// create adds a secret without a version. The caller holds s.mu.
func (s *Secrets) create(name string) *secret {
	created := &secret{name: name, arn: fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-%s", s.region, account, name, rand.Text()[:6])}
	s.secrets = append(s.secrets, created)
	return created
}

// find returns the secret with the given name or ARN. The caller holds s.mu.
func (s *Secrets) find(id string) (*secret, *failure) {
	if id == "" {
		return nil, invalid("secretId", "not be null")
	}
	i := slices.IndexFunc(s.secrets, func(sec *secret) bool { return id == sec.name || id == sec.arn })
	if i < 0 {
		return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	return s.secrets[i], nil
}

// secretValue is the output of all operations.
type secretValue struct {
	ARN           string
	CreatedDate   float64 `json:",omitempty"` // seconds since 1970
	Name          string
	SecretString  string   `json:",omitempty"`
	VersionID     string   `json:"VersionId"`
	VersionStages []string `json:",omitempty"` // staging labels
}

// value returns the i-th version without its content.
func (sec *secret) value(i int) *secretValue {
	v := &secretValue{ARN: sec.arn, Name: sec.name, VersionID: sec.versions[i].id}
	switch i {
	case len(sec.versions) - 1:
		v.VersionStages = []string{"AWSCURRENT"}
	case len(sec.versions) - 2:
		v.VersionStages = []string{"AWSPREVIOUS"}
	}
	return v
}

func (s *Secrets) getSecretValue(in struct {
	SecretID     string `json:"SecretId"`
	VersionID    string `json:"VersionId"`
	VersionStage string
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(in.SecretID)
	if failed != nil {
		return nil, failed
	}
	if in.VersionID == "" && in.VersionStage == "" {
		in.VersionStage = "AWSCURRENT"
	}
	for i, version := range found.versions {
		value := found.value(i)
		if in.VersionID != "" && in.VersionID != version.id ||
			in.VersionStage != "" && !slices.Contains(value.VersionStages, in.VersionStage) {
			continue
		}
		value.SecretString, value.CreatedDate = version.value, float64(version.created.UnixMilli())/1000
		return value, nil
	}
	return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret value.")
}

// putSecretValue takes the request's token as the ID of the new version. It
// accepts the same version again, as a client that retries sends it.
func (s *Secrets) putSecretValue(in struct {
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	SecretBinary       []byte
	SecretString       *string
	VersionStages      []string
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(in.SecretID)
	if failed == nil {
		failed = checkVersion(in.ClientRequestToken, in.SecretBinary, in.SecretString)
	}
	if failed == nil && in.VersionStages != nil && !slices.Equal(in.VersionStages, []string{"AWSCURRENT"}) {
		failed = exception("InvalidParameterException", "Only AWSCURRENT is supported here.")
	}
	if failed != nil {
		return nil, failed
	}
	token := in.ClientRequestToken
	i := slices.IndexFunc(found.versions, func(v secretVersion) bool { return v.id == token })
	if i < 0 {
		i = len(found.versions)
		found.versions = append(found.versions, secretVersion{token, *in.SecretString, time.Now()})
	} else if found.versions[i].value != *in.SecretString {
		return nil, exception("ResourceExistsException", "You can't use this ClientRequestToken because a version of the secret with another value has it.")
	}
	return found.value(i), nil
}

// checkVersion checks what a request says of a new version.
func checkVersion(token string, binary []byte, text *string) *failure {
	switch {
	case len(token) < 32 || len(token) > 64:
		return invalid("clientRequestToken", "have length between 32 and 64")
	case text == nil || binary != nil:
		return exception("InvalidParameterException", "You must provide SecretString, and it alone.")
	case *text == "" || len(*text) > maxSecretSize:
		return invalid("secretString", "have length between 1 and 65536")
	}
	return nil
}

var secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)

func (s *Secrets) createSecret(in struct {
	Name               string
	ClientRequestToken string
	SecretBinary       []byte
	SecretString       *string
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !secretName.MatchString(in.Name) {
		return nil, exception("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if failed := checkVersion(in.ClientRequestToken, in.SecretBinary, in.SecretString); failed != nil {
		return nil, failed
	}
	if _, failed := s.find(in.Name); failed == nil {
		return nil, exception("ResourceExistsException", "The operation failed because the secret "+in.Name+" already exists.")
	}
	created := s.create(in.Name)
	created.versions = []secretVersion{{in.ClientRequestToken, *in.SecretString, time.Now()}}
	output := created.value(0)
	output.VersionStages = nil
	return output, nil
}
