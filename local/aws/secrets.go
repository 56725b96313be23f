package aws

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

const maxSecretSize = 64 << 10 // bytes

// Secrets is Secrets Manager: values and their versions.
type Secrets struct {
	*service
	region  string
	secrets []*secret
}

type secret struct {
	name, arn string
	versions  []*secretVersion // oldest first
}

type secretVersion struct {
	id, value string
	created   time.Time
	stages    []string // staging labels; a label is on at most one version of a secret
}

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
)

func newSecrets(region string) *Secrets {
	s := &Secrets{region: region}
	s.service = newService("secretsmanager", map[string]operation{
		"CreateSecret":             decoding(s.createSecret),
		"GetSecretValue":           decoding(s.getSecretValue),
		"ListSecretVersionIds":     decoding(s.listSecretVersionIDs),
		"PutSecretValue":           decoding(s.putSecretValue),
		"UpdateSecretVersionStage": decoding(s.updateSecretVersionStage),
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
	found.add(rand.Text()+rand.Text(), value) // an ID has 32 characters or more
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
	i := slices.IndexFunc(s.secrets, func(sec *secret) bool { return id == sec.name || id == sec.arn })
	if i < 0 {
		return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	return s.secrets[i], nil
}

// add adds a version and makes it the current one.
func (sec *secret) add(id, value string) *secretVersion {
	v := &secretVersion{id: id, value: value, created: time.Now()}
	sec.versions = append(sec.versions, v)
	sec.move(current, v)
	return v
}

// move moves a staging label to another version. A version that loses AWSCURRENT gets
// AWSPREVIOUS.
func (sec *secret) move(stage string, to *secretVersion) {
	from := sec.version("", stage)
	if from == to {
		return
	}
	to.stages = append(to.stages, stage)
	if from == nil {
		return
	}
	from.stages = slices.DeleteFunc(from.stages, func(s string) bool { return s == stage })
	if stage == current {
		sec.move(previous, from)
	}
}

// version returns the version that has an ID and a staging label, where they are not
// empty, or nil.
func (sec *secret) version(id, stage string) *secretVersion {
	i := slices.IndexFunc(sec.versions, func(v *secretVersion) bool {
		return (id == "" || id == v.id) && (stage == "" || slices.Contains(v.stages, stage))
	})
	if i < 0 {
		return nil
	}
	return sec.versions[i]
}

// secretValue is the output of the operations on a version.
type secretValue struct {
	ARN           string
	CreatedDate   float64 `json:",omitempty"` // seconds since 1970
	Name          string
	SecretString  string   `json:",omitempty"`
	VersionID     string   `json:"VersionId"`
	VersionStages []string `json:",omitempty"` // staging labels
}

// value returns a version without its content.
func (sec *secret) value(v *secretVersion) *secretValue {
	return &secretValue{ARN: sec.arn, Name: sec.name, VersionID: v.id, VersionStages: slices.Clone(v.stages)}
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
		in.VersionStage = current
	}
	v := found.version(in.VersionID, in.VersionStage)
	if v == nil {
		return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret value.")
	}
	value := found.value(v)
	value.SecretString, value.CreatedDate = v.value, seconds(v.created)
	return value, nil
}

// newVersion is the input of the operations that add a version.
type newVersion struct {
	ClientRequestToken string // the version's ID, so that a retry does not add another one
	SecretString       string
	VersionStages      []string
}

func (in newVersion) check() *failure {
	if in.SecretString == "" || len(in.SecretString) > maxSecretSize {
		return exception("ValidationException", "Value at 'secretString' failed to satisfy constraint: Member must have length between 1 and 65536")
	}
	if in.ClientRequestToken == "" || in.VersionStages != nil {
		return exception("InvalidParameterException", "Only a SecretString that becomes AWSCURRENT is supported here, with a ClientRequestToken.")
	}
	return nil
}

func (s *Secrets) putSecretValue(in struct {
	SecretID string `json:"SecretId"`
	newVersion
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(in.SecretID)
	if failed == nil {
		failed = in.check()
	}
	if failed != nil {
		return nil, failed
	}
	v := found.version(in.ClientRequestToken, "")
	if v == nil {
		v = found.add(in.ClientRequestToken, in.SecretString)
	}
	return found.value(v), nil
}

func (s *Secrets) createSecret(in struct {
	Name string
	newVersion
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(in.Name, " ") {
		return nil, exception("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if failed := in.check(); failed != nil {
		return nil, failed
	}
	if _, failed := s.find(in.Name); failed == nil {
		return nil, exception("ResourceExistsException", "The operation failed because the secret "+in.Name+" already exists.")
	}
	created := s.create(in.Name)
	return created.value(created.add(in.ClientRequestToken, in.SecretString)), nil
}

// listSecretVersionIDs lists the versions with a staging label, newest first.
func (s *Secrets) listSecretVersionIDs(in struct {
	SecretID string `json:"SecretId"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(in.SecretID)
	if failed != nil {
		return nil, failed
	}
	versions := []*secretValue{}
	for _, v := range slices.Backward(found.versions) {
		if len(v.stages) > 0 {
			value := found.value(v)
			value.CreatedDate = seconds(v.created)
			versions = append(versions, value)
		}
	}
	return map[string]any{"Versions": versions}, nil
}

func (s *Secrets) updateSecretVersionStage(in struct {
	SecretID            string `json:"SecretId"`
	VersionStage        string
	MoveToVersionID     string `json:"MoveToVersionId"`
	RemoveFromVersionID string `json:"RemoveFromVersionId"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(in.SecretID)
	if failed != nil {
		return nil, failed
	}
	from, to := found.version("", current), found.version(in.MoveToVersionID, "")
	switch {
	case in.VersionStage != current || in.MoveToVersionID == "":
		return nil, exception("InvalidParameterException", "Only AWSCURRENT can be moved here.")
	case to == nil:
		return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret version.")
	case from.id != in.RemoveFromVersionID:
		return nil, exception("InvalidParameterException", "Staging label AWSCURRENT is currently attached to version "+from.id+", so you must explicitly reference that version in RemoveFromVersionId.")
	}
	found.move(current, to)
	return secretValue{ARN: found.arn, Name: found.name}, nil
}
