package page

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
)

// sizeText writes a number of bytes in binary units: 31 GiB, 1.2 MiB.
func sizeText(bytes int64) string {
	if bytes < 0 {
		return "−" + sizeText(-bytes)
	}
	return humanize.IBytes(uint64(bytes))
}

// countText writes a number with commas: 1,204.
func countText[N int | int64 | uint32](count N) string { return humanize.Comma(int64(count)) }

// percentText writes a part of 1 as people do. What isn't all is never written as 100%, and what isn't nothing never as 0%.
func percentText(part float64) string {
	percent := part * 100
	switch {
	case percent >= 100:
		return "100%"
	case percent > 99.9:
		return "99.9%"
	case percent > 0 && percent < 0.1:
		return "<0.1%"
	case percent == 0:
		return "0%"
	}
	return strconv.FormatFloat(percent, 'f', 1, 64) + "%"
}

// ratioText is percentText of a part of a whole; a dash where the whole is nothing.
func ratioText(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	return percentText(max(0, float64(part)/float64(whole)))
}

// rateText is how fast bytes come.
func rateText(bytes int64, elapsed time.Duration) string {
	if elapsed < 100*time.Millisecond || bytes <= 0 {
		return "–"
	}
	return sizeText(int64(float64(bytes)/elapsed.Seconds())) + "/s"
}

// secondsText writes seconds until a first byte: 0.4 ms, 85 ms, 1.3 s; a dash where nothing is known.
func secondsText(seconds *float64) string {
	if seconds == nil {
		return "–"
	}
	switch value := *seconds; {
	case value < 0.01:
		return strconv.FormatFloat(value*1000, 'g', 2, 64) + " ms"
	case value < 1:
		return strconv.FormatFloat(math.Round(value*1000), 'f', -1, 64) + " ms"
	default:
		return strconv.FormatFloat(value, 'f', 1, 64) + " s"
	}
}

// durationText writes how long something has taken, in one unit or two: 12 s, 3 min, 2 h 5 min, 4 days.
func durationText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		if minutes := int(d.Minutes()) % 60; minutes > 0 {
			return fmt.Sprintf("%d h %d min", int(d.Hours()), minutes)
		}
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return plural(int(d.Hours()/24), "day", "days")
}

// plural writes a number of things: 1 file, 2 files.
func plural[N int | int64 | uint32](count N, one, many string) string {
	if count == 1 {
		return "1 " + one
	}
	return countText(count) + " " + many
}
