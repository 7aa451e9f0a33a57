package page

import (
	"strconv"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// usageView is what is stored, by project and package.
type usageView struct {
	Text     string
	Tiles    []tile
	Projects []projectUsage
	// Others says how many more projects there are, and how much is theirs.
	Others            string
	MostUsed, Largest []fileView
	At                time.Time
	Trouble           string
}

// tile is one package, or the rest of a project, in the treemap.
type tile struct {
	X, Y, Width, Height string
	// Shade numbers the project's shade.
	Shade int
	// Title is what is said about it. Label and Amount are written into it, and are empty where they don't fit.
	Title, Label, Amount string
	LabelX, LabelY       string
	AmountY              string
}

// projectUsage is one row of the table beside the treemap.
type projectUsage struct {
	Upstream, Project string
	Shade             int
	Size, Share       string
	// Bar is the part of the largest project's, in percent, and BarText the same as SVG reads it.
	BarText  string
	Entries  int
	Hits     int64
	Packages []packageUsage
	Others   string
}

type packageUsage struct {
	Package, Size, Share string
	Entries              int
	Hits                 int64
}

// shades is how many shades projects have in the treemap; those that are smaller share the last.
const shades = 6

// shownTop is how many of the most used and the largest files the overview lists, and shownProjects how many projects.
const (
	shownTop      = 6
	shownProjects = 12
)

func usageOf(usage adminapi.Usage) usageView {
	view := usageView{At: usage.At, Text: usageText(usage), Tiles: tilesOf(usage)}
	further, furtherBytes := usage.OtherProjects, usage.OtherBytes
	for i, project := range usage.Projects {
		if i >= shownProjects {
			further, furtherBytes = further+1, furtherBytes+project.Bytes
			continue
		}
		row := projectUsage{
			Upstream: project.Upstream, Project: project.Project, Shade: min(i, shades-1), Size: sizeText(project.Bytes), Share: ratioText(project.Bytes, usage.Bytes),
			Entries: project.Entries, Hits: project.Hits, BarText: "0",
		}
		if largest := usage.Projects[0].Bytes; largest > 0 {
			row.BarText = strconv.FormatFloat(float64(project.Bytes)/float64(largest)*100, 'f', 1, 64)
		}
		for _, stored := range project.Packages {
			row.Packages = append(row.Packages, packageUsage{stored.Package, sizeText(stored.Bytes), ratioText(stored.Bytes, project.Bytes), stored.Entries, stored.Hits})
		}
		if project.OtherPackages > 0 {
			row.Others = "And " + plural(project.OtherPackages, "more package", "more packages") + " with " + sizeText(project.OtherBytes) + "."
		}
		view.Projects = append(view.Projects, row)
	}
	if further > 0 {
		view.Others = "And " + plural(further, "more project", "more projects") + " with " + sizeText(furtherBytes) + "."
	}
	view.MostUsed, view.Largest = filesOf(usage.MostUsed, shownTop), filesOf(usage.Largest, shownTop)
	return view
}

func usageText(usage adminapi.Usage) string {
	if usage.Entries == 0 {
		return "Nothing is stored yet. The first download of a file brings it here."
	}
	projects := len(usage.Projects) + usage.OtherProjects
	return plural(usage.Entries, "file", "files") + " of " + plural(projects, "project", "projects") + ", " + sizeText(usage.Bytes) + " in all."
}

// tilesOf draws the treemap: projects beside each other, in each its packages.
func tilesOf(usage adminapi.Usage) (tiles []tile) {
	if usage.Bytes <= 0 {
		return nil
	}
	weights := make([]float64, 0, len(usage.Projects)+1)
	for _, project := range usage.Projects {
		weights = append(weights, float64(project.Bytes))
	}
	if usage.OtherBytes > 0 {
		weights = append(weights, float64(usage.OtherBytes))
	}
	for i, place := range squarified(weights, box{0, 0, treemapWidth, treemapHeight}) {
		if i == len(usage.Projects) {
			tiles = append(tiles, tileOf(place, shades-1, sizeText(usage.OtherBytes), plural(usage.OtherProjects, "more project", "more projects")))
			continue
		}
		tiles = append(tiles, projectTiles(usage.Projects[i], min(i, shades-1), place.inset(1))...)
	}
	return tiles
}

func projectTiles(project adminapi.ProjectUsage, shade int, place box) (tiles []tile) {
	weights := make([]float64, 0, len(project.Packages)+1)
	for _, stored := range project.Packages {
		weights = append(weights, float64(stored.Bytes))
	}
	if project.OtherBytes > 0 {
		weights = append(weights, float64(project.OtherBytes))
	}
	for i, inner := range squarified(weights, place) {
		if i == len(project.Packages) {
			tiles = append(tiles, tileOf(inner, shade, sizeText(project.OtherBytes), project.Project, plural(project.OtherPackages, "more package", "more packages")))
			continue
		}
		stored := project.Packages[i]
		tiles = append(tiles, tileOf(inner, shade, sizeText(stored.Bytes), project.Project, stored.Package))
	}
	return tiles
}

// A letter of a label is about so wide, in the field's units; what is shorter than so many letters says nothing.
const (
	letterWidth  = 8.5
	shortestName = 4
)

// tileOf draws a tile. It is labelled with all its names, or with the last one alone where there is less room.
func tileOf(place box, shade int, amount string, names ...string) tile {
	place = place.inset(0.75)
	whole := selection(names...)
	drawn := tile{
		X: decimal(place.X), Y: decimal(place.Y), Width: decimal(place.Width), Height: decimal(place.Height), Shade: shade, Title: whole + ": " + amount,
		LabelX: decimal(place.X + 8), LabelY: decimal(place.Y + 20), AmountY: decimal(place.Y + 38),
	}
	room := int((place.Width - 16) / letterWidth)
	if place.Height < 28 || room < shortestName {
		return drawn
	}
	letters := []rune(whole)
	if len(letters) > room {
		letters = []rune(visible(names[len(names)-1]))
	}
	if len(letters) > room {
		letters = append(letters[:room-1], '…')
	}
	drawn.Label = string(letters)
	if place.Height >= 46 && len([]rune(amount)) <= room {
		drawn.Amount = amount
	}
	return drawn
}
