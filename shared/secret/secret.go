// Package secret is one secret of AWS Secrets Manager, as the value that a
// function makes of it: read when it is needed, parsed once per version, kept
// for five minutes, and read again at once when it proves wrong.
package secret

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"membercard/shared/telemetry"
	"membercard/shared/turn"
	"membercard/shared/wall"
)

const (
	// life is how long a value is used before the secret is read again.
	life = 5 * time.Minute
	// patience is the least time between readings that bring nothing new: of a
	// secret that is refused but unchanged, or that can't be read.
	patience = time.Minute
	// readTimeout is for one reading with its retries.
	readTimeout = 3 * time.Second
)

// Secret gives the value of one secret. It is safe for concurrent use.
type Secret[T any] struct {
	client *secretsmanager.Client
	id     string
	parse  func([]byte) (T, error)
	log    *telemetry.Log

	turn    turn.Turn // who has it may read and write what follows
	value   T
	version string
	held    bool
	dueAt   time.Time // when the secret is to be read again
	sameAt  time.Time // when a reading on demand last brought nothing new
}

// New returns the secret with the given ARN or name. Nothing is read yet. parse
// makes the value of the secret's text; its errors must name no values, for they
// are logged.
func New[T any](config aws.Config, id string, parse func([]byte) (T, error), log *telemetry.Log) *Secret[T] {
	return &Secret[T]{client: secretsmanager.NewFromConfig(config), id: id, parse: parse, log: log, turn: turn.New()}
}

// Get returns the value, reading the secret if it was never read or five minutes
// ago. If it can't be read then, the value at hand goes on serving for another
// minute, and the failure is logged and counted.
func (s *Secret[T]) Get(ctx context.Context) (T, error) {
	var none T
	if err := s.turn.Take(ctx); err != nil {
		return none, err
	}
	defer s.turn.Give()
	if s.held && wall.Now().Before(s.dueAt) {
		return s.value, nil
	}
	if _, err := s.read(ctx); err != nil {
		s.failed(ctx, err)
		if !s.held {
			return none, err
		}
		s.dueAt = wall.Now().Add(patience)
	}
	return s.value, nil
}

// Refresh reads the secret now, because the value at hand proved wrong, and says
// whether it changed. When it keeps coming back unchanged, or can't be read, it
// is read at most once a minute.
func (s *Secret[T]) Refresh(ctx context.Context) (value T, changed bool, err error) {
	if err := s.turn.Take(ctx); err != nil {
		return value, false, err
	}
	defer s.turn.Give()
	if wall.Since(s.sameAt) < patience {
		return s.value, false, nil
	}
	changed, err = s.read(ctx)
	if err != nil {
		s.failed(ctx, err)
	}
	if !changed {
		s.sameAt = wall.Now()
	}
	return s.value, changed, err
}

// read gets the current version and parses it if it is another than that at hand.
func (s *Secret[T]) read(ctx context.Context) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.id})
	if err != nil {
		return false, readError(err)
	}
	version := aws.ToString(out.VersionId)
	if !s.held || version != s.version {
		text := out.SecretBinary
		if out.SecretString != nil {
			text = []byte(*out.SecretString)
		}
		value, err := s.parse(text)
		if err != nil {
			return false, err
		}
		s.value, s.version, s.held, changed = value, version, true, true
	}
	s.dueAt = wall.Now().Add(life)
	return changed, nil
}

// readError is what the log gets to read of the SDK's error, which spells out
// more than helps.
func readError(err error) error {
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("reading it, Secrets Manager answered %s: %s", refused.ErrorCode(), refused.ErrorMessage())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("reading it, Secrets Manager did not answer in time")
	}
	return fmt.Errorf("reading it, Secrets Manager could not be reached: %w", err)
}

func (s *Secret[T]) failed(ctx context.Context, err error) {
	s.log.Failure(ctx, "SecretFailures", "the secret could not be used", err,
		"check the secret's ARN in the function's environment, its role's permission to read it, and the key that the cause names")
}
