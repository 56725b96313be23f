package aws

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"time"
)

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
		"GetSecretValue":           s.of((*secret).get),
		"ListSecretVersionIds":     s.of((*secret).list),
		"PutSecretValue":           s.of((*secret).put),
		"UpdateSecretVersionStage": s.of((*secret).updateStage),
	})
	return s
}

// secretInput is the input of all operations.
type secretInput struct {
	SecretID            string `json:"SecretId"`
	Name                string // of a new secret
	SecretString        string
	ClientRequestToken  string // the version's ID, so that a retry does not add another one
	VersionStage        string
	MoveToVersionID     string `json:"MoveToVersionId"`
	RemoveFromVersionID string `json:"RemoveFromVersionId"`
}

// of returns an operation on the secret that its input names.
func (s *Secrets) of(f func(*secret, secretInput) (any, *failure)) operation {
	return decoding(func(in secretInput) (any, *failure) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if found := s.find(in.SecretID); found != nil {
			return f(found, in)
		}
		return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	})
}

// Put stores value as the current version of the secret called name, creating
// the secret if there is none, and returns its ARN.
func (s *Secrets) Put(name, value string) (arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.find(name)
	if found == nil {
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

// find returns the secret with the given name or ARN, or nil. The caller holds s.mu.
func (s *Secrets) find(id string) *secret {
	if i := slices.IndexFunc(s.secrets, func(sec *secret) bool { return id == sec.name || id == sec.arn }); i >= 0 {
		return s.secrets[i]
	}
	return nil
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
	from := sec.version(stage)
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

// version returns the version that has an ID or a staging label, or nil.
func (sec *secret) version(name string) *secretVersion {
	if i := slices.IndexFunc(sec.versions, func(v *secretVersion) bool { return v.id == name || slices.Contains(v.stages, name) }); i >= 0 {
		return sec.versions[i]
	}
	return nil
}

// secretValue is the output of the operations on a version.
type secretValue struct {
	ARN           string
	CreatedDate   float64 // seconds since 1970
	Name          string
	SecretString  string   `json:",omitempty"`
	VersionID     string   `json:"VersionId"`
	VersionStages []string `json:",omitempty"` // staging labels
}

// value returns a version without its content.
func (sec *secret) value(v *secretVersion) *secretValue {
	return &secretValue{ARN: sec.arn, CreatedDate: seconds(v.created), Name: sec.name, VersionID: v.id, VersionStages: slices.Clone(v.stages)}
}

func (sec *secret) get(in secretInput) (any, *failure) {
	v := sec.version(cmp.Or(in.VersionStage, current))
	if v == nil {
		return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret value.")
	}
	value := sec.value(v)
	value.SecretString = v.value
	return value, nil
}

func (sec *secret) put(in secretInput) (any, *failure) {
	v := sec.version(in.ClientRequestToken)
	if v == nil {
		v = sec.add(in.ClientRequestToken, in.SecretString)
	}
	return sec.value(v), nil
}

func (s *Secrets) createSecret(in secretInput) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(in.Name) != nil {
		return nil, exception("ResourceExistsException", "The operation failed because the secret "+in.Name+" already exists.")
	}
	return s.create(in.Name).put(in)
}

// list lists the versions with a staging label, newest first.
func (sec *secret) list(secretInput) (any, *failure) {
	versions := []*secretValue{}
	for _, v := range slices.Backward(sec.versions) {
		if len(v.stages) > 0 {
			versions = append(versions, sec.value(v))
		}
	}
	return map[string]any{"Versions": versions}, nil
}

func (sec *secret) updateStage(in secretInput) (any, *failure) {
	from, to := sec.version(in.VersionStage), sec.version(in.MoveToVersionID)
	if from == nil || to == nil || from.id != in.RemoveFromVersionID {
		return nil, exception("InvalidParameterException", "RemoveFromVersionId must be the version that has the staging label, and MoveToVersionId another one.")
	}
	sec.move(in.VersionStage, to)
	return sec.value(to), nil
}
