// Package secret is one secret of AWS Secrets Manager, as the value that a
// function makes of it: read when it is needed, parsed once per version, kept
// for five minutes, and read again at once when it proves wrong.
package secret

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/semaphore"

	"membercard/shared/telemetry"
	"membercard/shared/wallclock"
)

const (
	// life is how long a value is used before the secret is read again.
	life = 5 * time.Minute
	// patience is the least time between readings that bring nothing new: of a
	// secret that is refused but unchanged, or that can't be read.
	patience = time.Minute
	// A reading with its retries has readTimeout, or rereadTimeout where there is a
	// value to go on with, and never more than half of the time that is left: the
	// other half is for what the value is wanted for.
	readTimeout   = 3 * time.Second
	rereadTimeout = time.Second
)

// Secret gives the value of one secret. It is safe for concurrent use.
type Secret[T any] struct {
	client *secretsmanager.Client
	id     string
	parse  func([]byte) (T, error)
	log    *telemetry.Log

	lock   *semaphore.Weighted // guards the fields below; waiting for it respects a deadline
	value  T
	digest [sha256.Size]byte // of the text that value was made of
	held   bool
	dueAt  time.Time // when the secret is to be read again
	sameAt time.Time // when a reading on demand last brought nothing new
}

// New returns the secret with the given ARN or name. Nothing is read yet. parse
// makes the value of the secret's text; its errors must name no values, for they
// are logged.
func New[T any](config aws.Config, id string, parse func([]byte) (T, error), log *telemetry.Log) *Secret[T] {
	return &Secret[T]{client: secretsmanager.NewFromConfig(config), id: id, parse: parse, log: log, lock: semaphore.NewWeighted(1)}
}

// Get returns the value, reading the secret if it was never read or five minutes
// ago. If it can't be read then, the value at hand goes on serving for another
// minute, and the failure is logged and counted.
func (s *Secret[T]) Get(ctx context.Context) (T, error) {
	var none T
	if err := s.lock.Acquire(ctx, 1); err != nil {
		return none, err
	}
	defer s.lock.Release(1)
	if s.held && wallclock.Now().Before(s.dueAt) {
		return s.value, nil
	}
	if _, err := s.read(ctx); err != nil {
		if !s.held {
			return none, err
		}
		s.dueAt = wallclock.Now().Add(patience)
	}
	return s.value, nil
}

// Refresh reads the secret now, because the value at hand proved wrong, and says
// whether it changed. When it keeps coming back unchanged, or can't be read, it
// is read at most once a minute.
func (s *Secret[T]) Refresh(ctx context.Context) (value T, changed bool, err error) {
	if err := s.lock.Acquire(ctx, 1); err != nil {
		return value, false, err
	}
	defer s.lock.Release(1)
	if wallclock.Since(s.sameAt) < patience {
		return s.value, false, nil
	}
	if changed, err = s.read(ctx); !changed {
		s.sameAt = wallclock.Now()
	}
	return s.value, changed, err
}

// Expire has the next Get read the secret, because it was changed just now.
func (s *Secret[T]) Expire(ctx context.Context) error {
	if err := s.lock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.lock.Release(1)
	s.dueAt, s.sameAt = time.Time{}, time.Time{}
	return nil
}

// read gets the current version, and parses it if its text is another than that
// at hand. A failure is logged and counted.
func (s *Secret[T]) read(ctx context.Context) (changed bool, err error) {
	text, err := s.text(ctx)
	if err != nil {
		s.log.Failure(ctx, "SecretFailures", "the secret could not be read", err,
			"check the secret's ARN in the function's environment, and its role's permission to read it")
		return false, err
	}
	if digest := sha256.Sum256(text); !s.held || digest != s.digest {
		value, err := s.parse(text)
		if err != nil {
			s.log.Failure(ctx, "SecretFailures", "the secret is malformed", err, "correct the key that the cause names")
			return false, err
		}
		s.value, s.digest, s.held, changed = value, digest, true, true
	}
	s.dueAt = wallclock.Now().Add(life)
	return changed, nil
}

// text gets the current version: GetSecretValue.
func (s *Secret[T]) text(ctx context.Context) ([]byte, error) {
	timeout := readTimeout
	if s.held {
		timeout = rereadTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.id})
	if err != nil {
		return nil, readError(err)
	}
	if out.SecretString != nil {
		return []byte(*out.SecretString), nil
	}
	return out.SecretBinary, nil
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
