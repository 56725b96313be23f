package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"membercard/local/discovery"
	"membercard/local/journey"
	"membercard/local/stack"
	"membercard/wechat/wechatpay"
)

// openTimeout is how long a card may take to become EFFECTIVE. It covers several
// attempts to notify and to confirm.
const openTimeout = time.Minute

// opened is what has happened to a card and, if it is not EFFECTIVE, what is missing.
type opened struct {
	journey.Story
	Missing string `json:"missing,omitempty"`
}

// serveOpen serves [discovery.OpenPath].
func serveOpen(w http.ResponseWriter, r *http.Request, s *stack.Stack) {
	if discovery.RefusePage(w, r) {
		return
	}
	kind := r.URL.Query().Get("card")
	if kind != journey.Brand && kind != journey.Merchant {
		http.Error(w, "card must be brand or merchant", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), openTimeout)
	defer cancel()
	var answer opened
	var err error
	if answer.Story, err = journey.Open(ctx, s, kind); err != nil {
		answer.Missing = err.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// requestOpen asks the stack at an address to open a card, and prints each step. It fails
// if the card does not become EFFECTIVE.
func requestOpen(ctx context.Context, w io.Writer, address, kind string) error {
	var answer opened
	if err := post(ctx, address, discovery.OpenPath+"?card="+kind, &answer); err != nil {
		return err
	}
	return answer.print(w)
}

// print writes the steps as a table, without personal data.
func (a *opened) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	// A merchant card becomes EFFECTIVE before the last steps. That is printed at the
	// end, with its time, instead of in the middle.
	since := ""
	for _, step := range a.Steps {
		if step.What == journey.Member {
			since = fmt.Sprintf(" since %+d ms", step.Time.Sub(a.Steps[0].Time).Milliseconds())
			continue
		}
		fmt.Fprintf(table, "%s\t%+d ms\t%s\t%s\n", step.Time.Local().Format("15:04:05.000"), step.Time.Sub(a.Steps[0].Time).Milliseconds(), strings.ReplaceAll(step.What, "_", " "), says(step))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if a.Missing != "" {
		return errors.New(a.Missing)
	}
	fmt.Fprintf(w, "\nthe card is %s%s\n", a.State, since)
	return nil
}

// says describes a step.
func says(step journey.Step) string {
	status := "not answered"
	if step.Status > 0 {
		status = "answered " + strconv.Itoa(step.Status)
	}
	switch step.What {
	case journey.Token:
		return step.Name + ": " + status
	case journey.Opened:
		return "the customer opens the card in WeChat's component"
	case journey.Notification:
		text := fmt.Sprintf("%s (%s): %s", step.Name, step.Kind, status)
		if step.Kind == wechatpay.Regular && step.Status/100 == 2 {
			text += ", its signature verified, decrypted"
		}
		if step.Lost {
			text += "; the answer is lost"
		}
		return text
	case journey.Event:
		return step.Name + " is on the bus"
	case journey.Waiting:
		return fmt.Sprintf("the confirmation failed %d times and is to be tried again", step.Number)
	case journey.DeadLetter:
		return "the confirmation was given up: " + step.Name
	case journey.Call:
		text := step.Name + ": " + status
		if step.Refusal != "" {
			text += ", " + step.Refusal
		}
		return text
	}
	return step.Name
}
