package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultLocal is where go run ./local listens.
const defaultLocal = "http://127.0.0.1:8080"

// localFiles writes what WeChat would give a merchant, and says what to do with it.
func (a *app) localFiles(ctx context.Context, dir string) error {
	if a.local == nil {
		a.localURL = defaultLocal
		if err := a.discover(ctx); err != nil {
			return err
		}
	}
	r := &report{}
	files := a.local.Files
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return faultf("name a folder that you may write to", "%s can't be made", dir)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, filepath.Base(name))
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // real files are not replaced
		if err == nil {
			_, err = file.WriteString(files[name])
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			r.fail(name, faultf("name a new folder", "%s can't be written: there is a file of this name, or the folder is not yours", path))
			continue
		}
		r.add(step{Name: name, OK: true, Detail: path})
	}
	in := func(name string) string { return quote(filepath.Join(dir, name)) }
	at := "--local=" + a.localURL
	r.after = []string{"", "these are the sandbox's; with your own, leave out --local:", "",
		"membercard secret merchant --cert " + in("apiclient_cert.pem") + " --key " + in("apiclient_key.pem") + ` \`,
		"    --public-key " + in("pub_key.pem") + " --public-key-id " + strings.TrimSpace(files["pub_key_id.txt"]) + ` \`,
		"    --apiv3-key-file " + in("apiv3_key.txt") + " --put " + a.local.Secrets.Merchant + " " + at,
		fmt.Sprintf("membercard check merchant --secret-id %s %s", a.local.Secrets.Merchant, at),
		fmt.Sprintf("membercard token merchant --card-id pbLatjvWOibDc5-TBnbUk1pD12o0 --secret-id %s %s", a.local.Secrets.Merchant, at),
	}
	return a.print(a.out, r)
}
