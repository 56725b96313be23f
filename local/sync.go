package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"membercard/local/discovery"
	"membercard/local/guard"
	"membercard/local/stack"
)

// tokenVariable is the environment variable with the token of a stack that has real keys.
// Unlike a flag, it is not visible to other users of the machine.
const tokenVariable = "LOCAL_TOKEN"

// synced is the report of card-sync, and the requests that it sent to the official
// account.
type synced struct {
	Report   json.RawMessage `json:"report"`
	Received []received      `json:"received"`
}

type received struct {
	Path string          `json:"path"`
	Body json.RawMessage `json:"body"`
}

// serveSync serves [discovery.SyncPath].
func serveSync(w http.ResponseWriter, r *http.Request, s *stack.Stack) {
	if discovery.RefusePage(w, r) {
		return
	}
	event := fmt.Appendf(nil, `{"action": "sync", "dry_run": %t}`, r.URL.Query().Get("dry_run") == "true")
	begin := time.Now()
	report, err := s.Invoke(r.Context(), "functions/card-sync", event)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	answer := synced{Report: report}
	if s.OfficialAccount != nil {
		for _, request := range s.OfficialAccount.Requests() {
			if !request.Time.Before(begin) && strings.HasPrefix(request.Path, "/card/") {
				answer.Received = append(answer.Received, received{request.Path, request.Body})
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// requestSync asks the stack at an address for a sync, and prints the report.
func requestSync(ctx context.Context, w io.Writer, address string, dryRun bool) error {
	var answer synced
	if err := post(ctx, address, fmt.Sprintf("%s?dry_run=%t", discovery.SyncPath, dryRun), &answer); err != nil {
		return err
	}
	return answer.print(w)
}

// post sends a request to the stack at an address, and decodes the answer.
func post(ctx context.Context, address, path string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	if token := os.Getenv(tokenVariable); token != "" {
		request.Header.Set(guard.TokenHeader, token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("is a stack running at %s? %w", address, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(content)))
	}
	return json.Unmarshal(content, answer)
}

// print writes the report as a table, then the requests.
func (a *synced) print(w io.Writer) error {
	var report struct {
		Updated, Unchanged, Failed, Deferred int
		NotApplied                           int  `json:"not_applied"`
		DryRun                               bool `json:"dry_run"`
		Cards                                []struct {
			CardID     string `json:"card_id"`
			Status     string
			Changed    []string
			CardStatus string `json:"card_status"`
			Error      struct{ Code, Message string }
		}
		Error *struct {
			Code, Message string
			Faults        []struct{ Path, Issue string }
		}
	}
	if err := json.Unmarshal(a.Report, &report); err != nil {
		return err
	}
	if e := report.Error; e != nil {
		fmt.Fprintf(w, "%s: %s\n", e.Code, e.Message)
		for _, fault := range e.Faults {
			fmt.Fprintf(w, "  %s %s\n", cmp.Or(fault.Path, "the plan"), fault.Issue)
		}
		return errors.New("the plan was not applied")
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "card\tstatus\tfields\tremark")
	for _, card := range report.Cards {
		remark := card.CardStatus
		if card.Error.Code != "" {
			remark = card.Error.Code + ": " + card.Error.Message
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", card.CardID, card.Status, strings.Join(card.Changed, " "), remark)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	dry := ""
	if report.DryRun {
		dry = " (a dry run: nothing was sent)"
	}
	fmt.Fprintf(w, "\n%d updated, %d unchanged, %d not applied, %d failed, %d deferred%s\n",
		report.Updated, report.Unchanged, report.NotApplied, report.Failed, report.Deferred, dry)
	if len(a.Received) > 0 {
		fmt.Fprintln(w, "\nThe official account received:")
	}
	for _, request := range a.Received {
		var body bytes.Buffer
		if json.Compact(&body, request.Body) != nil {
			body.Reset()
			body.Write(request.Body)
		}
		fmt.Fprintf(w, "  %s %s\n", request.Path, &body)
	}
	if report.Failed > 0 {
		return fmt.Errorf("cards that failed: %d", report.Failed)
	}
	return nil
}
