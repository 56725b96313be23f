package secretsmanager

// This file says what Secrets Manager calls the faults of a signature.

import (
	"net/http"
	"time"

	"membercard/local/sigv4"
)

// verify returns why AWS would refuse r, which has the given body, at now.
func (s *Server) verify(r *http.Request, body []byte, now time.Time) *exception {
	refusal := s.signature.Verify(r, body, now)
	if refusal == nil {
		return nil
	}
	kind := "InvalidSignatureException"
	switch refusal.Reason {
	case sigv4.Missing:
		kind = "MissingAuthenticationTokenException"
	case sigv4.Incomplete:
		kind = "IncompleteSignatureException"
	case sigv4.UnknownKey:
		kind = "UnrecognizedClientException"
	}
	return &exception{kind, refusal.Message}
}
