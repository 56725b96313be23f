package officialaccount

import (
	"testing"
	"time"
)

// TestTicket checks how long a ticket is valid.
func TestTicket(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*testing.T, client)
		same   bool // whether asking gives the ticket from before
		left   int  // expires_in
	}{
		{"nothing", func(*testing.T, client) {}, true, 7200},
		{"half an hour", func(_ *testing.T, c client) { c.pass(30 * time.Minute) }, true, 5400},
		{"just before it expires", func(_ *testing.T, c client) { c.pass(2*time.Hour - time.Second) }, true, 1},
		{"expired", func(_ *testing.T, c client) { c.pass(2 * time.Hour) }, false, 7200},
		{"another access token", func(t *testing.T, c client) { c.ask(t, true) }, true, 7200},
		{"RotateSecret", func(_ *testing.T, c client) { c.RotateSecret() }, true, 7200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newSandbox(t)
			old := c.do(t, ticket("type=wx_card"))
			if len(old.Ticket) != 86 || old.Errmsg != "ok" || old.ExpiresIn != 7200 {
				t.Errorf("%+v", old)
			}
			tt.change(t, c)
			got := c.do(t, ticket("type=wx_card"))
			if got.Errcode != 0 || (got.Ticket == old.Ticket) != tt.same || got.ExpiresIn != tt.left {
				t.Errorf("%+v, want the same: %t, %d s left", got, tt.same, tt.left)
			}
		})
	}
}
