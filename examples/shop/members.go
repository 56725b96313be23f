package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
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

// member returns the number of the customer's card that is effective, or "". A card that was
// only opened is asked for: membercard confirms brand cards, and register activates merchant cards.
func (s *shop) member(ctx context.Context, openid string) (number string, err error) {
	cards, err := s.members.cards(ctx, openid)
	if err != nil {
		return "", err
	}
	for _, c := range cards {
		if c.State == "OPENED" {
			var answer struct {
				Brand    string `json:"user_card_state"`
				Merchant string `json:"user_card_status"`
			}
			if err := s.membercard.call(ctx, "GET", c.path(), nil, &answer); err != nil {
				return "", err
			}
			c.State = answer.Brand + answer.Merchant
			if c.State != "EFFECTIVE" {
				continue
			}
			if err := s.members.put(ctx, c); err != nil { // so that it is asked for once
				return "", err
			}
		}
		if c.State == "EFFECTIVE" {
			return c.Code, nil
		}
	}
	return "", nil
}

// path is the route that tells a card's state.
func (c *card) path() string {
	if c.BrandID == "" {
		return "/v3/marketing/membercard-open/cards/" + url.PathEscape(c.CardID) + "/codes/" + url.PathEscape(c.Code)
	}
	query := url.Values{"brand_id": {c.BrandID}, "card_id": {c.CardID}, "openid": {c.OpenID}}
	return "/v3/brand/partner/card-member/user-cards/" + url.PathEscape(c.Code) + "?" + query.Encode()
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
		text := func(name string) string { return item[name].(*types.AttributeValueMemberS).Value } // as put has it
		cards = append(cards, card{text("openid"), text("code"), text("brand_id"), text("card_id"), text("state"), text("changed")})
	}
	return cards, nil
}
