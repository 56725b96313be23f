package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// serveAlarms serves CloudWatch's DescribeAlarms of metric alarms that were deployed a time
// ago. They are in the states that are given by logical ID, else OK. Moto does not speak the protocol of the SDK for
// CloudWatch, which is Smithy's RPC v2 with CBOR.
func serveAlarms(t *testing.T, deployed time.Duration, states map[string]string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		value, err := cbor.Decode(body)
		input, ok := value.(cbor.Map)
		names, _ := input["AlarmNames"].(cbor.List)
		if err != nil || !ok || len(names) > 100 || !strings.HasSuffix(r.URL.Path, "/operation/DescribeAlarms") || !strings.Contains(r.Header.Get("Authorization"), "/monitoring/aws4_request") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		alarms := cbor.List{}
		for _, name := range names {
			name := string(name.(cbor.String))
			state := "OK"
			for id, other := range states {
				if strings.Contains(name, "-"+id+"-") {
					state = other
				}
			}
			if wanted, all := input["StateValue"].(cbor.String); !all || string(wanted) == state {
				alarms = append(alarms, cbor.Map{"AlarmName": cbor.String(name), "StateValue": cbor.String(state), "AlarmDescription": cbor.String("what is wrong"),
					"AlarmConfigurationUpdatedTimestamp": &cbor.Tag{ID: 1, Value: cbor.Float64(float64(time.Now().Add(-deployed).Unix()))}})
			}
		}
		w.Header().Set("Content-Type", "application/cbor")
		w.Header().Set("smithy-protocol", "rpc-v2-cbor")
		_, _ = w.Write(cbor.Encode(cbor.Map{"MetricAlarms": alarms}))
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_CLOUDWATCH", server.URL)
}

func TestAlarms(t *testing.T) {
	const name = "membercard-production-%s-1A2B3C"
	const day = 24 * time.Hour
	for _, row := range []struct {
		name     string
		alarms   []string // logical IDs
		deployed time.Duration
		states   map[string]string
		topic    string
		fails    []string
		warns    bool
	}{
		{"none is on", []string{"SecretFailuresAlarm", "LatencyAlarm"}, day, nil, "arn:aws:sns:eu-central-1:123456789012:ops", nil, false},
		{"nobody is told", []string{"SecretFailuresAlarm"}, day, nil, "", nil, true},
		{"two are on", []string{"SecretFailuresAlarm", "OtherAlarm", "LatencyAlarm"}, day, map[string]string{"SecretFailuresAlarm": "ALARM", "LatencyAlarm": "ALARM"}, "", []string{"alarm LatencyAlarm", "alarm SecretFailuresAlarm"}, false},
		{"another stack's is on", []string{"SecretFailuresAlarm"}, day, map[string]string{"KeyCheckAlarm": "ALARM"}, "", nil, true},
		{"both syncs are overdue", []string{"SyncOverdueAlarm", "ModuleSyncOverdueAlarm"}, day, map[string]string{"SyncOverdueAlarm": "INSUFFICIENT_DATA", "ModuleSyncOverdueAlarm": "INSUFFICIENT_DATA"}, "", []string{"alarm ModuleSyncOverdueAlarm", "alarm SyncOverdueAlarm"}, false},
		{"no sync was due yet", []string{"SyncOverdueAlarm"}, time.Hour, map[string]string{"SyncOverdueAlarm": "INSUFFICIENT_DATA"}, "", nil, true},
		{"another has no data", []string{"LatencyAlarm"}, day, map[string]string{"LatencyAlarm": "INSUFFICIENT_DATA"}, "", nil, true},
		{"there are none", nil, day, map[string]string{"KeyCheckAlarm": "ALARM"}, "", nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			serveAlarms(t, row.deployed, row.states)
			for variable, value := range map[string]string{"AWS_REGION": region, "AWS_ACCESS_KEY_ID": accessKeyID, "AWS_SECRET_ACCESS_KEY": secretAccessKey} {
				t.Setenv(variable, value)
			}
			a := &app{console: &console{}}
			d := &deployment{aws: awsConfig(t, a), resources: map[string]string{"CardEventsFunction": "f"}, parameters: map[string]string{"AlarmTopicArn": row.topic}}
			for _, id := range row.alarms {
				d.resources[id] = fmt.Sprintf(name, id)
			}
			r := &report{}
			a.checkAlarms(t.Context(), r, d)
			var failed []string
			for _, s := range r.Steps {
				if !s.OK && s.Skipped == "" {
					failed = append(failed, s.Name)
					if id := strings.TrimPrefix(s.Name, "alarm "); s.Cause != "it is on: what is wrong" || !strings.HasSuffix(s.Cure, "section "+id) {
						t.Errorf("%+v", s)
					}
				}
			}
			if !slices.Equal(failed, row.fails) || (r.Steps[0].Warning != "") != row.warns || (r.Steps[0].Skipped != "") != (row.alarms == nil) {
				t.Errorf("%+v", r.Steps)
			}
		})
	}
}
