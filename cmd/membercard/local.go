package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"membercard/local/discovery"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
)

// discover asks the local stack where its parts are, and trusts the authorities of
// its sandboxes. It fails if the stack does not prove that it is this user's.
func (a *app) discover(ctx context.Context) error {
	const cure = "start it with: go run ./local; if it listens elsewhere, name that address with --local=URL"
	if !strings.Contains(a.localURL, "://") {
		a.localURL = "http://" + a.localURL // as -addr of go run ./local has it
	}
	if _, err := url.Parse(a.localURL); err != nil {
		return usagef("--local: %q is not a URL", a.localURL)
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found, err := discovery.Find(within, a.localURL)
	switch {
	case ctx.Err() != nil:
		return interrupted()
	case errors.Is(err, discovery.ErrNoAnswer):
		if running := discovery.Running(within); len(running) > 0 {
			return faultf("name the one that runs: --local="+strings.Join(running, " or --local="), "there is no local stack at %s", a.localURL)
		}
		return faultf(cure, "there is no local stack at %s", a.localURL)
	case errors.Is(err, discovery.ErrNotLoopback):
		return faultf("name a stack that runs on this machine; keys are not sent to another", "%s can't be used by --local: %v", a.localURL, err)
	case errors.Is(err, discovery.ErrNotProved):
		return faultf("see what listens there; start the stack of this version as the same user, and name its own address", "%s can't be trusted with keys: %v", a.localURL, err)
	case err != nil:
		return faultf(cure, "what answers at %s is not a local stack with sandboxes (one that calls the real WeChat is not used by --local)", a.localURL)
	}
	a.local = found
	return a.trust(found.CA)
}

// trust adds authorities to the root certificates of this process. It must be called
// before the first TLS connection, when they are read.
func (a *app) trust(authorities string) error {
	const cure = "make room there, or name another folder with TMPDIR"
	file, err := os.CreateTemp("", "membercard-ca-*.pem")
	if err != nil {
		return faultf(cure, "no temporary file can be made: %v", err)
	}
	a.authorities = file.Name()
	defer file.Close()
	if _, err := file.WriteString(authorities); err != nil {
		return faultf(cure, "a temporary file can't be written: %v", err)
	}
	return os.Setenv("SSL_CERT_FILE", file.Name())
}

// postLocal makes a request to the local stack, at a path of package discovery.
func (a *app) postLocal(ctx context.Context, path string, body []byte) (status int, answer []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.local.API+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := discovery.Client().Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return response.StatusCode, answer, err
}

// defaultLocal is where go run ./local listens.
const defaultLocal = "http://127.0.0.1:8080"

// needLocal finds the local stack for a command that is for nothing else.
func (a *app) needLocal(ctx context.Context) error {
	if a.local != nil {
		return nil
	}
	a.localURL = defaultLocal
	return a.discover(ctx)
}

// localFiles writes what WeChat would give a merchant, and says what to do with it.
func (a *app) localFiles(ctx context.Context, r *report, dir string) error {
	if err := a.needLocal(ctx); err != nil {
		return err
	}
	files := a.local.Files
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return faultf("name a folder that you may write to", "%s can't be made", dir)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		r.create(name, filepath.Join(dir, filepath.Base(name)), files[name])
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	r.after = append([]string{"", "these are the sandbox's; with your own, leave out --local, or make them known to the sandbox first (membercard local enrol --help):"},
		a.tokenCommands(a.local.Secrets.Merchant, in("apiclient_cert.pem"), in("apiclient_key.pem"),
			"--public-key "+quote(in("pub_key.pem"))+" --public-key-id "+strings.TrimSpace(files["pub_key_id.txt"]), in("apiv3_key.txt"))...)
	return nil
}

// Where local enrol writes the sandbox's public key and its ID. The names are not those
// of WeChat Pay's files, so nothing of the merchant's is replaced.
const (
	sandboxKey   = "sandbox_pub_key.pem"
	sandboxKeyID = "sandbox_pub_key_id.txt"

	useSandbox = "--public-key " + sandboxKey + ` --public-key-id "$(cat ` + sandboxKeyID + `)"`
)

func (a *app) localEnrol() *cobra.Command {
	var files merchantFiles
	cmd := a.reporting("enrol", a.text("Make your own merchant known to the sandbox of WeChat Pay", "在微信支付的沙箱中登记自己的商户"), func(ctx context.Context, r *report) error {
		if err := a.needLocal(ctx); err != nil {
			return err
		}
		certificate, apiv3Key := r.certificate(files.cert, time.Now()), a.apiv3Key(ctx, r, files.apiv3Key)
		if apiv3Key == "" && r.failed() == 0 {
			r.fail("enrolled", faultf("--apiv3-key-file FILE; for the sandbox, any 32 letters and digits will do", "the sandbox encrypts with the APIv3 key, and none was given"))
		}
		if r.failed() == 0 {
			merchant := discovery.Merchant{Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})), APIv3Key: apiv3Key}
			if err := a.enrol(ctx, merchant); err != nil {
				r.fail("enrolled", asFault(err))
				return nil
			}
			r.MchID, r.CertificateSerialNo = certificate.Subject.CommonName, serialOf(certificate)
			r.add(step{Name: "enrolled", OK: true, Detail: "the sandbox knows merchant " + r.MchID + " until it ends; its own public key is in " + sandboxKey})
			r.after = append([]string{"", "next:"},
				a.tokenCommands("membercard/own", files.cert, filepath.Join(filepath.Dir(files.cert), "apiclient_key.pem"), useSandbox, files.apiv3Key)...)
		}
		return nil
	})
	cmd.Long = a.text(`Make your own merchant known to the sandbox of WeChat Pay in the local stack, by its
certificate and APIv3 key. Both stay on this machine; the private key is not asked for.

As the merchant platform does, the sandbox hands out its public key and the key's ID:
into `+sandboxKey+` and `+sandboxKeyID+` in this folder. They stand in for
pub_key.pem, whose private key only WeChat Pay has. Enrol again if go run ./local was
started anew.`,
		`把自己的商户登记到本机环境的微信支付沙箱，需要商户API证书和 APIv3密钥。
两者都不离开本机，也不需要私钥。

与商户平台一样，沙箱会提供公钥和公钥ID：写入当前文件夹的
`+sandboxKey+` 和 `+sandboxKeyID+`，代替 pub_key.pem，因为它对应的私钥
只有微信支付持有。go run ./local 重新启动后需要重新登记。`)
	cmd.Example = "  membercard local enrol --cert apiclient_cert.pem --apiv3-key-file apiv3_key.txt --local"
	cmd.Flags().StringVar(&files.cert, "cert", "", a.text("`FILE` with the merchant API certificate, apiclient_cert.pem", "商户API证书文件（`FILE`），即 apiclient_cert.pem"))
	cmd.Flags().StringVar(&files.apiv3Key, "apiv3-key-file", "", a.text("`FILE` with the APIv3 key; on a terminal it is asked for", "APIv3密钥文件（`FILE`）；在终端上会提示输入"))
	require(cmd, "cert")
	_ = cmd.MarkFlagFilename("cert", "pem") // there is such a flag
	return cmd
}

