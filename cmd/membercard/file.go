package main

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// maxFile is more than any of these files has: 64 KiB.
const maxFile = 64 << 10

// A kind is what is in a file.
type kind string

const (
	aCertificate   kind = "a certificate"
	aKey           kind = "a private key"
	anEncryptedKey kind = "a private key with a passphrase"
	aPublicKey     kind = "a public key"
	aRequest       kind = "a certificate request"
	anOpenSSHKey   kind = "a key of OpenSSH"
	aP12           kind = "a PKCS#12 archive (.p12)"
	aDER           kind = "binary (DER)"
	aBrokenPEM     kind = "a damaged PEM file"
	aSecret        kind = "a JSON object"
	aText          kind = "no PEM file"
)

// file is one of WeChat's files, and what is in it.
type file struct {
	path  string
	kind  kind
	text  []byte
	notes []string // what was mended

	certificates []*x509.Certificate
	key          any // *rsa.PrivateKey, or another key
	publicKey    any // *rsa.PublicKey, or another key
	der          kind
}

// load reads one of WeChat's files and finds out what is in it. A byte order mark and
// Windows line breaks are mended. It fails if there is nothing, and the file is empty then.
func load(path string) (*file, *fault) {
	raw, bad := readUpTo(path, maxFile)
	if bad != nil {
		return &file{}, bad
	}
	f := inspect(path, raw)
	if len(bytes.TrimSpace(f.text)) == 0 {
		bad = empty(path)
	}
	return f, bad
}

// inspect finds out what is in the text of a file.
func inspect(path string, raw []byte) *file {
	f := &file{path: path}
	f.text, f.notes = mend(raw)
	f.recognize()
	return f
}

// isContent reports whether what was given for a name looks like a key, a secret or other
// content of a file. Then it must not be printed.
func isContent(name string) bool {
	const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	isKey := len(name) == 32 && strings.Trim(name, alphanumeric) == "" // of APIv3 or APIv2, or an AppSecret
	return isKey || len(name) > 512 || strings.ContainsAny(name, "\n{") || strings.Contains(name, "-----BEGIN")
}

func empty(path string) *fault {
	return faultf("copy it anew from where it was saved first", "%s is empty", path)
}

// readUpTo reads a file of at most so many bytes, which must not be empty.
func readUpTo(path string, most int64) (text []byte, f *fault) {
	info, err := os.Stat(path)
	if err != nil && isContent(path) {
		return nil, faultf("save it in a file that only you can read, and give the file's name; it may be in your shell's history now", "a file is wanted, and there is none of this name; it looks like the content of one, so it is not shown")
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, faultf("check the path; in this folder: ls "+quote(filepath.Dir(path)), "there is no file %s", path)
	case err == nil && info.IsDir():
		return nil, faultf("name the file in it: ls "+quote(path), "%s is a folder, not a file", path)
	case err == nil && info.Size() > most:
		return nil, faultf("check that it is the right file", "%s has %d KiB; at most %d are expected", path, info.Size()>>10, most>>10)
	}
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, faultf("let yourself read it: chmod u+r "+quote(path), "%s can't be read", path)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, empty(path)
	}
	return text, nil
}

// What mend mends.
const (
	noteBOM     = "a byte order mark was left out"
	noteUTF16   = "UTF-16 was converted to UTF-8"
	noteCRLF    = "Windows line breaks (CRLF) were replaced"
	noteEscaped = `"\n" was replaced by line breaks`
)

// mend undoes what editors do to text files.
func mend(text []byte) (mended []byte, notes []string) {
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		text, notes = text[3:], append(notes, noteBOM)
	case isUTF16(text):
		var order binary.ByteOrder = binary.LittleEndian
		if text[0] == 0xfe || text[0] == 0 {
			order = binary.BigEndian
		}
		units := make([]uint16, len(text)/2)
		_, _ = binary.Decode(text, order, units) // they fit
		text = []byte(strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff"))
		notes = append(notes, noteUTF16)
	}
	if bytes.HasPrefix(text, []byte{0x30}) && !isText(text) {
		return text, notes // DER, which has no line breaks
	}
	if bytes.ContainsRune(text, '\r') {
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
		notes = append(notes, noteCRLF)
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")) && !bytes.Contains(bytes.TrimSpace(text), []byte("\n")) && bytes.Contains(text, []byte(`\n`)) {
		text, notes = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n")), append(notes, noteEscaped)
	}
	return text, notes
}

// isUTF16 reports whether a text begins with a byte-order mark of UTF-16 or, as editors
// write it without one, with an ASCII character in two bytes.
func isUTF16(text []byte) bool {
	if len(text) == 0 || len(text)%2 != 0 {
		return false
	}
	return text[0] == 0xff && text[1] == 0xfe || text[0] == 0xfe && text[1] == 0xff || (text[0] == 0) != (text[1] == 0)
}

func isText(b []byte) bool {
	return !bytes.ContainsFunc(b, func(c rune) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0xfffd })
}

// recognize sets what is in the file.
func (f *file) recognize() {
	rest := f.text
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		f.take(block)
	}
	if f.kind != "" {
		return
	}
	trimmed := bytes.TrimSpace(f.text)
	if len(trimmed) == 0 { // a key in a secret may be a byte order mark and nothing else
		f.kind = aText
		return
	}
	switch extension := strings.ToLower(filepath.Ext(f.path)); {
	case bytes.HasPrefix(trimmed, []byte("{")):
		f.kind = aSecret
	case bytes.Contains(f.text, []byte("-----BEGIN")):
		f.kind = aBrokenPEM
	case isP12(f.text), f.text[0] == 0x30 && (extension == ".p12" || extension == ".pfx"):
		f.kind = aP12
	case f.text[0] == 0x30 && !isText(f.text):
		f.kind, f.der = aDER, derKind(f.text)
	default:
		f.kind = aText
	}
}

