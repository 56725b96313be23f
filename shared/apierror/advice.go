package apierror

import (
	"errors"
	"strings"
)

// Advice is what an operation's document says of the errors that only it can
// meet: one code stands for several, told apart by WeChat's description.
type Advice []struct {
	Code        string // WeChat's error code
	Description string // WeChat's words, or the part of them that tells
	Solution    string // what the document advises, in ours
}

// Apply puts the documented solution into an error that the document knows.
func (a Advice) Apply(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	for _, known := range a {
		if known.Code == e.Code && strings.Contains(e.Message, known.Description) {
			e.Solution = known.Solution
			break
		}
	}
	return err
}
