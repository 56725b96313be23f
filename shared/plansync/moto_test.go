package plansync

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"membercard/shared/awsconfig"
	"membercard/shared/awsconfig/mototest"
)

// TestAPlanInMoto reads the current version of a plan from an implementation of S3
// that is not this project's.
func TestAPlanInMoto(t *testing.T) {
	mototest.Use(t, "AWS_ENDPOINT_URL_S3")
	client := s3.NewFromConfig(awsconfig.Load(), func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil })
	plan := Object{Client: client, Bucket: "plans-" + strings.ToLower(rand.Text()), Key: "plans/plan.json"}
	bucket, key := &plan.Bucket, &plan.Key
	fails := func(tells string) {
		t.Helper()
		if document, _, err := plan.Read(t.Context(), maxPlan); err == nil || !strings.Contains(err.Error(), tells) {
			t.Errorf("%q, %v, want %s", document, err, tells)
		}
	}
	reads := func(want string) {
		t.Helper()
		if document, _, err := plan.Read(t.Context(), maxPlan); err != nil || string(document) != want {
			t.Errorf("%q, %v, want %q", document, err, want)
		}
	}
	put := func(body string) *string {
		t.Helper()
		out, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		return out.VersionId
	}

	fails("NoSuchBucket")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	var versions []types.ObjectIdentifier
	t.Cleanup(func() {
		ctx := context.Background()
		for _, version := range versions {
			_, _ = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: version.VersionId})
		}
		_, _ = client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
	})
	if _, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	}); err != nil {
		t.Fatal(err)
	}
	fails(ErrNoObject.Error())

	const first = `{"cards":[{"card_id":"p","fields":{}}]}`
	for _, body := range []string{first, `{"cards":[]}`} {
		id := put(body)
		if aws.ToString(id) == "" {
			t.Fatal("the bucket has no versions")
		}
		versions = append(versions, types.ObjectIdentifier{VersionId: id})
		reads(body)
	}
	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: versions[1].VersionId}); err != nil {
		t.Fatal(err)
	}
	reads(first) // the last good version is back

	versions = append(versions, types.ObjectIdentifier{VersionId: put(strings.Repeat(" ", maxPlan+1))})
	fails("4 MiB")
	if out, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key}); err != nil {
		t.Fatal(err)
	} else {
		versions = append(versions, types.ObjectIdentifier{VersionId: out.VersionId})
	}
	fails(ErrNoObject.Error()) // moto's GetObject, unlike AWS's, does not say that it was deleted

	if err := plan.Write(t.Context(), []byte(first)); err != nil {
		t.Error(err)
	}
	reads(first)
	list, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: bucket})
	if err != nil || len(list.Versions) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	versions = append(versions, types.ObjectIdentifier{VersionId: list.Versions[0].VersionId})
}
