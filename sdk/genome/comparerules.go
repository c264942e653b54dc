package genome

// rule is one row of docs/compatibility.md: a kind of change, and what it does on either side.
type rule struct {
	id     string
	change string
	// request is what callers send, result what they receive. A side that the change does not exist on is empty.
	request, result side
	additive        bool
}

type side struct {
	verdict Verdict
	why     string
}

func safe(why string) side   { return side{Safe, why} }
func source(why string) side { return side{Source, why} }
func breaks(why string) side { return side{Break, why} }

// rules are all rules, in the order of the documentation: methods, parameters and results, fields, types, the rest.
var rules = []rule{
	{
		id: "method-added", change: "method or topic added", additive: true,
		request: safe("old callers do not know it"),
		result:  safe("old callers do not know it"),
	},
	{
		id: "method-removed", change: "method or topic removed or renamed",
		request: breaks("its callers are told that there is no such method"),
		result:  breaks("its callers are told that there is no such method"),
	},
	{
		id: "method-id", change: "method with another id",
		request: breaks("methods are called by their ids: its callers reach none, or another one"),
		result:  breaks("methods are called by their ids: its callers reach none, or another one"),
	},
	{
		id: "method-form", change: "one-way ↔ answered, plain ↔ stream, method ↔ topic",
		request: breaks("a call is another conversation than the provider expects"),
		result:  breaks("a call is another conversation than the provider expects"),
	},
	{
		id: "variadic-changed", change: "`...T` ↔ `[]T`",
		request: source("the wire knows lists only; a Go call is written differently"),
	},
	{
		id: "repeatable-added", change: "`//cell:repeatable` added",
		request: safe("old callers make a call once, as before"),
	},
	{
		id: "repeatable-removed", change: "`//cell:repeatable` removed",
		request: breaks("old callers make a call again that may have run already"),
	},
	{
		id: "signature-added", change: "parameter or result added", additive: true,
		request: source("old callers do not send it: the provider reads zero; a Go call has one argument more"),
		result:  source("old callers skip it; a Go call has one result more"),
	},
	{
		id: "signature-removed", change: "parameter or result removed",
		request: breaks("what old callers ask for with it is ignored"),
		result:  breaks("old callers read zero"),
	},
	{
		id: "signature-renamed", change: "parameter or result renamed: same id, same place",
		request: safe("the wire and Go calls know no names of parameters; the HTTP door and named arguments in a shell do"),
		result:  safe("the wire and Go calls know no names of results; the HTTP door does"),
	},
	{
		id: "signature-moved", change: "order of parameters or results of different types changed",
		request: source("the wire knows no order; a Go call with the old order does not compile"),
		result:  source("the wire knows no order; Go code that takes the results in the old order does not compile"),
	},
	{
		id: "signature-exchanged", change: "order of parameters or results changed that take the same values",
		request: breaks("a Go call recompiles with the values exchanged, and nobody notices"),
		result:  breaks("Go code recompiles with the results exchanged, and nobody notices"),
	},
	{
		id: "signature-shifted", change: "parameter added before `...T` that takes the same values",
		request: breaks("a Go call recompiles, and the first of its list becomes the new parameter"),
	},
	{
		id: "field-added", change: "field of a struct added", additive: true,
		request: safe("old callers do not send it: the provider reads zero"),
		result:  safe("old callers skip it"),
	},
	{
		id: "field-removed", change: "field of a struct removed",
		request: breaks("what old callers ask for with it is ignored"),
		result:  breaks("old callers read zero"),
	},
	{
		id: "field-renamed", change: "field of a struct renamed: same id",
		request: source("the wire knows no names; Go code and the HTTP door name the field"),
		result:  source("the wire knows no names; Go code and the HTTP door name the field"),
	},
	{
		id: "field-embedded", change: "field of a struct embedded, or no longer",
		request: source("the wire does not know; Go code that names what is within it is written differently"),
		result:  source("the wire does not know; Go code that names what is within it is written differently"),
	},
	{
		id: "id-exchanged", change: "a name that went over to another id, where another name has its own",
		request: breaks("what old callers send as one thing is read as another"),
		result:  breaks("what is answered as one thing is read as another by old callers"),
	},
	{
		id: "id-reused", change: "something new with an id that was in use before",
		request: breaks("what somebody sends as one thing would be read as another: ids are never given twice"),
		result:  breaks("what is sent as one thing would be read as another: ids are never given twice"),
	},
	{
		id: "becomes-optional", change: "`T` → `*T`",
		request: source("old callers always send it; Go callers give a pointer"),
		result:  breaks("it may be missing, which old callers read as zero"),
	},
	{
		id: "becomes-required", change: "`*T` → `T`",
		request: breaks("old callers may leave it out, which the provider reads as zero"),
		result:  source("it is always there; Go callers take a value"),
	},
	{
		id: "optional-wrapped", change: "`T` ↔ `*T` in a list, array or map, or where `T` is a list or map",
		request: breaks("there an optional value is a message of its own on the wire"),
		result:  breaks("there an optional value is a message of its own on the wire"),
	},
	{
		id: "integer-wider", change: "integer wider, as `int16` → `int32`",
		request: source("every old value fits; Go callers convert"),
		result:  breaks("a value may not fit at old callers, who refuse it"),
	},
	{
		id: "integer-narrower", change: "integer narrower, as `int32` → `int16`",
		request: breaks("an old caller's value may not fit and is refused"),
		result:  source("every value fits at old callers; Go callers convert"),
	},
	{
		id: "integer-word", change: "`int` ↔ `int64`, `uint` ↔ `uint64`",
		request: source("the wire has 64 bits for both; Go callers convert"),
		result:  source("the wire has 64 bits for both; Go callers convert"),
	},
	{
		id: "integer-sign", change: "signed ↔ unsigned integer",
		request: breaks("the numbers are written differently: 1 is read as -1 or 2"),
		result:  breaks("the numbers are written differently: 1 is read as -1 or 2"),
	},
	{
		id: "float-width", change: "`float32` ↔ `float64`",
		request: breaks("they are of different sizes on the wire: the value is refused"),
		result:  breaks("they are of different sizes on the wire: old callers refuse the value"),
	},
	{
		id: "text-bytes", change: "between `string`, `[]byte` and `json.RawMessage`",
		request: breaks("not every value of the one is one of the other, and the HTTP door writes them differently"),
		result:  breaks("not every value of the one is one of the other, and the HTTP door writes them differently"),
	},
	{
		id: "duration-number", change: "`time.Duration` ↔ integer",
		request: breaks("the wire has nanoseconds, but the HTTP door and the shell have a text such as \"1m30s\""),
		result:  breaks("the wire has nanoseconds, but the HTTP door and the shell have a text such as \"1m30s\""),
	},
	{
		id: "type-changed", change: "another kind of type: number ↔ text, `T` ↔ `[]T`, list ↔ array or map, struct ↔ sum, …",
		request: breaks("what old callers send is refused or read as something else"),
		result:  breaks("old callers refuse what is answered or read it as something else"),
	},
	{
		id: "array-length", change: "array of another length",
		request: breaks("an array of another length is refused"),
		result:  breaks("old callers refuse an array of another length"),
	},
	{
		id: "type-named", change: "`T` ↔ a name for `T`, as `int64` ↔ `type ID int64`",
		request: source("the wire knows no names; Go callers convert"),
		result:  source("the wire knows no names; Go callers convert"),
	},
	{
		id: "type-renamed", change: "named type → another with the same fields, ids and names, or the same base",
		request: source("the wire knows no names of types; Go code names the type"),
		result:  source("the wire knows no names of types; Go code names the type"),
	},
	{
		id: "type-replaced", change: "named type → another with other fields",
		request: breaks("what old callers send as one thing is read as another"),
		result:  breaks("what is answered as one thing is read as another by old callers"),
	},
	{
		id: "constant-added", change: "constant added", additive: true,
		request: safe("old callers do not send it"),
		result:  safe("old callers get a value without a name: they need a default for it"),
	},
	{
		id: "constant-removed", change: "constant removed or renamed",
		request: source("every value is still read; Go code names the constant"),
		result:  source("every value is still read; Go code names the constant"),
	},
	{
		id: "constant-changed", change: "constant with another value",
		request: breaks("the value that old callers send means something else"),
		result:  breaks("the value that is answered means something else to old callers"),
	},
	{
		id: "variant-added", change: "variant of a sum added", additive: true,
		request: safe("old callers do not send it"),
		result:  safe("old callers get Unknown in its place: they need a default for it"),
	},
	{
		id: "variant-removed", change: "variant of a sum removed",
		request: breaks("an old caller's value arrives as nothing"),
		result:  source("it is never answered; Go code names it"),
	},
	{
		id: "variant-pointer", change: "variant of a sum `T` ↔ `*T`",
		request: source("the wire does not know; Go code has one or the other"),
		result:  source("the wire does not know; Go code has one or the other"),
	},
	{
		id: "error-added", change: "error type added", additive: true,
		result: safe("old callers get an error of the platform in its place"),
	},
	{
		id: "error-removed", change: "error type removed or renamed",
		result: breaks("old callers' errors.As no longer finds it"),
	},
	{
		id: "error-pointer", change: "error type as a value ↔ as a pointer",
		result: source("the wire does not know; errors.As is asked for one or the other"),
	},
	{
		id: "serves-renamed", change: "served type renamed",
		request: source("the wire does not know it; Go code names the client's type"),
		result:  source("the wire does not know it; Go code names the client's type"),
	},
	{
		id: "doc", change: "comments changed",
		request: safe("callers do not depend on comments"),
		result:  safe("callers do not depend on comments"),
	},
}

var ruleByID = func() map[string]*rule {
	all := make(map[string]*rule, len(rules))
	for i := range rules {
		all[rules[i].id] = &rules[i]
	}
	return all
}()
