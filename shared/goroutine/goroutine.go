// Package goroutine saves time in a cold start.
package goroutine

// GrowStack grows the stack of the calling goroutine at once to 32 KiB, which a TLS
// handshake, a call of the AWS SDK and a signature need. Otherwise the runtime copies the
// stack up to four times while it grows, and unwinds it each time. That takes a tenth of
// the CPU time of a cold start.
func GrowStack() { grow(0) }

//go:noinline
func grow(i int) byte {
	var frame [16 << 10]byte
	frame[i]++ // a constant index would be optimized away with the array
	return frame[i]
}
