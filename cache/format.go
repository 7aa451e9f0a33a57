package cache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// indexFormat changes when an edge could not read what another one wrote. Its number only grows, so that an earlier version
// knows a later one's index.
const indexFormat = "gitlab_packages 4"

// migrated are the earlier formats of which this version makes its own, in place, when it opens them. An earlier version doesn't
// read the directory from then on, and leaves it as it is.
//
//	3: records can be owed, and have more fields at their end. Those that a 3 has need no change.
var migrated = []string{"gitlab_packages 3"}

// checkFormatName judges the format that an index names, which may be another version's. A later one's is left as it is, with
// all files (ErrNewerFormat): after a roll-back the later version may come again. An earlier one's that isn't
// among migrated, or none of ours, is errDamagedIndex, and the cache begins empty.
func checkFormatName(format string) error {
	if format == indexFormat || slices.Contains(migrated, format) {
		return nil
	}
	if formatNumber(format) > formatNumber(indexFormat) {
		return fmt.Errorf("%w: its index has the format %q, and this version reads %q", ErrNewerFormat, format, indexFormat)
	}
	return fmt.Errorf("%w: its format is %q, and this version reads %q", errDamagedIndex, format, indexFormat)
}

// formatNumber is the number in a format's name; 0 in what isn't ours.
func formatNumber(format string) int {
	ours, _, _ := strings.Cut(indexFormat, " ")
	text, ok := strings.CutPrefix(format, ours+" ")
	if !ok {
		return 0
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return number
}
