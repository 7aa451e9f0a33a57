package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file of the page's look, which is the same for everybody.
type asset struct {
	name        string // with a part of its hash: page.1a2b3c4d5e6f.css
	contentType string
	content     []byte
	tag         string
}

// assetTypes are those of the files, by their endings.
var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// assets are all, by the names under which they are served; assetNames has these by the names of the files.
var assets, assetNames = readAssets()

func readAssets() (byName map[string]asset, names map[string]string) {
	byName, names = make(map[string]asset), make(map[string]string)
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // they are in the program
	}
	for _, entry := range entries {
		content, err := assetFiles.ReadFile("assets/" + entry.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		hash, ending := hex.EncodeToString(sum[:6]), path.Ext(entry.Name())
		name := strings.TrimSuffix(entry.Name(), ending) + "." + hash + ending
		byName[name] = asset{name: name, contentType: assetTypes[ending], content: content, tag: `"` + hash + `"`}
		names[entry.Name()] = name
	}
	return byName, names
}

// serve sends the file. Unlike a page it may be kept: it tells nothing of the edge, and another content has another name.
func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "private, max-age=31536000, immutable")
	header.Set("Content-Type", a.contentType)
	header.Set("Etag", a.tag)
	if strings.Contains(r.Header.Get("If-None-Match"), a.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.content) // a viewer who left doesn't read it
	}
}
