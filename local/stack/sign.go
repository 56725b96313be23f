package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Sign signs a request for a route of the API that requires AWS_IAM. It does not change the
// request's URL; the SDK's signer would encode the query again.
func Sign(r *http.Request, body []byte) error {
	identity := aws.Credentials{AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, SessionToken: SessionToken}
	hash := sha256.Sum256(body)
	signed := r.Clone(r.Context())
	if err := v4.NewSigner().SignHTTP(r.Context(), identity, signed, hex.EncodeToString(hash[:]), "execute-api", Region, time.Now()); err != nil {
		return err
	}
	r.Header = signed.Header
	return nil
}
