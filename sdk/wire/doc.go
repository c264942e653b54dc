// Package wire carries calls between cells over one stream connection, usually a Unix socket. A Server answers calls, a
// Conn makes them; many calls are under way on one connection at once and are answered in any order.
//
// # Frames
//
// All integers of frames are little-endian. A frame is a header of 16 bytes and as many bytes as the header says:
//
//	offset  size  field
//	0       4     length of what follows the header, at most 16 MiB
//	4       1     type
//	5       1     flags
//	6       2     reserved, 0
//	8       8     call id
//
//	type  name       from    what follows the header
//	1     HELLO      client  greeting; the first frame of a connection
//	2     HELLO_ACK  server  greeting
//	3     CALL       client  extension of 48 bytes, then the request
//	4     RESULT     server  result
//	5     ERROR      server  error
//	6     CANCEL     client  nothing
//	7     PING       both    at most 64 bytes, which the PONG brings back
//	8     PONG       both    the bytes of the PING
//	9     GOAWAY     server  the last call
//	10    DATA       both    one item of a call
//	11    END        client  nothing: the client's items of the call have ended
//	12    CREDIT     both    4 bytes: how many bytes of items more the receiver may send for the call
//	13    INTRODUCTION client who calls, signed by celld; at most 4 KiB
//	14    SPAN       client  the caller's span; ahead of the CALL with its id, 9 to 64 bytes
//
//	flag  name         meaning
//	1     ignorable    who does not know the type skips the frame; without the flag an unknown type ends the connection
//	2     not executed on an ERROR: the call did not run and may be made again elsewhere
//
// Flags that a receiver does not know mean nothing to it. Call ids are chosen by the client, start above 0 and rise with
// every call of a connection. Frames about no call have the id 0.
//
// # INTRODUCTION
//
// celld connects, writes an introduction as the first frame, before any HELLO, and hands the connection over: it says what
// the kernel says of the caller. A later one, which the caller asks celld for and sends itself, takes its place. It has the
// flag 1; package broker has its form. A server that does not accept it sends a GOAWAY with the code 5.
//
// # SPAN
//
// Where in the trace of its CALL the caller is: 8 bytes parent id and 1 byte flags of a W3C traceparent; further bytes mean nothing yet.
// It has the flag 1. One whose CALL does not come next means nothing.
//
// # CALL
//
// The extension stands between the header and the request; the header's length counts it. Header and extension are 64
// bytes together.
//
//	offset  size  field
//	0       4     method id; 0 is built in and answers the genome as JSON
//	4       4     flags
//	8       8     relative timeout in nanoseconds, 0 for none
//	16      16    trace id, 0 for none
//	32      8     the first 16 hexadecimal digits of the hash of the schema the caller was built with, as a number; 0 when not told
//	40      4     token slot, 0 today
//	44      4     attempt, 0 for the first
//
//	bits of the flags  meaning
//	0                  one-way: the server sends neither RESULT nor ERROR, also when it refuses the call
//	1                  items in: the client sends DATA, then END
//	2                  items out: the server may send DATA before its RESULT or ERROR
//	8 to 15            priority, 0 is normal; it is told to the called method
//
// A one-way call has no items.
//
// # Streams
//
// A call with items in or out is a stream. It begins with a CALL, whose request may be empty, and ends with a RESULT or an
// ERROR like any other; the server may answer before the client has ended its items. DATA, END, CREDIT and CANCEL for a call
// that has ended may have crossed the answer and are ignored. For a call that was never made, or that has no items in that
// direction, and behind an END, they are a fault that ends the connection; only a CANCEL is ignored then too.
//
// Every call and direction begins with a credit of 256 KiB for its sender. A DATA costs what follows its header and 16 bytes.
// It may be sent while the credit is above 0, even if it costs more, so that an item of any size passes; the sender then waits
// until CREDIT has brought it above 0 again. The receiver gives back what the application has consumed, at the latest when
// that is half of the first credit. DATA that had no credit ends the stream, not the connection: the server answers an
// ERROR for an invalid request, the client sends CANCEL.
//
// # Greetings
//
// A client sends HELLO and need not wait for HELLO_ACK before it calls. Both carry the magic "CELL", the version as 2 bytes
// (the highest the client speaks; in the answer the one that is spoken), and fields in protobuf wire format:
//
//	1 varint  longest frame the sender takes, in bytes after the header
//	2 varint  calls at once that the sender runs for one connection
//	3 string  name of the cell
//	4 string  version of the cell
//	5 string  wire hash of the genome, hexadecimal: in a HELLO the one that the client was built with, in a HELLO_ACK the cell's own
//	6 string  in a HELLO_ACK, repeated: wire hashes of older schemas that the server still answers; at most 64 of 64 bytes
//
// # ERROR
//
//	1 varint  code: 1 application, 2 remote, 3 invalid request, 4 no such method, 5 denied, 6 overloaded, 7 canceled,
//	          8 deadline exceeded
//	2 string  name of the application's error type
//	3 string  message
//	4 bytes   payload; for an invalid request the field (1 string) and the reason (2 string)
//
// # GOAWAY
//
// The first 8 bytes are the id of the last call that was taken; calls with a higher id do not run. The highest possible
// value means that all calls on their way still run, and that the client should send no others; a PING comes behind it, whose
// PONG tells the server that no more are on their way. A connection that is turned away gets a GOAWAY and no HELLO_ACK, one
// that ends for a fault of the client gets a GOAWAY that names the fault. Fields follow:
//
//	1 varint  code, as in ERROR
//	2 string  message
package wire
