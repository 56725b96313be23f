package apierror

import (
	"errors"
	"strings"
)

// Advice is the table of business errors (业务错误码) of an operation's document.
// One code has several meanings, which WeChat's description tells apart.
type Advice []struct {
	Code        string // WeChat's error code
	Description string // WeChat's message, or the distinctive part of it
	Solution    string // what the document advises
}

// Apply adds the documented solution to an error that is in the table. It is also the
// operator's cure, if there is none but to look the code up.
func (a Advice) Apply(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	for _, known := range a {
		if known.Code == e.Code && strings.Contains(e.Message, known.Description) {
			e.Solution = known.Solution
			if e.Cure == lookUp {
				e.Cure = known.Solution
			}
			break
		}
	}
	return err
}
