package spec

// The words of cell-inside, which lies at Helper in a membrane that needs it.
const (
	Probe     = "probe"      // try what must not succeed: package attempts
	ServePort = "serve-port" // pass connections to the port that a program insists on
	Dial      = "dial"       // connect to hosts outside, from the machine's network
	Beside    = "beside"     // take a program's connections to what it may reach, and look whether it works
)

// Shared is the word of Beside that says that the network is the machine's.
const Shared = "shared"

// What celld asks a cell that serves a port: for a socket of its network, and how many connections its program has. The number is a
// refusal's text.
const (
	AskSocket byte = iota
	AskCount
)

// World is what is outside, for attempts that need to know where to aim. What is zero is not aimed at.
type World struct {
	Dir       string // the cell's own directory, as the machine knows it
	Internet  bool   // the cell may reach the network: what keeps it from there is not tried
	Root      bool   // it is user 0 inside, by its own wish
	Neighbour string // another cell's directory
	Socket    string // another cell's socket
	PID       int    // another process of the same user
	Abstract  string // an abstract socket on which somebody listens
	Port      int    // a port of 127.0.0.1 on which somebody listens
	File      string // a file in the machine's /tmp
	Shared    string // a file in the machine's /dev/shm
	Key       int    // a System V shared memory segment
	Queue     string // a POSIX message queue
	Host      string // the machine's name
}

// Result is how an attempt ended.
type Result struct {
	Rule, What, By string
	Refused        string // the error, or empty
	Skipped        bool
}

// Held tells whether the rule held.
func (r Result) Held() bool { return r.Skipped || r.Refused != "" }

// The rules of a membrane.
const (
	Files     = "files"
	Processes = "processes"
	Network   = "network"
	Sockets   = "sockets and bus"
	Memory    = "shared memory and queues"
	Rights    = "rights"
	Devices   = "devices"
	Spaces    = "mounts and namespaces"
	Groups    = "control groups"
	Calls     = "system calls"
)

// Rules are in the order in which they are shown.
var Rules = []string{Files, Processes, Network, Sockets, Memory, Rights, Devices, Spaces, Groups, Calls}
