package page

import (
	"encoding/json"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// live is what moves on a page, as the script takes it in: texts and attributes by the keys that the templates write into data-cell
// and data-mark. A key that a page hasn't is passed over.
type live struct {
	// Cells are texts. That of a <time> is the time itself.
	Cells map[string]string `json:"cells"`
	// Marks are attributes; the script knows which of them may be set.
	Marks map[string]map[string]string `json:"marks"`
	// Rows are those of lists whose rows come and go, in their order.
	Rows map[string][]liveRow `json:"rows,omitempty"`
	// Readouts are those of the charts.
	Readouts map[string][]readout `json:"readouts,omitempty"`
}

// liveRow is one row of a list.
type liveRow struct {
	Key   string                       `json:"key"`
	Cells map[string]string            `json:"cells"`
	Marks map[string]map[string]string `json:"marks"`
}

func newLive() live {
	return live{Cells: make(map[string]string), Marks: make(map[string]map[string]string)}
}

// The attributes that the script may set, besides those of lines and areas.
const (
	attributeMood   = "data-mood"
	attributeHidden = "hidden"
	attributeValue  = "value"
	attributePath   = "d"
	attributeLabel  = "aria-label"
)

// hiddenUnless is the attribute that hides what isn't there. The script takes the attribute away where its value is empty.
func hiddenUnless(isThere bool) map[string]string {
	if isThere {
		return map[string]string{attributeHidden: ""}
	}
	return map[string]string{attributeHidden: "hidden"}
}

// addStatus adds the verdict and the states.
func (l live) addStatus(status adminapi.Status) {
	verdict := verdictOf(status)
	l.Cells["verdict"], l.Marks["verdict"] = verdict.Text, map[string]string{attributeMood: verdict.Mood}
	l.addMoment("verdict.since", verdict.Since)
	l.Cells["uptime"] = uptimeText(status)
	for i, state := range statesOf(status) {
		key := "state." + strconv.Itoa(i)
		l.Cells[key+".word"], l.Cells[key+".reason"], l.Cells[key+".when"] = state.Word, state.Reason, state.When
		l.Marks[key] = map[string]string{attributeMood: state.Mood}
		l.addMoment(key+".since", state.Since)
	}
}

// addMoment adds a time, and what hides the line that it stands in.
func (l live) addMoment(key string, at moment) {
	l.Marks[key] = hiddenUnless(at.Known)
	if at.Known {
		l.Cells[key+".at"] = machineTime(at.At)
	}
}

// addActivity adds the lists of what moves.
func (l *live) addActivity(activity activityView) {
	l.Rows = make(map[string][]liveRow)
	for _, list := range activity.Lists {
		rows := make([]liveRow, 0, len(list.Rows))
		for _, row := range list.Rows {
			rows = append(rows, liveRow{
				Key:   row.Key,
				Cells: map[string]string{"names": row.Names, "where": row.Where, "amount": row.Amount, "rate": row.Rate, "further": row.Further, "stopped": row.Names},
				Marks: map[string]map[string]string{
					"progress": {
						attributeValue: row.ProgressText(), attributeHidden: hiddenUnless(row.IsKnown())[attributeHidden], attributeLabel: "How far " + row.Names + " is",
					},
					"stop": hiddenUnless(row.Stop != ""), "stop.what": {attributeValue: row.Stop},
				},
			})
		}
		l.Rows[list.Key] = rows
		l.Marks[list.Key+".empty"] = hiddenUnless(len(rows) == 0)
		l.Cells[list.Key+".more"], l.Marks[list.Key+".more"] = list.More, hiddenUnless(list.More != "")
	}
}

// addSavings adds the numbers and curves of a span.
func (l *live) addSavings(savings savingsView) {
	l.Cells["savings"], l.Cells["savings.note"] = savings.Text, savings.Note
	l.Marks["savings.note"], l.Marks["charts"] = hiddenUnless(savings.Note != ""), hiddenUnless(savings.IsKnown)
	for _, number := range savings.Figures {
		l.Cells["figure."+number.Key], l.Cells["figure."+number.Key+".further"] = number.Value, number.Further
	}
	l.Readouts = make(map[string][]readout)
	for _, drawn := range savings.Charts {
		key := "chart." + drawn.Key
		l.Cells[key+".top"], l.Cells[key+".bottom"] = drawn.Top, drawn.Bottom
		l.Cells[key+".from"], l.Cells[key+".to"] = machineTime(drawn.From.At), machineTime(drawn.To.At)
		l.Marks[key] = map[string]string{attributeLabel: drawn.Spoken}
		for _, curve := range drawn.Series {
			l.Marks[key+"."+curve.Key+".line"] = map[string]string{attributePath: curve.Line}
			if curve.IsFilled {
				l.Marks[key+"."+curve.Key+".area"] = map[string]string{attributePath: curve.Area}
			}
		}
		l.Readouts[drawn.Key] = drawn.Readouts
	}
}

// sendLive answers GET live: all that moves, for scripts that got no stream, and for curves.
func (p *Page) sendLive(w http.ResponseWriter, r *http.Request) {
	status, err := p.askStatus(r.Context())
	if err != nil {
		p.showError(w, r, "The edge can't be asked", err)
		return
	}
	moving := newLive()
	moving.addStatus(status)
	if activity, err := p.askActivity(r.Context()); err == nil {
		moving.addActivity(activityOf(activity, p.now()))
	}
	if savings := p.savings(r); savings.Trouble == "" {
		moving.addSavings(savings)
	}
	encoded, err := json.Marshal(moving)
	if err != nil {
		p.logger.Error("what moves can't be written", zap.Error(err))
		http.Error(w, "The log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodHead {
		_, _ = w.Write(encoded) // a viewer who left doesn't read it
	}
}
