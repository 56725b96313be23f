// Package faults has tests that run the functions' binaries in the local stack while
// something around them fails, and check what callers get meanwhile and afterwards.
//
//	go test ./faults                           seconds for each fault; counts and codes are checked, not times
//	go test ./faults -long -timeout 1h         by hand, on a machine with nothing else to do
//	go test -race ./faults                     with the race detector in the functions as well
//
// A row of the table in scenarios_test.go is a load, a timeline of faults, and the errors
// that callers may get. The rules for all rows are in rules_test.go.
package faults
