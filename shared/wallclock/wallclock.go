// Package wallclock is time by the wall clock alone. Go's time.Now has a monotonic
// reading as well, which may stand still while a function is frozen between two
// invocations: by it, what should have expired would still seem fresh.
package wallclock

import "time"

// Now is the time without a monotonic reading.
func Now() time.Time { return time.Now().Round(0) }

// Since is the time that has passed since t, by the wall clock.
func Since(t time.Time) time.Duration { return Now().Sub(t) }
