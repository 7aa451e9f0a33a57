package pagetest

import (
	"testing"
	"time"
)

// slack is by how much two reloads or stops may differ on a machine that is busy.
const slack = 10 * time.Second

// TestAStopAndAReloadOfARealEdgeTakeNoLongerWithAViewer measures both with a person at the page, and without. Streams would else go on for
// up to a minute.
func TestAStopAndAReloadOfARealEdgeTakeNoLongerWithAViewer(t *testing.T) {
	alone := startRealEdge(t, "")
	reload, stop := alone.reload(t), alone.stop(t)

	t.Logf("a reload takes %s, and a stop %s", reload, stop)

	v := visitor{openBrowser(t, desktop), startRealEdge(t, "")}
	v.open(v.edge.page)
	v.await("the stream is there", `!document.querySelector("[data-mark=live]").hidden`)
	if took := v.edge.reload(t); took > reload+slack {
		t.Errorf("a reload with a viewer takes %s, and without %s", took, reload)
	}
	v.edge.publish(t, projectID, published, content)
	v.await("the stream is there again", `!document.querySelector("[data-mark=live]").hidden && document.querySelector(".state .word").innerText === "answers"`)
	begun := time.Now()
	if took := v.edge.stop(t); took > stop+slack {
		t.Errorf("a stop with a viewer takes %s, and without %s", took, stop)
	}
	t.Logf("with a viewer the stop took %s", time.Since(begun))
	v.await("the page says that it isn't live any more", `document.querySelector("[data-mark=live]").hidden`)
}
