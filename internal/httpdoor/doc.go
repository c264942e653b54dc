// Package httpdoor lets programs that speak HTTP and JSON call cells: a POST is a call, as Connect's unary protocol has it,
// and what a method streams comes as server-sent events or over a WebSocket; docs/http.md is the contract. It reaches the
// cells that it is told of and nothing else, and knows nothing of celld: who makes a Door says how a cell is connected to.
package httpdoor
