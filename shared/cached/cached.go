// Package cached uses values that come from a cache and may prove outdated, such as parsed
// secrets: it reads them again and, if they changed, tries once more.
package cached

import (
	"context"
	"log/slog"

	"membercard/shared/apierror"
	"membercard/shared/telemetry"
)

// Source provides a value that may come from a cache.
type Source[T comparable] interface {
	Get(context.Context) (T, error)
	// Refresh returns the current value after one proved outdated. It reads it again
	// only if the cached value is still that one.
	Refresh(ctx context.Context, outdated T) (T, error)
}

// Use calls use with the source's value. If the error shows that the value is outdated,
// and there is a newer one, Use calls use once more. A value that can't be read is
// CONFIG_ERROR.
func Use[T comparable, R any](ctx context.Context, source Source[T], isOutdated func(error) bool, use func(T) (R, error)) (R, error) {
	value, err := source.Get(ctx)
	if err != nil {
		var none R
		return none, apierror.Config(err)
	}
	result, err := use(value)
	if isOutdated(err) {
		if current, changed := Newer(ctx, source, value); changed {
			return use(current)
		}
	}
	return result, err
}

// Newer returns the value that replaces an outdated one. It reports false if there is none,
// or if it can't be read.
func Newer[T comparable](ctx context.Context, source Source[T], outdated T) (current T, changed bool) {
	current, err := source.Refresh(ctx, outdated)
	if err != nil || current == outdated {
		return outdated, false
	}
	telemetry.Annotate(ctx, slog.Bool("secret_changed", true))
	return current, true
}
