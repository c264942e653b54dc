// Package sdk is what a cell's program imports. A program hands the type whose methods it serves to Main; `cell build` generates
// the rest.
//
//	// Calculator adds.
//	type Calculator struct{}
//
//	// Add returns a plus b.
//	func (Calculator) Add(ctx context.Context, a, b int64) (int64, error) { return a + b, nil }
//
//	func main() { sdk.Main(Calculator{}) }
//
// A program that calls another cell names it in its cell.toml and uses the package that `cell build` writes for it. What comes back
// is the called method's own error, as its own type, or one of those here:
//
//	calc, err := calculator.Dial(ctx)
//	sum, err := calc.Add(ctx, 3, 4)
//	if down, ok := errors.AsType[*sdk.Down](err); ok { … }
//
// Other rooms: hot for state that outlives the process, trace for those who follow calls, otlp for those who send them to a
// collector. Package stub is for generated code alone. All of them import the standard library, godbus, protowire and x/sys, and
// nothing else.
package sdk
