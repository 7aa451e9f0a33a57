package cache

import (
	"bytes"
	"slices"
	"testing"
)

// TestKeysStandInTheIndexInTheirOrder: lists go on from a key, and prefixes name what belongs together.
func TestKeysStandInTheIndexInTheirOrder(t *testing.T) {
	keys := make([]Key, 0, 32)
	for _, upstream := range []string{"u", "uu"} {
		for _, project := range []string{"1", "12"} {
			for _, name := range []string{"p", "pp"} {
				for _, version := range []string{"1", "1.0"} {
					for _, file := range []string{"f", "ff"} {
						keys = append(keys, Key{upstream, project, name, version, file})
					}
				}
			}
		}
	}
	slices.SortFunc(keys, Key.Compare)
	hashes := make(map[keyHash]bool)
	for i, k := range keys {
		raw := k.bytes()
		if parsed, ok := parseKey(raw); !ok || parsed != k {
			t.Errorf("%s is read as %s", k, parsed)
		}
		if len(raw) != k.length() || k.hash() != hashOf(raw) || hashes[k.hash()] {
			t.Errorf("%s has %d bytes, and a hash of its own: %v", k, k.length(), !hashes[k.hash()])
		}
		hashes[k.hash()] = true
		if i > 0 && bytes.Compare(keys[i-1].bytes(), raw) >= 0 {
			t.Errorf("%s doesn't stand behind %s", k, keys[i-1])
		}
	}
	for _, selector := range []Selector{
		{},
		{Upstream: "u"},
		{"u", "1", "", "", ""},
		{"u", "1", "p", "", ""},
		{"u", "1", "p", "1", ""},
		{"u", "1", "p", "1", "f"},
		{"u", "", "p", "1", "f"},
		{"", "1", "p", "1", "f"},
		{"u", "1", "", "1", "f"},
		{"u", "1", "p", "", "f"},
	} {
		single := 0
		for _, k := range keys {
			if selector.Matches(k) {
				single++
				if !bytes.HasPrefix(k.bytes(), selector.prefix()) {
					t.Errorf("%+v finds no %s", selector, k)
				}
			}
		}
		if selector.isKey() != (single == 1) {
			t.Errorf("%+v is a key: %v, and selects %d", selector, selector.isKey(), single)
		}
	}
	for _, other := range []string{"", "u\x001\x00p\x001", "u\x001\x00p\x001\x00f\x00g"} {
		if k, ok := parseKey([]byte(other)); ok {
			t.Errorf("%q is read as %s", other, k)
		}
	}
}
