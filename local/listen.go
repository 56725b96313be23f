package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// exposed returns the flags whose addresses other machines can reach, such as
// "-addr 0.0.0.0:8080". It skips addresses that can't be resolved; net.Listen reports
// them.
func exposed(o options) (flags []string) {
	for _, f := range []struct{ name, address string }{{"-addr", o.address}, {"-page", o.page}} {
		if address, err := net.ResolveTCPAddr("tcp", f.address); err == nil && !address.IP.IsLoopback() {
			flags = append(flags, f.name+" "+f.address)
		}
	}
	return flags
}

// warn prints a warning if any flags are exposed.
func warn(w io.Writer, exposed []string) {
	if len(exposed) == 0 {
		return
	}
	fmt.Fprintf(w, "\nWARNING: %s: everybody on your network can reach this stack, call it and read the sandboxes' keys and events. 127.0.0.1 keeps it on this machine.\n\n", strings.Join(exposed, ", "))
}

// explainInUse adds to an error of net.Listen what to do if a flag's address is in use.
func explainInUse(err error, flag string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; another stack may run there: %s 127.0.0.1:0 takes a free port", err, flag)
	}
	return err
}
