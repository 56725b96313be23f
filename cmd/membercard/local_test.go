package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLocalFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	o := tool(t, "local", "files", dir, "--json", local)
	o.requirePassed(t)
	o.requireNo(t, private(nil)...)
	in := func(name string) string { return filepath.Join(dir, name) }
	r := tool(t, "secret", "merchant", "--json", "--cert", in("apiclient_cert.pem"), "--key", in("apiclient_key.pem"),
		"--public-key", in("pub_key.pem"), "--public-key-id", string(must(os.ReadFile(in("pub_key_id.txt")))), "--apiv3-key-file", in("apiv3_key.txt"),
		"--put", "membercard/from-files", local).requirePassed(t)
	if r.MchID != "1900000001" {
		t.Errorf("%+v", r)
	}
	tool(t, "check", "merchant", "--json", local, "--secret-id", "membercard/from-files").requirePassed(t)
	if info := must(os.Stat(in("apiclient_key.pem"))); info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v", info.Mode())
	}
	// Files that are there are not replaced.
	tool(t, "local", "files", dir, "--json", local).requireFailed(t, "apiclient_cert.pem", "apiclient_key.pem", "apiv3_key.txt", "pub_key.pem", "pub_key_id.txt")
}
