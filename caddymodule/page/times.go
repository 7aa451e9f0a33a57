package page

import "time"

// formMinute is how a page writes a time, always in UTC. The script writes it anew in the viewer's zone.
const formMinute = "2 Jan 2006, 15:04"

func minuteText(at time.Time) string { return at.UTC().Format(formMinute) }

// machineTime is a time as the script and <time> read it.
func machineTime(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// moment is a time that may be unknown.
type moment struct {
	Known bool
	At    time.Time
}

func momentOf(at *time.Time) moment {
	if at == nil || at.IsZero() {
		return moment{}
	}
	return moment{Known: true, At: *at}
}
