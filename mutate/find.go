package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// find notes all mutants of a package, and for each file the edits that compile them in.
func (s *source) find() []*mutant {
	var found []*mutant
	for _, f := range s.files {
		finder := &finder{source: s, file: f, before: len(found), seen: make(map[string]int)}
		for _, declaration := range f.syntax.Decls {
			switch declaration := declaration.(type) {
			case *ast.FuncDecl:
				finder.function = functionName(declaration)
				if declaration.Body == nil || declaration.Name.Name == "Error" {
					continue // the words of an error are no promise
				}
				signature := s.info.Defs[declaration.Name].Type().(*types.Signature)
				ast.Walk(visitor{finder, signature.Results(), nil}, declaration.Body)
			case *ast.GenDecl:
				finder.function = "a variable"
				ast.Inspect(declaration, func(n ast.Node) bool {
					literal, ok := n.(*ast.FuncLit)
					if ok {
						ast.Walk(visitor{finder, nil, nil}, literal)
					}
					return !ok
				})
			}
		}
		f.edits = finder.edits
		found = append(found, finder.found...)
	}
	return found
}

// functionName is "Fetch", or "Client.Fetch" for a method.
func functionName(declaration *ast.FuncDecl) string {
	if declaration.Recv == nil {
		return declaration.Name.Name
	}
	receiver := declaration.Recv.List[0].Type
	for {
		switch t := receiver.(type) {
		case *ast.StarExpr:
			receiver = t.X
		case *ast.IndexExpr:
			receiver = t.X
		case *ast.IndexListExpr:
			receiver = t.X
		case *ast.Ident:
			return t.Name + "." + declaration.Name.Name
		default:
			return declaration.Name.Name
		}
	}
}

// finder looks for the mutants of one file.
type finder struct {
	*source
	file     *sourceFile
	function string
	// before counts the mutants of the files before, found are this one's.
	before int
	found  []*mutant
	edits  edits
	// seen counts the changes that read alike in a function.
	seen map[string]int
}

// longestChange is where the text of a change is cut off, in bytes.
const longestChange = 120

// add notes a mutant and returns the Go text of its number.
func (f *finder) add(node ast.Node, change string, of ...ast.Node) string {
	for _, n := range of {
		change += " " + f.text(n)
	}
	if len(change) > longestChange {
		change = strings.ToValidUTF8(change[:longestChange], "") + "…"
	}
	alike := f.function + "\t" + change
	f.seen[alike]++
	if n := f.seen[alike]; n > 1 {
		change += fmt.Sprintf(" (%d)", n)
	}
	m := &mutant{
		number: f.before + len(f.found) + 1, file: path.Join(f.path, filepath.Base(f.file.path)),
		function: f.function, line: f.fset.Position(node.Pos()).Line, change: change,
	}
	f.found = append(f.found, m)
	return strconv.Itoa(m.number)
}

func (f *finder) offset(p token.Pos) int { return f.fset.Position(p).Offset }

// text is a node's source on one line.
func (f *finder) text(n ast.Node) string {
	text := string(f.file.content[f.offset(n.Pos()):f.offset(n.End())])
	return strings.Join(strings.Fields(text), " ")
}

func (f *finder) surround(n ast.Node, before, after string) {
	f.edits.surround(f.offset(n.Pos()), f.offset(n.End()), before, after)
}

func (f *finder) typeOf(e ast.Expr) types.Type { return f.info.Types[e].Type }

func (f *finder) isConstant(e ast.Expr) bool { return f.info.Types[e].Value != nil }

// isBool reports whether an expression is of the type bool itself; another one can't be compared with it.
func (f *finder) isBool(e ast.Expr) bool {
	t := f.typeOf(e)
	return t == types.Typ[types.Bool] || t == types.Typ[types.UntypedBool]
}

// areOfOne reports whether two operands are of one type with the given property.
func (f *finder) areOfOne(kind types.BasicInfo, x, y ast.Expr) bool {
	if f.isConstant(x) && f.isConstant(y) || !types.Identical(f.typeOf(x), f.typeOf(y)) {
		return false
	}
	if _, isParameter := f.typeOf(x).(*types.TypeParam); isParameter {
		return false
	}
	basic, ok := f.typeOf(x).Underlying().(*types.Basic)
	return ok && basic.Info()&kind != 0 && basic.Info()&types.IsUntyped == 0
}

// callee is the function or method that is called, nil where that isn't known.
func (f *finder) callee(call *ast.CallExpr) *types.Func {
	var name *ast.Ident
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		name = fun
	case *ast.SelectorExpr:
		name = fun.Sel
	default:
		return nil
	}
	called, _ := f.info.Uses[name].(*types.Func)
	return called
}

// isOf reports whether a call is one of a package's, by one of some names; by any if there are none.
func (f *finder) isOf(call *ast.CallExpr, pkg string, names ...string) bool {
	called := f.callee(call)
	if called == nil || called.Pkg() == nil || called.Pkg().Path() != pkg {
		return false
	}
	for _, name := range names {
		if called.Name() == name {
			return true
		}
	}
	return len(names) == 0
}

// isWording reports whether a call only makes or writes a message. Messages are no promise.
func (f *finder) isWording(call *ast.CallExpr) bool {
	return f.isOf(call, "go.uber.org/zap") || f.isOf(call, "errors", "New") || f.isOf(call, "fmt", "Errorf")
}
