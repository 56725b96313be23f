// Package secret reads a secret from AWS Secrets Manager and caches the parsed value for
// 5 minutes. A value that proves wrong can be refreshed at once.
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

	"membercard/shared/deadline"
	"membercard/shared/telemetry"
	"membercard/shared/wallclock"
)

const (
	// cacheTTL is how long a value is used before the secret is read again.
	cacheTTL = 5 * time.Minute
	// minRefreshInterval is the minimum time between two reads after one that brought
	// nothing new, because the secret was unchanged or could not be read.
	minRefreshInterval = time.Minute
	// readTimeout limits a read with its retries. rereadTimeout does so if there is a
	// cached value to fall back on. Such a read also takes at most half of the time left,
	// because the caller needs the rest to use that value.
	readTimeout   = 4 * time.Second
	rereadTimeout = time.Second
)

// Secret is a cached secret. It is safe for concurrent use.
type Secret[T comparable] struct {
	client *secretsmanager.Client
	id     string
	parse  func([]byte) (T, error)
	log    *telemetry.Log

	lock        *semaphore.Weighted // guards the fields below; waiting for it respects a deadline
	value       T
	digest      [sha256.Size]byte // of the text that value was parsed from
	cached      bool              // whether there is a value
	expiresAt   time.Time
	unchangedAt time.Time // when Refresh last found the secret unchanged or unreadable
	failure     error     // of the last Get, without a value
	failedAt    time.Time
}

// New returns the secret with the given ARN or name, without reading it. Errors of parse
// are logged, so they must not contain values of the secret.
func New[T comparable](config aws.Config, id string, parse func([]byte) (T, error), log *telemetry.Log) *Secret[T] {
	return &Secret[T]{client: secretsmanager.NewFromConfig(config), id: id, parse: parse, log: log, lock: semaphore.NewWeighted(1)}
}

// Get returns the cached value. If there is none, or it is older than 5 minutes, it reads
// the secret first. If that fails, the failure is logged and counted, and Get returns the
// old value for another minute. It fails only if there is no value yet, or if ctx ends while
// it waits for another call.
func (s *Secret[T]) Get(ctx context.Context) (T, error) {
	var none T
	begun := time.Now()
	if err := s.acquire(ctx); err != nil {
		return none, err
	}
	defer s.lock.Release(1)
	switch {
	case s.cached && wallclock.Now().Before(s.expiresAt):
		return s.value, nil
	case s.failedAt.After(begun): // the read that this call waited for
		return none, s.failure
	}
	if _, err := s.read(ctx); err != nil {
		if !s.cached {
			s.failure, s.failedAt = err, time.Now()
			return none, err
		}
		s.expiresAt = wallclock.Now().Add(minRefreshInterval)
	}
	return s.value, nil
}

// Refresh returns the current value after one proved outdated. It reads the secret again if
// the cached value is still that one, but not for a minute after a Refresh that brought
// nothing new. If the read fails, Refresh returns the cached value with the error.
func (s *Secret[T]) Refresh(ctx context.Context, outdated T) (T, error) {
	if err := s.acquire(ctx); err != nil {
		return outdated, err
	}
	defer s.lock.Release(1)
	if s.cached && (s.value != outdated || wallclock.Since(s.unchangedAt) < minRefreshInterval) {
		return s.value, nil
	}
	changed, err := s.read(ctx)
	if !changed {
		s.unchangedAt = wallclock.Now()
	}
	return s.value, err
}

// Reread reads the secret, whatever is cached. If that fails, it returns the cached value, if
// there is one, with the error.
func (s *Secret[T]) Reread(ctx context.Context) (T, error) {
	if err := s.acquire(ctx); err != nil {
		var none T
		return none, err
	}
	defer s.lock.Release(1)
	_, err := s.read(ctx)
	return s.value, err
}

// acquire waits for the lock until ctx ends. A lock that is free it takes even then: a
// cached value needs no time, and the call that follows fails for want of it.
func (s *Secret[T]) acquire(ctx context.Context) error {
	if s.lock.TryAcquire(1) {
		return nil
	}
	return s.lock.Acquire(ctx, 1)
}

// read reads the current version, and parses it if its text changed. A failure is logged
// and counted.
func (s *Secret[T]) read(ctx context.Context) (changed bool, err error) {
	text, err := s.text(ctx)
	if err != nil {
		s.log.Failure(ctx, telemetry.SecretFailures, "the secret could not be read", err,
			"check the secret's ARN in the function's environment, and its role's permission to read it")
		return false, err
	}
	if digest := sha256.Sum256(text); !s.cached || digest != s.digest {
		value, err := s.parse(text)
		if err != nil {
			s.log.Failure(ctx, telemetry.SecretFailures, "the secret is malformed", err, "correct the key that the cause names")
			return false, err
		}
		s.value, s.digest, s.cached, changed = value, digest, true, true
	}
	s.expiresAt = wallclock.Now().Add(cacheTTL)
	return changed, nil
}

// text returns the text of the current version (GetSecretValue).
func (s *Secret[T]) text(ctx context.Context) ([]byte, error) {
	limit, timeout := context.WithTimeout, readTimeout
	if s.cached {
		limit, timeout = deadline.WithHalf, rereadTimeout
	}
	ctx, cancel := limit(ctx, timeout)
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

// readError shortens the SDK's error for the log.
func readError(err error) error {
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("reading it, Secrets Manager answered %s: %s", refused.ErrorCode(), refused.ErrorMessage())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("reading it, Secrets Manager did not answer in time")
	}
	return fmt.Errorf("reading it, Secrets Manager could not be reached: %w", err)
}
