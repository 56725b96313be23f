package plansync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
)

// timeout limits reading or writing an object, with the SDK's retries.
const timeout = 10 * time.Second

// Names of the objects in the plan's folder in which the syncs keep what they have to
// remember.
const (
	CardSync            = "card-sync.json"
	CardSyncLease       = "card-sync.lease.json"
	ServiceModules      = "service-modules.json"
	ServiceModulesLease = "service-modules.lease.json"
)

// ErrNoObject reports that there is no object with the key, and that none was deleted.
var ErrNoObject = errors.New("there is no such object")

// ErrDeleted reports that an object was deleted.
var ErrDeleted = errors.New("was deleted")

// Object is an object in S3.
type Object struct {
	Client      *s3.Client
	Bucket, Key string
}

// Plan returns the object with the plan, from the environment variables CARD_PLAN_BUCKET
// and CARD_PLAN_KEY.
func Plan() Object {
	return Object{
		// An S3 at a configured endpoint has no hostname for each bucket.
		Client: s3.NewFromConfig(awsconfig.Load(), func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }),
		Bucket: env.Required("CARD_PLAN_BUCKET"),
		Key:    env.Checked("CARD_PLAN_KEY", checkPlanKey),
	}
}

func checkPlanKey(key string) error {
	if _, name := path.Split(key); slices.Contains([]string{CardSync, CardSyncLease, ServiceModules, ServiceModulesLease}, name) {
		return fmt.Errorf("%s is where a sync keeps what it remembers, and can't be the plan", name)
	}
	return nil
}

// Beside returns an object in the same folder.
func (o Object) Beside(name string) Object {
	folder, _ := path.Split(o.Key)
	o.Key = folder + name
	return o
}

// ReadIfAny is [Object.Read], but returns nil and no ETag if there is no object.
func (o Object) ReadIfAny(ctx context.Context, max int) (content []byte, tag string, err error) {
	content, tag, err = o.Read(ctx, max)
	if errors.Is(err, ErrNoObject) || errors.Is(err, ErrDeleted) {
		return nil, "", nil
	}
	return content, tag, err
}

// Read returns the object's current version, of at most max bytes, a multiple of 1 MiB, and
// its ETag. The error is [ErrNoObject] if there is no object, unless one was deleted. S3 says
// so only to who may list the bucket (s3:ListBucket).
func (o Object) Read(ctx context.Context, max int) (content []byte, tag string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, err := o.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		return nil, "", o.failure(err)
	}
	defer out.Body.Close()
	content, err = io.ReadAll(io.LimitReader(out.Body, int64(max)+1))
	if err != nil {
		return nil, "", errors.New("the connection to S3 broke")
	}
	if len(content) > max {
		return nil, "", fmt.Errorf("it is larger than %d MiB", max>>20)
	}
	return content, aws.ToString(out.ETag), nil
}

// isChanged reports whether the object's current version has another ETag than tag. Where
// that can't be read, or there are no ETags, it has not changed.
func (o Object) isChanged(ctx context.Context, tag string) bool {
	if tag == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, err := o.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key, IfNoneMatch: &tag})
	if err != nil {
		return false // 304 too
	}
	out.Body.Close()
	// What is compatible with S3 may answer a condition as if there was none.
	return aws.ToString(out.ETag) != "" && *out.ETag != tag
}

// Write makes content the object's current version.
func (o Object) Write(ctx context.Context, content []byte) error {
	_, err := o.put(ctx, &s3.PutObjectInput{Body: bytes.NewReader(content)})
	return err
}

// ErrChanged reports that somebody else wrote an object.
var ErrChanged = errors.New("was written by somebody else")

// WriteIf is [Object.Write], but fails with [ErrChanged] unless the current version has the
// given ETag, or there is none if tag is "". It returns the ETag of the new version.
func (o Object) WriteIf(ctx context.Context, content []byte, tag string) (newTag string, err error) {
	input := &s3.PutObjectInput{Body: bytes.NewReader(content), IfMatch: &tag}
	if tag == "" {
		input.IfMatch, input.IfNoneMatch = nil, aws.String("*")
	}
	return o.put(ctx, input)
}

func (o Object) put(ctx context.Context, input *s3.PutObjectInput) (tag string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	input.Bucket, input.Key, input.ContentType = &o.Bucket, &o.Key, aws.String("application/json")
	out, err := o.Client.PutObject(ctx, input)
	if err != nil {
		return "", o.failure(err)
	}
	return aws.ToString(out.ETag), nil
}

func (o Object) failure(err error) error {
	if _, ok := errors.AsType[*types.NoSuchKey](err); ok {
		if answer, ok := errors.AsType[*awshttp.ResponseError](err); !ok || answer.Response.Header.Get("X-Amz-Delete-Marker") != "true" {
			return ErrNoObject
		}
		return fmt.Errorf("%s in %s %w", o.Key, o.Bucket, ErrDeleted)
	}
	// S3 answers If-Match with NoSuchKey if the object was deleted.
	if refused, ok := errors.AsType[smithy.APIError](err); ok && slices.Contains([]string{"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"}, refused.ErrorCode()) {
		return fmt.Errorf("%s in %s %w", o.Key, o.Bucket, ErrChanged)
	}
	return fmt.Errorf("%s in %s: %w", o.Key, o.Bucket, awsconfig.Failure("S3", err))
}
