package aws

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"slices"
	"time"

	"membercard/local/uuid"
)

const maxSecretSize = 64 << 10 // bytes

// recoveryWindow is how long a deleted secret can be restored if the request to delete
// it does not say.
const recoveryWindow = 30 * 24 * time.Hour

// Secrets is Secrets Manager without rotation, tags, policies and customer managed keys.
type Secrets struct {
	service
	region  string
	secrets []*secret
}

type secret struct {
	name, arn        string
	versions         []*secretVersion // oldest first
	created, changed time.Time
	deleted          time.Time // end of the recovery window; zero unless deletion is scheduled
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
	s.service = newJSON("secretsmanager", "application/x-amz-json-1.1", map[string]operation{
		"CreateSecret":             decoding(s.createSecret),
		"DeleteSecret":             decoding(s.deleteSecret),
		"DescribeSecret":           decoding(s.describeSecret),
		"GetSecretValue":           decoding(s.getSecretValue),
		"ListSecretVersionIds":     decoding(s.listSecretVersionIDs),
		"PutSecretValue":           decoding(s.putSecretValue),
		"RestoreSecret":            decoding(s.restoreSecret),
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
	found.deleted = time.Time{}
	found.add(uuid.New(), value)
	return found.arn
}

// add adds a version and makes it the current one.
func (sec *secret) add(id, value string) *secretVersion {
	v := &secretVersion{id: id, value: value, created: time.Now()}
	sec.versions = append(sec.versions, v)
	sec.move(current, v)
	return v
}

// move moves a staging label to another version, or removes it if to is nil. A version
// that loses AWSCURRENT gets AWSPREVIOUS.
func (sec *secret) move(stage string, to *secretVersion) {
	from := sec.with(stage)
	if from == to {
		return
	}
	if from != nil {
		from.stages = slices.DeleteFunc(from.stages, func(s string) bool { return s == stage })
	}
	if to != nil {
		to.stages = append(to.stages, stage)
	}
	if stage == current && from != nil {
		sec.move(previous, from)
	}
	sec.changed = time.Now()
}

// with returns the version with a staging label, or nil.
func (sec *secret) with(stage string) *secretVersion {
	return sec.version(func(v *secretVersion) bool { return slices.Contains(v.stages, stage) })
}

func (sec *secret) version(is func(*secretVersion) bool) *secretVersion {
	if i := slices.IndexFunc(sec.versions, is); i >= 0 {
		return sec.versions[i]
	}
	return nil
}

// create adds a secret without a version. The caller holds s.mu.
func (s *Secrets) create(name string) *secret {
	created := &secret{name: name, created: time.Now(), arn: fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-%s", s.region, account, name, rand.Text()[:6])}
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

// findUsable is like find, but fails if the secret is scheduled for deletion.
func (s *Secrets) findUsable(id string) (*secret, *failure) {
	found, failed := s.find(id)
	if failed == nil && !found.deleted.IsZero() {
		return nil, exception("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	return found, failed
}

// seconds returns a time as operations return it: in seconds since 1970.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// secretValue is the output of the operations on a value.
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
	found, failed := s.findUsable(in.SecretID)
	if failed != nil {
		return nil, failed
	}
	if in.VersionID == "" && in.VersionStage == "" {
		in.VersionStage = current
	}
	v := found.version(func(v *secretVersion) bool {
		return (in.VersionID == "" || in.VersionID == v.id) && (in.VersionStage == "" || slices.Contains(v.stages, in.VersionStage))
	})
	if v == nil {
		return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret value.")
	}
	value := found.value(v)
	value.SecretString, value.CreatedDate = v.value, seconds(v.created)
	return value, nil
}

// putSecretValue uses the request's token as the ID of the new version, so that a retry
// does not add another one.
func (s *Secrets) putSecretValue(in struct {
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	SecretBinary       []byte
	SecretString       *string
	VersionStages      []string
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.findUsable(in.SecretID)
	if failed == nil {
		failed = checkVersion(in.ClientRequestToken, in.SecretBinary, in.SecretString)
	}
	if failed == nil && in.VersionStages != nil && !slices.Equal(in.VersionStages, []string{current}) {
		failed = exception("InvalidParameterException", "Only AWSCURRENT is supported here.")
	}
	if failed != nil {
		return nil, failed
	}
	v := found.version(func(v *secretVersion) bool { return v.id == in.ClientRequestToken })
	if v == nil {
		v = found.add(in.ClientRequestToken, *in.SecretString)
	} else if v.value != *in.SecretString {
		return nil, exception("ResourceExistsException", "You can't use this ClientRequestToken because a version of the secret with another value has it.")
	}
	return found.value(v), nil
}

// checkVersion checks the parameters of a new version.
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
	output := created.value(created.add(in.ClientRequestToken, *in.SecretString))
	output.VersionStages = nil
	return output, nil
}

// secretState is the output of DeleteSecret, RestoreSecret, UpdateSecretVersionStage
// and DescribeSecret.
type secretState struct {
	ARN, Name          string
	CreatedDate        float64             `json:",omitempty"`
	LastChangedDate    float64             `json:",omitempty"`
	DeletedDate        float64             `json:",omitempty"` // of DescribeSecret: when deletion was requested
	DeletionDate       float64             `json:",omitempty"` // of DeleteSecret: when the recovery window ends
	VersionIDsToStages map[string][]string `json:"VersionIdsToStages,omitempty"`
}

func (s *Secrets) describeSecret(in struct {
	SecretID string `json:"SecretId"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(in.SecretID)
	if failed != nil {
		return nil, failed
	}
	state := secretState{ARN: found.arn, Name: found.name, CreatedDate: seconds(found.created), LastChangedDate: seconds(found.changed), VersionIDsToStages: map[string][]string{}}
	if !found.deleted.IsZero() {
		state.DeletedDate = seconds(found.changed)
	}
	for _, v := range found.versions {
		if len(v.stages) > 0 {
			state.VersionIDsToStages[v.id] = slices.Clone(v.stages)
		}
	}
	return state, nil
}

// deleteSecret schedules a secret's deletion. The secret can be restored at any time:
// nothing deletes it when the recovery window ends.
func (s *Secrets) deleteSecret(in struct {
	SecretID                   string `json:"SecretId"`
	RecoveryWindowInDays       *int64
	ForceDeleteWithoutRecovery bool
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.findUsable(in.SecretID)
	window := recoveryWindow
	switch {
	case failed != nil:
		return nil, failed
	case in.ForceDeleteWithoutRecovery:
		return nil, exception("InvalidParameterException", "ForceDeleteWithoutRecovery is not supported here.")
	case in.RecoveryWindowInDays != nil && (*in.RecoveryWindowInDays < 7 || *in.RecoveryWindowInDays > 30):
		return nil, exception("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	case in.RecoveryWindowInDays != nil:
		window = time.Duration(*in.RecoveryWindowInDays) * 24 * time.Hour
	}
	found.changed = time.Now()
	found.deleted = found.changed.Add(window)
	return secretState{ARN: found.arn, Name: found.name, DeletionDate: seconds(found.deleted)}, nil
}

func (s *Secrets) restoreSecret(in struct {
	SecretID string `json:"SecretId"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(in.SecretID)
	if failed != nil {
		return nil, failed
	}
	found.deleted, found.changed = time.Time{}, time.Now()
	return secretState{ARN: found.arn, Name: found.name}, nil
}

// listSecretVersionIDs lists the versions of a secret, newest first. Versions without a
// staging label are deprecated and listed only on request.
func (s *Secrets) listSecretVersionIDs(in struct {
	SecretID          string `json:"SecretId"`
	IncludeDeprecated bool
	MaxResults        *int64
	NextToken         string
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.find(in.SecretID)
	switch {
	case failed != nil:
		return nil, failed
	case in.NextToken != "":
		return nil, exception("InvalidNextTokenException", "The NextToken value is invalid.")
	case in.MaxResults != nil && (*in.MaxResults < 1 || *in.MaxResults > 100):
		return nil, invalid("maxResults", "have value between 1 and 100")
	}
	type version struct {
		VersionID     string `json:"VersionId"`
		VersionStages []string
		CreatedDate   float64
	}
	versions := []version{}
	for _, v := range slices.Backward(found.versions) {
		if len(v.stages) > 0 || in.IncludeDeprecated {
			versions = append(versions, version{v.id, slices.Clone(v.stages), seconds(v.created)})
		}
	}
	return map[string]any{"ARN": found.arn, "Name": found.name, "Versions": versions}, nil
}

func (s *Secrets) updateSecretVersionStage(in struct {
	SecretID            string `json:"SecretId"`
	VersionStage        string
	MoveToVersionID     string `json:"MoveToVersionId"`
	RemoveFromVersionID string `json:"RemoveFromVersionId"`
}) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, failed := s.findUsable(in.SecretID)
	switch {
	case failed != nil:
		return nil, failed
	case in.VersionStage == "":
		return nil, invalid("versionStage", "not be null")
	}
	byID := func(id string) *secretVersion {
		return found.version(func(v *secretVersion) bool { return v.id == id })
	}
	from, to := found.with(in.VersionStage), byID(in.MoveToVersionID)
	for _, id := range []string{in.MoveToVersionID, in.RemoveFromVersionID} {
		if id != "" && byID(id) == nil {
			return nil, exception("ResourceNotFoundException", "Secrets Manager can't find the specified secret version.")
		}
	}
	switch {
	case in.VersionStage == current && to == nil:
		return nil, exception("InvalidParameterException", "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	case from != nil && from != to && in.RemoveFromVersionID == "":
		return nil, exception("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label "+in.VersionStage+
			" is currently attached to version "+from.id+", so you must explicitly reference that version in RemoveFromVersionId.")
	case in.RemoveFromVersionID != "" && (from == nil || from.id != in.RemoveFromVersionID):
		return nil, exception("InvalidParameterException", "Staging label "+in.VersionStage+" is not currently attached to version "+in.RemoveFromVersionID+".")
	}
	found.move(in.VersionStage, to)
	return secretState{ARN: found.arn, Name: found.name}, nil
}
