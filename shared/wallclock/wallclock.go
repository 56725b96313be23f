// Package wallclock reads the time without Go's monotonic clock. While Lambda freezes an
// execution environment between two invocations, the monotonic clock may stop. Cache
// entries would then seem valid after they expired.
package wallclock

import "time"

// Now returns the current time without a monotonic clock reading.
func Now() time.Time { return time.Now().Round(0) }

// Since returns the wall-clock time elapsed since t.
func Since(t time.Time) time.Duration { return Now().Sub(t) }
