package plansync

import (
	"errors"
	"fmt"
	"testing"

	"membercard/shared/apierror"
	"membercard/shared/cardplan"
	"membercard/shared/telemetry/telemetrytest"
)

// cards returns cards with one-letter IDs.
func cards(ids string) (list []cardplan.Card) {
	for _, id := range ids {
		list = append(list, cardplan.Card{CardID: string(id)})
	}
	return list
}

func TestTheOrderOfARun(t *testing.T) {
	for _, row := range []struct {
		plan  string
		first []string
		want  string
	}{
		{"", nil, ""},
		{"", []string{"a"}, ""},
		{"abc", nil, "abc"},
		{"abc", []string{"a"}, "abc"},
		{"abc", []string{"b"}, "bca"},
		{"abc", []string{"c"}, "cab"},
		{"abc", []string{"x"}, "abc"},
		{"abcdef", []string{"b", "e"}, "befacd"},
		{"abcdef", []string{"b", "x"}, "bcdefa"},
		{"abcdef", []string{"f", "b"}, "fbcdea"},
		{"abcdef", []string{"b", "b"}, "bcdefa"},
	} {
		var got string
		list := cards(row.plan)
		for _, i := range inTurn(list, row.first) {
			got += list[i].CardID
		}
		if got != row.want {
			t.Errorf("%s, first %q: %s, want %s", row.plan, row.first, got, row.want)
		}
	}
}

func TestWhichErrorsEndARun(t *testing.T) {
	for _, row := range []struct {
		err  error
		want bool
	}{
		{apierror.FromErrcode(40001, ""), true},
		{apierror.FromErrcode(40014, ""), true},
		{apierror.FromErrcode(42001, ""), true},
		{apierror.FromErrcode(40164, ""), true},
		{apierror.FromErrcode(40013, ""), true},
		{apierror.FromErrcode(40125, ""), true},
		{apierror.FromErrcode(45009, ""), true},
		{apierror.FromErrcode(45011, ""), true},
		{apierror.FromErrcode(45061, ""), true},
		{apierror.FromWeChat(apierror.Answer{Status: 429}), true},
		{apierror.FromWeChat(apierror.Answer{Status: 429, Code: "FREQUENCY_LIMITED"}), true},
		{apierror.Config(errors.New("no secret")), true},
		{apierror.SignatureRefused(errors.New("401")), true},

		{apierror.FromErrcode(-1, ""), false},
		{apierror.FromErrcode(40053, ""), false},
		{apierror.FromErrcode(48001, ""), false},
		{apierror.FromWeChat(apierror.Answer{Status: 403, Code: "NO_AUTH"}), false},
		{apierror.FromWeChat(apierror.Answer{Status: 500}), false},
		{apierror.InvalidResponse(errors.New("no JSON")), false},
		{apierror.Timeout(errors.New("3 s")), false},
		{apierror.Unreachable(errors.New("no route")), false},
		{nil, false},
	} {
		var e *apierror.Error
		if row.err != nil {
			e = apierror.From(row.err)
		}
		if got := EndsRun(e); got != row.want {
			t.Errorf("%v: %t", row.err, got)
		}
	}
}

// A card that failed and a run that did no card at all are failures that an alarm sees. A long
// plan that gets on is not, and a dry run is seen by whoever made it.
func TestTheRecordOfARun(t *testing.T) {
	for _, row := range []struct {
		dryRun bool
		cards  []string // their statuses
		want   string   // level, code, SyncFailures
	}{
		{false, nil, "INFO OK <nil>"},
		{false, []string{Unchanged, Updated, NotApplied}, "INFO OK <nil>"},
		{false, []string{Unchanged, Deferred, Deferred}, "INFO OK <nil>"},
		{false, []string{Deferred, Deferred}, "ERROR NO_CARD_REACHED 1"},
		{false, []string{Failed, Updated}, "ERROR CARDS_FAILED 1"},
		{false, []string{Failed, Deferred}, "ERROR CARDS_FAILED 1"},
		{true, []string{Failed, Updated}, "ERROR CARDS_FAILED <nil>"},
		{true, []string{Deferred, Deferred}, "ERROR NO_CARD_REACHED <nil>"},
	} {
		r := &Report{DryRun: row.dryRun}
		for _, status := range row.cards {
			r.Cards = append(r.Cards, Card{Status: status})
		}
		r.count()
		log, records := telemetrytest.New()
		ctx, record := log.Begin(t.Context(), "")
		if _, err := r.end(ctx, record); err != nil {
			t.Fatal(err)
		}
		written := records.All(t)[0]
		if got := fmt.Sprint(written["level"], " ", written["Code"], " ", written["SyncFailures"]); got != row.want {
			t.Errorf("%q: %s, want %s", row.cards, got, row.want)
		}
	}
}

// A CARD_PLAN_KEY that is the key of what a sync remembers stops the start.
func TestThePlansKey(t *testing.T) {
	for key, good := range map[string]bool{
		"plan.json": true, "a/plan.json": true, "card-sync.json/plan.json": true, "my-card-sync.json": true,
		"card-sync.json": false, "a/card-sync.json": false, "service-modules.json": false, "a/b/service-modules.json": false,
		"card-sync.lease.json": false, "a/service-modules.lease.json": false,
	} {
		if err := checkPlanKey(key); (err == nil) != good {
			t.Errorf("%s: %v", key, err)
		}
	}
}
