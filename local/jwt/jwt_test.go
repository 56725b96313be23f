package jwt

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	i := NewIssuer("https://a")
	before := time.Now().Unix()
	claims, err := Verify(i.Token("app", "alice", time.Hour), i.Keys())
	if err != nil {
		t.Fatal(err)
	}
	iat, err := claims["iat"].(json.Number).Int64()
	if err != nil || iat < before || iat > time.Now().Unix() {
		t.Errorf("iat is %v (%v), want now", claims["iat"], err)
	}
	exp, err := claims["exp"].(json.Number).Int64()
	if err != nil || exp != iat+3600 && exp != iat+3601 {
		t.Errorf("exp is %v (%v), want an hour from %d", claims["exp"], err, iat)
	}
	delete(claims, "iat")
	delete(claims, "exp")
	if want := map[string]any{"iss": i.URL(), "aud": "app", "sub": "alice"}; !reflect.DeepEqual(claims, want) {
		t.Errorf("claims are %v, want %v", claims, want)
	}
}

func TestVerify(t *testing.T) {
	i, other := NewIssuer("https://a"), NewIssuer("https://b")
	token := i.Sign(map[string]any{"sub": "alice"})
	parts := strings.Split(token, ".")
	signed := func(header, payload string) string {
		text := encode([]byte(header)) + "." + encode([]byte(payload))
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + encode(signature)
	}
	head := func(algorithm string) string { return `{"alg":"` + algorithm + `","kid":"` + i.keyID + `"}` }
	both := i.Keys()
	maps.Copy(both, other.Keys())
	tests := []struct {
		name, token string
		keys        Keys
		err         string // empty: good
	}{
		{"good", token, i.Keys(), ""},
		{"one of two keys", token, both, ""},
		{"without type", signed(head("RS256"), `{}`), both, ""},
		{"empty", "", both, "the token does not have three parts"},
		{"two parts", parts[0] + "." + parts[1], both, "the token does not have three parts"},
		{"four parts", token + ".", both, "the token does not have three parts"},
		{"padded", token + "=", both, "the token is not base64url"},
		{"not base64url", parts[0] + ".+/." + parts[2], both, "the token is not base64url"},
		{"no header", "." + parts[1] + "." + parts[2], both, "the token's header is not JSON of the expected form"},
		{"unsigned", signed(head("none"), `{}`), both, "signing method none is invalid"},
		{"no signature", parts[0] + "." + parts[1] + ".", both, "the token's signature is invalid"},
		{"another algorithm", signed(head("HS256"), `{}`), both, "signing method HS256 is invalid"},
		{"another key", token, other.Keys(), "the token is signed with an unknown key"},
		{"no keys", token, nil, "the token is signed with an unknown key"},
		{"another key of the ID", token, Keys{i.keyID: &other.key.PublicKey}, "the token's signature is invalid"},
		{"other claims", parts[0] + "." + encode([]byte(`{"sub":"bob"}`)) + "." + parts[2], both, "the token's signature is invalid"},
		{"claims are no object", signed(head("RS256"), `[]`), both, "the token's claims are not a JSON object"},
		{"claims are null", signed(head("RS256"), `null`), both, "the token's claims are not a JSON object"},
		{"two claims", signed(head("RS256"), `{}{}`), both, "the token's claims are not a JSON object"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Verify(test.token, test.keys)
			if test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}
