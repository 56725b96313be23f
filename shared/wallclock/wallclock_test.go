package wallclock

import "testing"

// A time with a monotonic clock reading differs from the same time without it.
func TestNowHasNoMonotonicClock(t *testing.T) {
	if now := Now(); now != now.Round(0) {
		t.Errorf("%v", now)
	}
}
