package page

// Treemaps are drawn in a field of this size. It keeps its shape, so that what is written into it can be read.
const (
	treemapWidth  = 1000.0
	treemapHeight = 260.0
)

// box is a place in a treemap.
type box struct{ X, Y, Width, Height float64 }

// squarified divides a field among weights, the largest first, in boxes that are as square as they can be: rows are filled along
// the shorter side as long as that makes the worst box of the row better. It is the algorithm of Bruls, Huizing and van Wijk (2000).
func squarified(weights []float64, field box) []box {
	sum := 0.0
	for _, weight := range weights {
		sum += weight
	}
	boxes := make([]box, 0, len(weights))
	if sum <= 0 || field.Width <= 0 || field.Height <= 0 {
		return append(boxes, make([]box, len(weights))...)
	}
	scale := field.Width * field.Height / sum
	for begin := 0; begin < len(weights); {
		side := min(field.Width, field.Height)
		end, area := begin+1, weights[begin]*scale
		for end < len(weights) {
			next := area + weights[end]*scale
			if worst(weights[begin:end+1], scale, next, side) > worst(weights[begin:end], scale, area, side) {
				break
			}
			end, area = end+1, next
		}
		boxes = append(boxes, laidOut(weights[begin:end], scale, area, &field)...)
		begin = end
	}
	return boxes
}

// worst is how far the box that is least square in a row is from a square: its longer side by its shorter one.
func worst(row []float64, scale, area, side float64) float64 {
	if area <= 0 || side <= 0 {
		return 0
	}
	depth, found := area/side, 0.0
	for _, weight := range row {
		if width := weight * scale / depth; width > 0 {
			found = max(found, width/depth, depth/width)
		}
	}
	return found
}

// laidOut places a row along the shorter side of what is left of the field, and takes its room away.
func laidOut(row []float64, scale, area float64, field *box) []box {
	if field.Width < field.Height {
		turned := field.turned()
		boxes := laidOut(row, scale, area, &turned)
		for i := range boxes {
			boxes[i] = boxes[i].turned()
		}
		*field = turned.turned()
		return boxes
	}
	depth := 0.0
	if field.Height > 0 {
		depth = area / field.Height
	}
	boxes := make([]box, 0, len(row))
	y := field.Y
	for _, weight := range row {
		height := 0.0
		if depth > 0 {
			height = weight * scale / depth
		}
		boxes = append(boxes, box{field.X, y, depth, height})
		y += height
	}
	field.X, field.Width = field.X+depth, max(0, field.Width-depth)
	return boxes
}

// turned is a box with its sides exchanged.
func (b box) turned() box { return box{b.Y, b.X, b.Height, b.Width} }

// inset is a box with room around it.
func (b box) inset(by float64) box {
	return box{b.X + by, b.Y + by, max(0, b.Width-2*by), max(0, b.Height-2*by)}
}
