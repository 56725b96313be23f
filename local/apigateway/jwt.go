package apigateway

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/golang-jwt/jwt/v5"
)

// An Issuer signs JWTs with RS256 and its own key.
type Issuer struct {
	url   string
	keyID string
	key   *rsa.PrivateKey
}

// NewIssuer returns an issuer with a new key. The URL is only a name; nothing is served
// there.
func NewIssuer(url string) *Issuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // cannot happen with this key size
	}
	return &Issuer{url, rand.Text(), key}
}

// Sign returns a token with the given claims. The claim iss defaults to the issuer's URL.
// Sign panics if the claims can't be encoded as JSON.
func (i *Issuer) Sign(claims map[string]any) string {
	all := jwt.MapClaims{"iss": i.url}
	maps.Copy(all, claims)
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, all)
	token.Header["kid"] = i.keyID
	signed, err := token.SignedString(i.key)
	if err != nil {
		panic(err)
	}
	return signed
}

// JWT returns an authorizer that verifies the token in the named header, which may begin
// with "Bearer ". The token must be signed by keys, and its iss and aud must be issuer and
// one of audience. Its exp is required and must be in the future. Its nbf and iat are
// optional and must be in the past.
func JWT(header, issuer string, audience []string, keys *Issuer) Authorizer {
	return &jwtAuthorizer{header, keys, jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithStrictDecoding(), jwt.WithJSONNumber(),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience...), jwt.WithExpirationRequired(), jwt.WithIssuedAt())}
}

type jwtAuthorizer struct {
	header string
	keys   *Issuer
	parser *jwt.Parser
}

func (a *jwtAuthorizer) authorize(r *http.Request, _ []byte, _ *events.APIGatewayV2HTTPRequest) (*caller, int) {
	token := r.Header.Get(a.header)
	if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "Bearer") {
		token = rest
	}
	claims := jwt.MapClaims{}
	_, err := a.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		if t.Header["kid"] != a.keys.keyID {
			return nil, errors.New("unknown key")
		}
		return &a.keys.key.PublicKey, nil
	})
	if err != nil {
		return nil, http.StatusUnauthorized
	}
	texts := make(map[string]string, len(claims))
	for name, value := range claims {
		texts[name] = fmt.Sprint(value) // a list as [a b]
	}
	return &caller{JWT: &events.APIGatewayV2HTTPRequestContextAuthorizerJWTDescription{Claims: texts}}, 0
}
