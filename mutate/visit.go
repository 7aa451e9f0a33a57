package main

import (
	"go/ast"
	"go/token"
	"go/types"
)

// visitor walks through a function. An outer node's mutants are noted before its inner ones'.
type visitor struct {
	*finder
	// results are those of the innermost function.
	results *types.Tuple
	// statement is the innermost simple one.
	statement ast.Node
}

// Visit notes the mutants of one node.
func (v visitor) Visit(node ast.Node) ast.Visitor {
	switch n := node.(type) {
	case *ast.FuncLit:
		v.results = v.typeOf(n).(*types.Signature).Results()
		v.statement = nil
	case *ast.GenDecl:
		if n.Tok == token.CONST {
			return nil
		}
	case *ast.BlockStmt:
		v.drop(n.List)
	case *ast.CaseClause:
		v.drop(n.Body)
	case *ast.CommClause:
		v.drop(n.Body)
	case *ast.IfStmt:
		v.negate(n.Cond)
	case *ast.ForStmt:
		v.negate(n.Cond)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, clause := range n.Body.List {
				for _, condition := range clause.(*ast.CaseClause).List {
					v.negate(condition)
				}
			}
		}
	case *ast.ReturnStmt:
		v.statement = n
		v.returned(n)
	case *ast.AssignStmt:
		v.statement = n
		v.negateValues(n.Rhs)
	case *ast.KeyValueExpr:
		v.negateValues([]ast.Expr{n.Value})
	case *ast.ExprStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.IncDecStmt:
		v.statement = n
	case *ast.CallExpr:
		if v.isWording(n) {
			return nil
		}
		v.compareTimes(n)
	case *ast.BinaryExpr:
		v.binary(n)
	case *ast.SliceExpr:
		for _, bound := range []ast.Expr{n.Low, n.High} {
			v.vary(bound, n)
		}
	case *ast.Ident:
		v.swap(n)
	}
	return v
}

// negate adds the mutant that takes a condition for its contrary. Where operands are combined each has mutants of its own,
// which are harder to notice.
func (v visitor) negate(condition ast.Expr) {
	if condition == nil || !v.isBool(condition) || v.isConstant(condition) {
		return
	}
	if operands, ok := ast.Unparen(condition).(*ast.BinaryExpr); ok && (operands.Op == token.LAND || operands.Op == token.LOR) {
		return
	}
	number := v.add(condition, "negated:", condition)
	v.surround(condition, "(mutantAt("+number+") != (", "))")
}

// negateValues adds the contrary of those values that are bools.
func (v visitor) negateValues(values []ast.Expr) {
	for _, value := range values {
		if v.isBool(value) {
			v.negate(value)
		}
	}
}

// swap adds the mutant that takes true for false, or false for true.
func (v visitor) swap(name *ast.Ident) {
	if object := v.info.Uses[name]; object != types.Universe.Lookup("true") && object != types.Universe.Lookup("false") {
		return
	}
	if !v.isBool(name) {
		return
	}
	var number string
	if v.statement != nil {
		number = v.add(name, "swapped: "+name.Name+" in", v.statement)
	} else {
		number = v.add(name, "swapped: "+name.Name)
	}
	v.surround(name, "(mutantAt("+number+") != ", ")")
}

// returned adds the mutants of what a function returns: an error that is swallowed, a contrary answer.
func (v visitor) returned(statement *ast.ReturnStmt) {
	if v.results == nil || v.results.Len() != len(statement.Results) {
		return
	}
	for i, result := range statement.Results {
		switch {
		case v.results.At(i).Type() == types.Universe.Lookup("error").Type():
			if !v.info.Types[result].IsNil() {
				v.surround(result, "mutantError("+v.add(result, "error swallowed:", statement)+", ", ")")
			}
		case v.results.At(i).Type() == types.Typ[types.Bool]:
			v.negate(result)
		}
	}
}

