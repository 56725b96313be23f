package main

import (
	"context"
	"net/url"

	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/validation"
)

// information returns what a user filled in to activate a card:
// GET /v3/marketing/membercard-open/activate-informations/{activate_ticket}.
func information(ctx context.Context, wechatpay *signing.Client, r *gateway.Request) (*gateway.Response, error) {
	ticket := activateTicket(r)
	if err := validation.CheckPrivate("/path/activate_ticket", ticket, validation.Required, validation.Alphanumeric(256, "+/=-_")); err != nil {
		return nil, err
	}
	// Not url.PathEscape, which leaves + and = as they are.
	return gateway.PassObject(wechatpay.Get(ctx, "/v3/marketing/membercard-open/activate-informations/"+url.QueryEscape(ticket)))
}

// activateTicket returns the ticket in the path. API Gateway has decoded the path; a
// ticket that was encoded twice is decoded here.
func activateTicket(r *gateway.Request) string {
	ticket := r.GreedyPathParameter("activate_ticket")
	if decoded, err := url.PathUnescape(ticket); err == nil {
		ticket = decoded
	}
	return ticket
}
