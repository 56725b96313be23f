package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"membercard/shared/tlsdial"
)

// aws returns the configuration for AWS, or for the local stack's.
func (a *app) aws(ctx context.Context) (aws.Config, *fault) {
	if a.local != nil {
		l := a.local.AWS
		return aws.Config{
			Region:       l.Region,
			BaseEndpoint: &l.Endpoint,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: l.AccessKeyID, SecretAccessKey: l.SecretAccessKey, SessionToken: l.SessionToken}, nil
			}),
		}, nil
	}
	through := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.OnProxyConnectResponse = tlsdial.ProxyAnswer })
	c, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(through), config.WithSharedConfigProfile(a.profile), config.WithRegion(a.region), config.WithLogger(logging.Nop{}))
	if unknown, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return c, faultf("list the profiles: aws configure list-profiles", "the AWS configuration has no profile %s", unknown.Profile)
	}
	if err != nil {
		return c, faultf("list the profiles: aws configure list-profiles", "the AWS configuration can't be read: %v", err)
	}
	if c.Region == "" {
		return c, faultf("name it with --region, or: export AWS_REGION=…", "no AWS region is set")
	}
	if strings.Trim(c.Region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return c, faultf("name it with --region, as in --region ap-east-1", "%q is no AWS region", clip(c.Region))
	}
	if _, err := c.Credentials.Retrieve(ctx); err != nil {
		reason := err.Error()
		if strings.Contains(reason, "no EC2 IMDS role found") { // where the SDK looks last
			reason = "neither the environment nor the profile has any"
		}
		return c, faultf("log in as for the AWS CLI, and see that this works: aws sts get-caller-identity", "there are no AWS credentials: %s", reason)
	}
	return c, nil
}

// secrets returns a client of Secrets Manager for the secret of a name or ARN. What is none,
// and may be the secret itself, is refused and not quoted.
func (a *app) secrets(ctx context.Context, name string) (*secretsmanager.Client, *fault) {
	if len(name) > 512 || strings.ContainsAny(name, "\n{") {
		return nil, faultf("give its name, as in membercard/merchant; a secret in a file is checked with --file FILE", "that is no name and no ARN of a secret; it looks like the secret itself, so it is not shown")
	}
	c, bad := a.aws(ctx)
	if bad != nil {
		return nil, bad
	}
	return secretsmanager.NewFromConfig(c), nil
}

// awsFault is the fault for an error of Secrets Manager.
func awsFault(err error, action, id string) *fault {
	if isCode(err, "ResourceNotFoundException") {
		return &fault{
			cause:   "Secrets Manager has no secret " + id + " in this region",
			cure:    "list them: aws secretsmanager list-secrets --query 'SecretList[].Name'; or make it with membercard secret … --put " + quote(id),
			missing: true,
		}
	}
	switch refused, ok := errors.AsType[smithy.APIError](err); {
	case ok && refused.ErrorCode() == "InvalidRequestException" && strings.Contains(refused.ErrorMessage(), "delet"):
		return faultf("restore it: aws secretsmanager restore-secret --secret-id "+quote(id), "the secret %s is to be deleted", id)
	case isCode(err, "DecryptionFailure", "EncryptionFailure"):
		return faultf("let whoever runs this use the key (kms:Decrypt; to write, kms:GenerateDataKey), or give the secret the key it had", "Secrets Manager can't use the secret's KMS key: %s", refused.ErrorMessage())
	}
	return apiFault(err, "Secrets Manager", action)
}

// apiFault is the fault for an error of an AWS service. action is what IAM calls the
// operation.
func apiFault(err error, service, action string) *fault {
	refused, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return unreachable(err, service)
	}
	switch code := refused.ErrorCode(); code {
	case "AccessDeniedException", "AccessDenied", "AuthorizationError", "Forbidden":
		return &fault{
			cause:  service + " does not allow it: " + refused.ErrorMessage(),
			cure:   "let whoever runs this do " + action + " on it (see who that is: aws sts get-caller-identity)",
			denied: true,
		}
	case "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException", "SignatureDoesNotMatch", "InvalidClientTokenId", "InvalidAccessKeyId", "ExpiredToken":
		return faultf("log in anew, and see that this works: aws sts get-caller-identity; check this machine's clock too: date -u", "AWS does not accept the credentials (%s)", code)
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return faultf("set the clock: sudo timedatectl set-ntp true", "this machine's clock is wrong: %s answered %s", service, code)
	case "ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown":
		return faultf("run this again in a minute", "%s gets too many requests of this account (%s)", service, code)
	default:
		return faultf("look the code up in the document of "+action, "%s answered %s: %s", service, code, refused.ErrorMessage())
	}
}