// binary adds the mutants of an operator: an operand that doesn't matter, another boundary, another sum.
func (v visitor) binary(n *ast.BinaryExpr) {
	switch n.Op {
	case token.LAND:
		for _, operand := range []ast.Expr{n.X, n.Y} {
			if v.isBool(operand) && v.isBool(n) {
				number := v.add(operand, "always true:", operand)
				v.surround(operand, "((", ") || mutantAt("+number+"))")
			}
		}
	case token.LOR:
		for _, operand := range []ast.Expr{n.X, n.Y} {
			if v.isBool(operand) && v.isBool(n) {
				number := v.add(operand, "always false:", operand)
				v.surround(operand, "((", ") && !mutantAt("+number+"))")
			}
		}
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		if v.areOfOne(types.IsOrdered, n.X, n.Y) {
			name := map[token.Token]string{token.LSS: "Less", token.LEQ: "LessOrEqual", token.GTR: "Greater", token.GEQ: "GreaterOrEqual"}[n.Op]
			v.call(n, "mutant"+name, v.add(n, "boundary moved:", n))
		}
	case token.ADD, token.SUB, token.MUL, token.QUO:
		if v.areOfOne(types.IsNumeric, n.X, n.Y) {
			name := map[token.Token]string{token.ADD: "Sum", token.SUB: "Difference", token.MUL: "Product", token.QUO: "Quotient"}[n.Op]
			v.call(n, "mutant"+name, v.add(n, "other operator:", n))
			v.vary(n.X, n)
			v.vary(n.Y, n)
		}
	default: // others have none
	}
}

// call turns an operator into a function of the same operands.
func (v visitor) call(n *ast.BinaryExpr, function, number string) {
	v.surround(n, function+"("+number+", ", ")")
	v.edits.replace(v.offset(n.OpPos), v.offset(n.OpPos)+len(n.Op.String()), ",")
}

// compareTimes adds the mutant that takes a time itself for one after it, or no longer so.
func (v visitor) compareTimes(call *ast.CallExpr) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !v.isOf(call, "time", "After", "Before") || v.callee(call).Signature().Recv() == nil {
		return
	}
	if v.typeOf(selector.X).String() != "time.Time" {
		return
	}
	number := v.add(call, "boundary moved:", call)
	v.surround(call, "mutant"+selector.Sel.Name+"("+number+", ", "")
	v.edits.replace(v.offset(selector.X.End()), v.offset(call.Args[0].Pos()), ", ")
}

// vary adds the mutants of a number that is written as one: one more, one less.
func (v visitor) vary(number ast.Expr, in ast.Node) {
	literal, ok := number.(*ast.BasicLit)
	if !ok || literal.Kind != token.INT {
		return
	}
	name := types.TypeString(v.typeOf(literal), func(p *types.Package) string {
		if p == v.types {
			return ""
		}
		return p.Name()
	})
	if basic, ok := v.typeOf(literal).Underlying().(*types.Basic); !ok || basic.Info()&types.IsUntyped != 0 {
		return
	}
	more, less := v.add(literal, "1 more than "+literal.Value+" in", in), v.add(literal, "1 less than "+literal.Value+" in", in)
	v.surround(literal, "mutantNumber("+more+", "+less+", "+name+"(", "))")
}

// drop adds the mutants that leave out a statement.
func (v visitor) drop(statements []ast.Stmt) {
	for _, statement := range statements {
		if v.isDroppable(statement) {
			v.surround(statement, "if !mutantAt("+v.add(statement, "dropped:", statement)+") { ", " }")
		}
	}
}

func (v visitor) isDroppable(statement ast.Stmt) bool {
	switch s := statement.(type) {
	case *ast.IncDecStmt, *ast.SendStmt, *ast.GoStmt:
		return true
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE {
			return false
		}
		name, ok := s.Lhs[0].(*ast.Ident)
		if !ok || len(s.Lhs) > 1 || name.Name != "_" {
			return true
		}
		_, ok = s.Rhs[0].(*ast.CallExpr)
		return ok
	case *ast.DeferStmt:
		return v.isDroppableCall(s.Call)
	case *ast.ExprStmt:
		call, ok := s.X.(*ast.CallExpr)
		return !ok || v.isDroppableCall(call)
	}
	return false
}

// isDroppableCall leaves out calls for messages, panic, which may end a function that returns something, and the calls of a
// lock: without one of the pair any test stops, which would make the tests look good.
func (v visitor) isDroppableCall(call *ast.CallExpr) bool {
	if name, ok := call.Fun.(*ast.Ident); ok && v.info.Uses[name] == types.Universe.Lookup("panic") {
		return false
	}
	return !v.isWording(call) && !v.isOf(call, "sync", "Lock", "Unlock", "RLock", "RUnlock")
}
