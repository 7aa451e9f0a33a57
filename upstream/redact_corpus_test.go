package upstream

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var updateRedactions = flag.Bool("update-redactions", false, "write testdata/redactions.txt anew, to be read through line by line")

// redactionsFile holds texts and what must become of each. A line is a text as it comes in; the line after it, if it
// begins with an arrow, is what goes out; without such a line the text stays as it is. A line that begins with # is a
// heading. Control characters are written as their pictures in Unicode, so that each text is a line.
const redactionsFile = "testdata/redactions.txt"

const arrow = "→ "

// pictures turns control characters into what stands for them in the file, plainly the other way around.
var (
	pictures = strings.NewReplacer("\n", "␊", "\r", "␍", "\t", "␉", "\x7f", "␡")
	plainly  = strings.NewReplacer("␊", "\n", "␍", "\r", "␉", "\t", "␡", "\x7f")
)

// TestEachTextOfTheCorpusComesOutAsItIsWrittenThere: what must be hidden is, what a log needs stays, and a text that was
// redacted once stays so.
func TestEachTextOfTheCorpusComesOutAsItIsWrittenThere(t *testing.T) {
	content, err := os.ReadFile(redactionsFile)
	if err != nil {
		t.Fatal(err)
	}
	var written strings.Builder
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, "# ") {
			written.WriteString(line + "\n")
			continue
		}
		want := line
		if i+1 < len(lines) && strings.HasPrefix(lines[i+1], arrow) {
			i++
			want = strings.TrimPrefix(lines[i], arrow)
		}
		redacted := testRedactor.Redact(plainly.Replace(line))
		got := pictures.Replace(redacted)
		if got != want && !*updateRedactions {
			t.Errorf("%s\nbecame\n%s, want\n%s", line, got, want)
		}
		if again := testRedactor.Redact(redacted); again != redacted {
			t.Errorf("%s\nbecame\n%s, and that\n%s", line, got, pictures.Replace(again))
		}
		written.WriteString(line + "\n")
		if got != line {
			written.WriteString(arrow + got + "\n")
		}
	}
	if *updateRedactions {
		if err := os.WriteFile(redactionsFile, []byte(written.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANamesHyphensAndWordsBeforeItAreReadUpToABound(t *testing.T) {
	longest := testRedactor.names.longest
	hyphens := func(length int) string { return "password" + strings.Repeat("-", length-len("password")) }
	for name, want := range map[string]bool{
		hyphens(4 * longest): true, hyphens(4*longest + 1): false, // a longer name is nobody's
		"x-" + hyphens(2*longest-1): true, "x-" + hyphens(2*longest): false, // nor is a word before one
		"Policy": false, "Code": true,
	} {
		if got := testRedactor.Hides(name); got != want {
			t.Errorf("%s of %d characters: %v", name, len(name), got)
		}
	}
	if testRedactor.HidesNumber("code") || !testRedactor.HidesNumber("token") {
		t.Error("a code's number is hidden, or a token's isn't")
	}
}
