package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is a type-checked package.
type source struct {
	// path is the package's directory in its module, such as "upstream".
	directory, importPath, path, name string
	fset                              *token.FileSet
	files                             []*sourceFile
	info                              *types.Info
	types                             *types.Package
}

// sourceFile is one of its files, without tests.
type sourceFile struct {
	path    string
	content []byte
	syntax  *ast.File
	// edits are those that compile the mutants in.
	edits edits
}

// listed is what `go list` tells of a package.
type listed struct {
	Dir, ImportPath, Name, Export string
	GoFiles                       []string
	DepOnly                       bool
	Module                        struct{ Path string }
}

// load reads and type-checks the package in directory. Only the files that are built here count.
func load(ctx context.Context, directory string) (*source, error) {
	command := exec.CommandContext(ctx, "go", "list", "-json=Dir,ImportPath,Name,Export,GoFiles,DepOnly,Module", "-export", "-deps", directory) //nolint:gosec // a command for developers
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", directory, err)
	}
	var target listed
	exports := make(map[string]string)
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading what go list prints: %w", err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			target = p
		}
	}
	s := &source{directory: target.Dir, importPath: target.ImportPath, name: target.Name, fset: token.NewFileSet()}
	s.path = strings.TrimPrefix(target.ImportPath, target.Module.Path+"/")
	for _, name := range target.GoFiles {
		path := filepath.Join(target.Dir, name)
		content, err := os.ReadFile(path) //nolint:gosec // the developer's own file
		if err != nil {
			return nil, err
		}
		if err := s.parse(path, content); err != nil {
			return nil, err
		}
	}
	return s, s.check(importer.ForCompiler(s.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }))
}

func (s *source) parse(path string, content []byte) error {
	syntax, err := parser.ParseFile(s.fset, path, content, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	s.files = append(s.files, &sourceFile{path: path, content: content, syntax: syntax})
	return nil
}

func (s *source) check(imports types.Importer) error {
	s.info = &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object),
		Defs: make(map[*ast.Ident]types.Object), Selections: make(map[*ast.SelectorExpr]*types.Selection),
	}
	syntax := make([]*ast.File, 0, len(s.files))
	for _, f := range s.files {
		syntax = append(syntax, f.syntax)
	}
	checked, err := (&types.Config{Importer: imports}).Check(s.importPath, s.fset, syntax, s.info)
	if err != nil {
		return fmt.Errorf("checking the types of %s: %w", s.importPath, err)
	}
	s.types = checked
	return nil
}
