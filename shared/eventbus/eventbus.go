// Package eventbus has what is common to all events on the stack's EventBridge bus.
package eventbus

// Source is the Source of the events that card-events puts on the bus. Messages with
// another source are not ours.
const Source = "membercard"
