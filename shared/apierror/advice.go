package apierror

import (
	"errors"
	"strings"
)

// Advice is the table of business errors (业务错误码) of an operation's document. The
// same code may be listed with several descriptions. The first row that matches an
// error counts.
type Advice []struct {
	Code        string // WeChat's error code
	Description string // a part of WeChat's message; "" matches every message
	Solution    string // what the document advises
}

// Apply sets the solution of an error that is in the table, and returns the error.
// The solution also becomes the operator's cure unless there is a more specific one.
func (a Advice) Apply(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	for _, known := range a {
		if known.Code == e.Code && strings.Contains(e.Message, known.Description) {
			e.Solution = known.Solution
			if e.Cure == cureOf(e.Code) {
				e.Cure = known.Solution
			}
			break
		}
	}
	return err
}
