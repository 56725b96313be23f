// A usual module leaves these defaults of Go as they are; see go.mod.
//
//go:debug containermaxprocs=1
//go:debug updatemaxprocs=1

// Command obvious is merchant-token as it is usually built: the SDK's config package,
// Secrets Manager and wechatpay-go, without what shared/ adds.
package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/option"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"
)

func main() {
	client, err := newClient(context.Background())
	if err != nil {
		panic(err)
	}
	endpoint, _, _ := strings.Cut(os.Getenv("WECHATPAY_ENDPOINTS"), ",")
	lambda.Start(func(ctx context.Context, r events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		result, err := client.Post(ctx, endpoint+r.RawPath, json.RawMessage(r.Body))
		if err != nil {
			return events.APIGatewayV2HTTPResponse{}, err
		}
		body, err := io.ReadAll(result.Response.Body)
		return events.APIGatewayV2HTTPResponse{StatusCode: http.StatusOK, Headers: map[string]string{"Content-Type": "application/json"}, Body: string(body)}, err
	})
}

func newClient(ctx context.Context) (*core.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	secret, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(os.Getenv("MERCHANT_SECRET_ID"))})
	if err != nil {
		return nil, err
	}
	var merchant struct {
		MchID       string `json:"mchid"`
		Serial      string `json:"certificate_serial_no"`
		PrivateKey  string `json:"private_key"`
		PublicKeyID string `json:"wechatpay_public_key_id"`
		PublicKey   string `json:"wechatpay_public_key"`
	}
	if err := json.Unmarshal([]byte(*secret.SecretString), &merchant); err != nil {
		return nil, err
	}
	private, err := utils.LoadPrivateKey(merchant.PrivateKey)
	if err != nil {
		return nil, err
	}
	public, err := utils.LoadPublicKey(merchant.PublicKey)
	if err != nil {
		return nil, err
	}
	return core.NewClient(ctx, option.WithWechatPayPublicKeyAuthCipher(merchant.MchID, merchant.Serial, private, merchant.PublicKeyID, public))
}
