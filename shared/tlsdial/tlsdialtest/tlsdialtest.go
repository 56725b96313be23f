// Package tlsdialtest is for tests that call TLS servers of httptest.
package tlsdialtest

import (
	"encoding/pem"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Nowhere is an endpoint that refuses connections. The port of a server that was closed would
// not always do so: the next server of any process may get it.
const Nowhere = "https://127.0.0.1:1"

// Main is for TestMain: it runs the tests in a process that trusts the servers of
// httptest. The variables are read at the first handshake.
func Main(m *testing.M) {
	Parallel(8)
	dir, err := os.MkdirTemp("", "roots")
	if err != nil {
		log.Fatal(err)
	}
	s := httptest.NewTLSServer(nil)
	s.Close()
	file := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		log.Fatal(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	os.Setenv("SSL_CERT_DIR", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Parallel has n parallel tests run at a time on any machine, because they mostly wait. If
// "go test" is given another number, that is taken. It is for TestMain.
func Parallel(n int) {
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(strconv.Itoa(n)); err != nil {
			panic(err)
		}
	}
}

// Start starts a TLS server that runs until the test ends. It does not log what
// clients do to their connections.
func Start(t testing.TB, handler http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}