// unreachable is the fault for a request that AWS did not answer.
func unreachable(err error, service string) *fault {
	if errors.Is(err, context.Canceled) {
		return interrupted()
	}
	reason := "it did not answer"
	if network, ok := errors.AsType[*url.Error](err); ok {
		reason = network.Err.Error()
	}
	cure := "check the network, the region and AWS_ENDPOINT_URL"
	if strings.Contains(reason, "proxyconnect ") {
		cure = proxyCure
	}
	return faultf(cure, "%s could not be reached: %s", service, reason)
}

// codeOf returns the code of an error of AWS, or "".
func codeOf(err error) string {
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return refused.ErrorCode()
	}
	return ""
}

// isCode reports whether err is an error of AWS with one of the codes.
func isCode(err error, codes ...string) bool { return slices.Contains(codes, codeOf(err)) }

// getSecret returns the text of a secret's current version.
func (a *app) getSecret(ctx context.Context, id string) ([]byte, *fault) {
	out, bad := a.getSecretVersion(ctx, id, stageCurrent)
	if bad != nil {
		return nil, bad
	}
	if out.SecretString != nil {
		return []byte(*out.SecretString), nil
	}
	return out.SecretBinary, nil
}

// The staging labels of a secret's versions.
const (
	stageCurrent  = "AWSCURRENT"
	stagePrevious = "AWSPREVIOUS"
)

// getSecretVersion reads the version of a secret with a staging label.
func (a *app) getSecretVersion(ctx context.Context, id, stage string) (*secretsmanager.GetSecretValueOutput, *fault) {
	client, bad := a.secrets(ctx, id)
	if bad != nil {
		return nil, bad
	}
	defer a.during("reading " + id)()
	out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id, VersionStage: &stage})
	if err != nil {
		bad := awsFault(err, "secretsmanager:GetSecretValue", id)
		if bad.missing && a.local != nil {
			bad.cause = "the local stack has no secret " + id + "; it forgets them when it ends"
			bad.cure = "put it there: membercard secret … --put " + quote(id) + a.where()
		}
		return nil, bad
	}
	return out, nil
}

// moveCurrent makes another version of a secret the current one. Secrets Manager makes
// the current one AWSPREVIOUS.
func (a *app) moveCurrent(ctx context.Context, id string, from, to *secretsmanager.GetSecretValueOutput) *fault {
	client, bad := a.secrets(ctx, id)
	if bad != nil {
		return bad
	}
	defer a.during("changing " + id)()
	_, err := client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &id, VersionStage: aws.String(stageCurrent), MoveToVersionId: to.VersionId, RemoveFromVersionId: from.VersionId,
	})
	switch {
	case isCode(err, "InvalidParameterException"):
		return faultf("see which value is right, and run this again", "somebody else changed the secret in the meantime")
	case err != nil:
		return awsFault(err, "secretsmanager:UpdateSecretVersionStage", id)
	}
	return nil
}

// putSecret makes a text the current version of a secret, which it creates if there is
// none. The version before is kept as AWSPREVIOUS. If the secret has this text already,
// nothing is written. What is of another kind, or can't be read, is replaced only if replace
// is set.
func (a *app) putSecret(ctx context.Context, name, text, kind string, replace bool) (*stored, *fault) {
	client, bad := a.secrets(ctx, name)
	if bad != nil {
		return nil, bad
	}
	defer a.during("storing " + name)()
	now, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	switch {
	case err == nil && aws.ToString(now.SecretString) == text:
		return &stored{ARN: aws.ToString(now.ARN), VersionID: aws.ToString(now.VersionId), Unchanged: true}, nil
	case replace, isCode(err, "ResourceNotFoundException"):
	case err != nil:
		bad := awsFault(err, "secretsmanager:GetSecretValue", name)
		bad.cure += "; --replace writes it without seeing what is there"
		return nil, bad
	case !mayBe(kind, append([]byte(aws.ToString(now.SecretString)), now.SecretBinary...)):
		return nil, faultf("give another name, or replace it with --replace", "%s has something else than a %s", name, kinds[kind].whose)
	}
	put, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &text})
	if err == nil {
		return &stored{ARN: aws.ToString(put.ARN), VersionID: aws.ToString(put.VersionId)}, nil
	}
	if !isCode(err, "ResourceNotFoundException") {
		return nil, awsFault(err, "secretsmanager:PutSecretValue", name)
	}
	made, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &text})
	if err != nil {
		return nil, awsFault(err, "secretsmanager:CreateSecret", name)
	}
	return &stored{ARN: aws.ToString(made.ARN), VersionID: aws.ToString(made.VersionId), Created: true}, nil
}
