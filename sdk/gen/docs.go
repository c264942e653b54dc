package gen

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// source is what the syntax tree says about a declared name: its comments, and the text of its type.
type source struct {
	doc        string
	typ        ast.Expr
	directives []directive
}

// directive is a comment such as //cell:repeatable.
type directive struct {
	name string
	pos  token.Pos
}

func directives(g *ast.CommentGroup) (all []directive) {
	if g == nil {
		return nil
	}
	for _, c := range g.List {
		if name, ok := strings.CutPrefix(c.Text, "//cell:"); ok {
			all = append(all, directive{strings.TrimSpace(name), c.Pos()})
		}
	}
	return all
}

// sources indexes declarations by the place of their name; an unnamed parameter by its type's.
func sources(files []*ast.File) map[token.Pos]source {
	all := map[token.Pos]source{}
	text := func(groups ...*ast.CommentGroup) string {
		for _, g := range groups {
			if g != nil {
				return strings.TrimSpace(g.Text())
			}
		}
		return ""
	}
	fields := func(l *ast.FieldList, docs bool) {
		if l == nil {
			return
		}
		for _, f := range l.List {
			s := source{typ: f.Type}
			if docs {
				s.doc = text(f.Doc, f.Comment)
			}
			all[f.Type.Pos()] = s
			if star, ok := f.Type.(*ast.StarExpr); ok { // an embedded pointer has the place of its name
				all[star.X.Pos()] = s
			}
			if sel, ok := f.Type.(*ast.SelectorExpr); ok {
				all[sel.Sel.Pos()] = s
			}
			for _, n := range f.Names {
				all[n.Pos()] = s
			}
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				all[n.Name.Pos()] = source{doc: text(n.Doc), directives: directives(n.Doc)}
			case *ast.FuncType:
				fields(n.Params, false)
				fields(n.Results, false)
			case *ast.StructType:
				fields(n.Fields, true)
			case *ast.GenDecl:
				for _, spec := range n.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						doc := s.Doc
						if doc == nil && !n.Lparen.IsValid() {
							doc = n.Doc
						}
						all[s.Name.Pos()] = source{doc: text(doc), typ: s.Type}
					case *ast.ValueSpec:
						for _, name := range s.Names {
							all[name.Pos()] = source{doc: text(s.Doc, s.Comment)}
						}
					}
				}
			}
			return true
		})
	}
	return all
}

// spelled is the type as the source has it, for types that the check could not know.
func (x *extractor) spelled(v *types.Var) string {
	if s := x.src[v.Pos()]; s.typ != nil {
		return types.ExprString(s.typ)
	}
	return "this type"
}
