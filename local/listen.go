package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// exposed returns the flags, with their addresses, that let other machines reach the
// stack. What can't be resolved is left to net.Listen.
func exposed(o options) (flags []string) {
	for _, f := range []struct{ name, address string }{{"-addr", o.address}, {"-page", o.page}} {
		if address, err := net.ResolveTCPAddr("tcp", f.address); err == nil && !address.IP.IsLoopback() {
			flags = append(flags, f.name+" "+f.address)
		}
	}
	return flags
}

// warn warns of what other machines may reach.
func warn(w io.Writer, exposed []string) {
	if len(exposed) == 0 {
		return
	}
	fmt.Fprintf(w, "\nWARNING: %s: everybody on your network can reach this stack, call it and read the sandboxes' keys and events. 127.0.0.1 keeps it on this machine.\n\n", strings.Join(exposed, ", "))
}

// taken adds to an error of net.Listen what to do if the address of a flag is in use.
func taken(err error, flag string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; another stack may run there: %s 127.0.0.1:0 takes a free port", err, flag)
	}
	return err
}