// take takes one block of a PEM file, which may have a certificate and its key in either
// order. What comes first names the file, unless its key has a passphrase.
func (f *file) take(block *pem.Block) {
	found := aBrokenPEM
	switch block.Type {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			f.certificates, found = append(f.certificates, c), aCertificate
		}
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		found = aRequest
	case "ENCRYPTED PRIVATE KEY":
		found = anEncryptedKey
	case "OPENSSH PRIVATE KEY":
		found = anOpenSSHKey
	case "PRIVATE KEY":
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			f.key, found = key, aKey
		}
	case "RSA PRIVATE KEY":
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			found = anEncryptedKey
		} else if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			f.key, found = key, aKey
			f.notes = append(f.notes, "the key is stored as PKCS#8; the file has PKCS#1")
		}
	case "EC PRIVATE KEY":
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			f.key, found = key, aKey
		}
	case "PUBLIC KEY":
		if key, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			f.publicKey, found = key, aPublicKey
		}
	case "RSA PUBLIC KEY":
		if key, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
			f.publicKey, found = key, aPublicKey
			f.notes = append(f.notes, "the public key is stored as PKIX; the file has PKCS#1")
		}
	case "EC PARAMETERS":
		return
	}
	if f.kind == "" || f.kind == aBrokenPEM || found == anEncryptedKey {
		f.kind = found
	}
}

// isP12 reports whether this is PKCS#12 (RFC 7292): a sequence that begins with
// version 3 and a content type of PKCS#7.
func isP12(der []byte) bool {
	var pfx struct {
		Version  int
		AuthSafe struct {
			ContentType asn1.ObjectIdentifier
			Content     asn1.RawValue `asn1:"optional"`
		}
		MacData asn1.RawValue `asn1:"optional"`
	}
	_, err := asn1.Unmarshal(der, &pfx)
	return err == nil && pfx.Version == 3
}

// derKind returns what is in a DER file.
func derKind(der []byte) kind {
	if _, err := x509.ParseCertificate(der); err == nil {
		return aCertificate
	}
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return aKey
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return aKey
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return aPublicKey
	}
	return ""
}

// wrong is the fault of a file with something else in it than what is wanted.
func (f *file) wrong(wanted kind, name string) *fault {
	path, fresh := quote(f.path), "copy "+name+" anew from where WeChat's tool or page saved it"
	cause := fmt.Sprintf("%s is %s; %s (%s) is wanted", f.path, f.kind, wanted, name)
	switch {
	case f.kind == aP12 && wanted == aCertificate:
		return faultf("openssl pkcs12 -legacy -in "+path+" -clcerts -nokeys -out apiclient_cert.pem   (the password is the mchid)", "%s", cause)
	case f.kind == aP12 && wanted == aKey:
		return faultf("openssl pkcs12 -legacy -in "+path+" -nocerts -nodes -out apiclient_key.pem   (the password is the mchid)", "%s", cause)
	case f.kind == aDER && f.der == wanted:
		command := map[kind]string{aCertificate: "x509 -inform der", aKey: "pkey -inform der", aPublicKey: "pkey -pubin -inform der"}[wanted]
		return faultf("openssl "+command+" -in "+path+" -out "+name, "%s is in binary form (DER); PEM is wanted", f.path)
	case f.kind == aDER && f.der != "":
		return faultf("give "+name, "%s is %s in binary form (DER); %s (%s) is wanted", f.path, f.der, wanted, name)
	case f.kind == anEncryptedKey && wanted == aKey:
		return faultf("openssl pkey -in "+path+" -out apiclient_key.plain.pem   (it asks for the passphrase), then --key apiclient_key.plain.pem", "%s has a passphrase, which the functions could not enter", f.path)
	case f.kind == aBrokenPEM:
		return faultf(fresh, "%s is damaged: the text between its BEGIN and END lines is cut, or lost its line breaks", f.path)
	case f.kind == aRequest && wanted == aCertificate:
		return faultf("give apiclient_cert.pem, which WeChat made from the request", "%s", cause)
	case f.kind == aCertificate && wanted == aKey, f.kind == anEncryptedKey && wanted == aCertificate, f.kind == aKey && wanted == aCertificate:
		return faultf("check that --cert has apiclient_cert.pem and --key has apiclient_key.pem: they may be swapped", "%s", cause)
	case f.kind == aSecret:
		return faultf("give WeChat's file; to check a finished secret: membercard check merchant --file "+path, "%s is a JSON object, maybe a finished secret; %s (%s) is wanted", f.path, wanted, name)
	}
	return faultf("give "+name, "%s", cause)
}

// rsaKey returns the private key of a file, which must be RSA of 2048 bits or more.
func (f *file) rsaKey(name string) (*rsa.PrivateKey, *fault) {
	key, ok := f.key.(*rsa.PrivateKey)
	switch {
	case f.key == nil:
		return nil, f.wrong(aKey, name)
	case !ok:
		return nil, faultf("give apiclient_key.pem, which belongs to apiclient_cert.pem", "%s is not an RSA key, which WeChat Pay's are", f.path)
	case key.N.BitLen() < 2048:
		return nil, faultf(renew, "%s has %d bits; WeChat Pay's keys have 2048", f.path, key.N.BitLen())
	}
	return key, nil
}
