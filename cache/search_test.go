package cache

import (
	"fmt"
	"strings"
	"testing"
)

// TestASearchFindsEachOnceWhateverAStepMayTake goes through a store of which a part isn't in the index yet.
func TestASearchFindsEachOnceWhateverAStepMayTake(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	var want []string
	for i := range 30 {
		file := fmt.Sprintf("f%02d", i)
		if i%3 == 0 {
			file += "-wanted"
			want = append(want, file)
		}
		s.put(t, testKey(file), []byte{byte(i)})
		if i == 19 {
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.stopJanitor()
		}
	}
	asked := 0
	accepts := func(k Key) bool {
		asked++
		return strings.HasSuffix(k.File, "-wanted")
	}
	for _, limit := range []int{1, 2, 3, 100} {
		for _, look := range []int{1, 2, 7, 20, 100} {
			var found []string
			for after, steps := (*Key)(nil), 0; steps == 0 || after != nil; steps++ {
				asked = 0
				listed, last, err := s.Search(t.Context(), Selector{Upstream: testKey("").Upstream}, accepts, after, limit, look)
				if err != nil || len(listed) > limit || asked > look+10 || steps > 100 {
					t.Fatalf("%d of %d at a time: %d found, %d looked at, %v", limit, look, len(listed), asked, err)
				}
				found = append(found, listedKeys(listed)...)
				after = last
			}
			if fmt.Sprint(found) != fmt.Sprint(want) {
				t.Errorf("%d of %d at a time: %v", limit, look, found)
			}
		}
	}
	if listed, last, err := s.Search(t.Context(), Selector{Upstream: "u"}, accepts, nil, 5, 5); len(listed) != 0 || last != nil || err != nil {
		t.Errorf("elsewhere: %v, %v, %v", listed, last, err)
	}
}