// enrol makes a merchant known to the sandbox, and writes the public key that it hands
// out.
func (a *app) enrol(ctx context.Context, merchant discovery.Merchant) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	status, text, err := a.postLocal(ctx, discovery.EnrolPath, strictjson.Encode(merchant))
	if err != nil {
		return faultf("start it anew: go run ./local", "the local stack does not answer any more")
	}
	var answer discovery.Enrolled
	switch err := json.Unmarshal(text, &answer); {
	case answer.Error != "":
		return faultf("give the apiclient_cert.pem and the APIv3 key of one merchant", "the sandbox refused it: %s", answer.Error)
	case err != nil || status != http.StatusOK || answer.PublicKey == "":
		return faultf("start it anew from this version: go run ./local", "the local stack can't enrol merchants; it answered %d", status)
	}
	for name, content := range map[string]string{sandboxKey: answer.PublicKey, sandboxKeyID: answer.PublicKeyID + "\n"} {
		if err := overwrite(name, content); err != nil {
			return faultf("go to a folder that you may write to", "%s can't be written to this folder", name)
		}
	}
	return nil
}

// overwrite replaces a file by one that only its user can read. A link of this name is
// replaced, too, and not followed.
func overwrite(name, content string) error {
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(file.Name()))
	}
	return err
}

// tokenCommands are the commands that lead from files to a token, with a secret of a name.
// publicKey has the flags of WeChat Pay's public key; the APIv3 key may have no file.
func (a *app) tokenCommands(name, cert, key, publicKey, apiv3Key string) []string {
	at := name + " --local=" + a.localURL
	put := "    --put " + at
	if apiv3Key != "" {
		put = "    --apiv3-key-file " + quote(apiv3Key) + " --put " + at
	}
	return []string{"",
		"membercard secret merchant --cert " + quote(cert) + " --key " + quote(key) + ` \`,
		"    " + publicKey + ` \`,
		put,
		"membercard check merchant --secret-id " + at,
		"membercard token merchant --card-id pbLatjvWOibDc5-TBnbUk1pD12o0 --secret-id " + at,
	}
}

// sandboxSigns checks that a secret for the local stack has the sandbox's public key.
func (a *app) sandboxSigns(r *report, secret *signing.MerchantSecret) {
	const name = "the sandbox signs with this public key"
	files := a.local.Files
	id := strings.TrimSpace(files["pub_key_id.txt"])
	switch {
	case !samePublicKey(secret.PublicKey, files["pub_key.pem"]):
		r.fail(name, faultf("enrol your merchant ("+a.enrolment()+"), and give what that writes: "+useSandbox,
			"it is another public key than the sandbox's: with --local the sandbox signs, and it has no private key but its own"))
	case secret.PublicKeyID != id:
		r.fail(name, faultf("--public-key-id "+id, "the public key is the sandbox's, but the ID is another key's"))
	default:
		r.add(step{Name: name, OK: true})
	}
}

func samePublicKey(one, other string) bool {
	a, _ := pem.Decode([]byte(one))
	b, _ := pem.Decode([]byte(other))
	return a != nil && b != nil && bytes.Equal(a.Bytes, b.Bytes)
}
