package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// card is a customer's card.
type card struct {
	OpenID, Code string
	BrandID      string // empty for a merchant card
	CardID       string
	State        string // OPENED, EFFECTIVE or DELETED
	Changed      string // when, in UTC, so that texts compare as times
}

// members keeps the customers' cards.
type members interface {
	put(context.Context, card) error // unless it has a newer one
	cards(ctx context.Context, openid string) ([]card, error)
}

// consume keeps the cards of a batch of events, and returns those that SQS has to deliver
// again. An event may come twice, and after a newer one: neither does harm.
func (s *shop) consume(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, message := range batch.Records {
		if err := s.keep(ctx, []byte(message.Body)); err != nil {
			slog.ErrorContext(ctx, "an event was not kept", "message", message.MessageId, "cause", err.Error())
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
		}
	}
	return response, nil
}

// keep keeps what an event of the bus says of a card. Its errors have no personal data.
func (s *shop) keep(ctx context.Context, event []byte) error {
	var e struct {
		Detail struct {
			EventType  string    `json:"event_type"`
			CreateTime time.Time `json:"create_time"`
			Resource   struct {
				OpenID    string `json:"openid"`
				BrandID   string `json:"brand_id"`
				CardID    string `json:"card_id"`
				Code      string `json:"code"`
				BrandCode string `json:"user_card_code"`
				EventType string `json:"event_type"`
			} `json:"resource"`
		} `json:"detail"`
	}
	if json.Unmarshal(event, &e) != nil {
		return errors.New("the message is not an event")
	}
	d, r := e.Detail, e.Detail.Resource
	c := card{OpenID: r.OpenID, Code: r.Code + r.BrandCode, BrandID: r.BrandID, CardID: r.CardID, Changed: d.CreateTime.UTC().Format(time.RFC3339)}
	switch {
	case strings.HasSuffix(d.EventType, ".USER_CARD.CREATE"), d.EventType == "MEMBERCARD.ACCEPT_CARD", d.EventType == "MEMBERCARD.ACTIVATE_CARD":
		c.State = "OPENED" // whether it is effective is asked when the customer comes
	case strings.HasSuffix(d.EventType, ".USER_CARD.DELETE"), r.EventType == "USER_DELETE_MEMBERCARD":
		c.State = "DELETED"
	default:
		return nil // nothing about who is a member
	}
	if c.OpenID == "" || c.Code == "" {
		return fmt.Errorf("an event %s has no openid or no code", d.EventType)
	}
	return s.members.put(ctx, c)
}

// member returns the customer's card that is effective, or nil. A card that was only opened
// is asked for: brand cards are confirmed by the stack, merchant cards activated in activate.
func (s *shop) member(ctx context.Context, openid string) (*card, error) {
	cards, err := s.members.cards(ctx, openid)
	if err != nil {
		return nil, err
	}
	for _, c := range cards {
		if c.State == "OPENED" {
			var answer struct {
				Brand    string `json:"user_card_state"`
				Merchant string `json:"user_card_status"`
			}
			if err := s.membercard.call(ctx, "GET", c.path(), nil, &answer); err != nil {
				return nil, err
			}
			if answer.Brand+answer.Merchant != "EFFECTIVE" {
				continue
			}
			c.State = "EFFECTIVE"
			if err := s.members.put(ctx, c); err != nil {
				return nil, err
			}
		}
		if c.State == "EFFECTIVE" {
			return &c, nil
		}
	}
	return nil, nil
}

// memory is members on one machine, for as long as the program runs.
type memory struct {
	mu sync.Mutex
	m  map[string]map[string]card // by openid and code
}

func (m *memory) put(_ context.Context, c card) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m[c.OpenID] == nil {
		m.m[c.OpenID] = make(map[string]card)
	}
	if m.m[c.OpenID][c.Code].Changed <= c.Changed {
		m.m[c.OpenID][c.Code] = c
	}
	return nil
}

func (m *memory) cards(_ context.Context, openid string) ([]card, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.m[openid])), nil
}

// table is members in DynamoDB.
type table struct {
	client *dynamodb.Client
	name   string
}

func (t *table) put(ctx context.Context, c card) error {
	item := make(map[string]types.AttributeValue)
	for name, value := range map[string]string{"openid": c.OpenID, "code": c.Code, "brand_id": c.BrandID, "card_id": c.CardID, "state": c.State, "changed": c.Changed} {
		item[name] = &types.AttributeValueMemberS{Value: value}
	}
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &t.name, Item: item,
		ConditionExpression:       aws.String("attribute_not_exists(code) OR changed <= :changed"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":changed": item["changed"]},
	})
	if newer := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &newer) {
		return nil
	}
	return err
}

func (t *table) cards(ctx context.Context, openid string) (cards []card, err error) {
	out, err := t.client.Query(ctx, &dynamodb.QueryInput{
		TableName: &t.name, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("openid = :openid"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":openid": &types.AttributeValueMemberS{Value: openid}},
	})
	if err != nil {
		return nil, err
	}
	for _, item := range out.Items {
		text := func(name string) string {
			if value, ok := item[name].(*types.AttributeValueMemberS); ok {
				return value.Value
			}
			return ""
		}
		cards = append(cards, card{text("openid"), text("code"), text("brand_id"), text("card_id"), text("state"), text("changed")})
	}
	return cards, nil
}
