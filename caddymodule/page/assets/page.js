// The page is complete without this script. It shows times in the viewer's zone, keeps what moves up to date, and reads curves out.
// It sets texts and a few attributes, and never makes markup of either: names are chosen by strangers.

const pollEvery = 15_000; // milliseconds, while there is no stream
const curvesEvery = 60_000;
const tryAgain = 60_000;

// The attributes that may be set. Whatever else a message has is passed over.
const settable = new Set(["data-mood", "hidden", "value", "d", "aria-label"]);

const forms = {
	minute: { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
	clock: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
	date: { day: "numeric", month: "short" },
};
const formats = {};
for (const [name, options] of Object.entries(forms)) {
	formats[name] = new Intl.DateTimeFormat("en-GB", options);
}

// Times.

function showTime(element, machine) {
	const at = new Date(machine);
	if (Number.isNaN(at.getTime())) return;
	setText(element, (formats[element.dataset.form] ?? formats.minute).format(at));
	if (element.dateTime !== machine) element.dateTime = machine;
}

function zoneName(style) {
	const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: style }).formatToParts(new Date());
	return parts.find((part) => part.type === "timeZoneName")?.value ?? "local";
}

function showTimes(root) {
	for (const time of root.querySelectorAll("time[datetime]")) {
		if (time.getAttribute("datetime")) showTime(time, time.getAttribute("datetime"));
	}
	for (const zone of root.querySelectorAll("[data-zone]")) {
		setText(zone, zone.dataset.zone === "long" ? Intl.DateTimeFormat().resolvedOptions().timeZone : zoneName("short"));
	}
}

// What moves.

function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

function setCell(element, text) {
	if (element.localName === "time") showTime(element, text);
	else setText(element, text);
}

function setMarks(element, marks) {
	for (const [name, value] of Object.entries(marks)) {
		if (!settable.has(name)) continue;
		if (name === "hidden") element.hidden = value !== "";
		else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
	}
}

function find(root, kind, key) {
	return root.querySelectorAll(`[data-${kind}="${CSS.escape(key)}"]`);
}

function take(root, message) {
	for (const [key, text] of Object.entries(message.cells ?? {})) {
		for (const element of find(root, "cell", key)) setCell(element, text);
	}
	for (const [key, marks] of Object.entries(message.marks ?? {})) {
		for (const element of find(root, "mark", key)) setMarks(element, marks);
	}
	for (const [key, rows] of Object.entries(message.rows ?? {})) takeRows(key, rows);
}

// takeRows brings a list to the rows of a message, and keeps the elements of those that stay.
function takeRows(key, rows) {
	const list = document.querySelector(`[data-rows="${CSS.escape(key)}"]`);
	const blank = document.querySelector(`[data-template="${CSS.escape(key)}"]`);
	if (!list || !blank) return;
	const present = new Map(Array.from(list.children, (element) => [element.dataset.key, element]));
	rows.forEach((row, place) => {
		let element = present.get(row.key);
		if (!element) {
			element = blank.content.firstElementChild.cloneNode(true);
			element.dataset.key = row.key;
		}
		present.delete(row.key);
		take(element, row);
		if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
	});
	for (const gone of present.values()) gone.remove();
}

// Where messages come from: a stream while the page is looked at, or questions now and then where there is none.

const savings = document.querySelector("[data-span]");
const readouts = {};
let stream, polls, retry;

async function ask() {
	const query = savings ? `?span=${encodeURIComponent(savings.dataset.span)}` : "";
	try {
		const answer = await fetch(`live${query}`, { headers: { accept: "application/json" } });
		if (!answer.ok) return;
		const message = await answer.json();
		take(document, message);
		Object.assign(readouts, message.readouts);
	} catch {
		// The edge is being started anew, or can't be reached. The next question tells.
	}
}

function isLive(live) {
	for (const element of find(document, "mark", "live")) element.hidden = !live;
}

function watch() {
	leave();
	stream = new EventSource("events");
	stream.onopen = () => isLive(true);
	stream.onmessage = (event) => take(document, JSON.parse(event.data));
	stream.onerror = () => {
		isLive(false);
		if (stream.readyState !== EventSource.CLOSED) return; // it comes back by itself
		leave();
		polls = setInterval(ask, pollEvery);
		retry = setTimeout(watch, tryAgain);
	};
}

function leave() {
	stream?.close();
	clearInterval(polls);
	clearTimeout(retry);
}

// Curves are read out where the pointer is, and by the arrow keys.

function readOut(chart, place) {
	const steps = readouts[chart.dataset.chart];
	if (!steps?.length) return;
	const step = Math.max(0, Math.min(steps.length - 1, place));
	chart.dataset.step = step;
	const x = steps.length > 1 ? (step * 1000) / (steps.length - 1) : 0;
	chart.querySelector(".pointer").setAttribute("d", `M${x} 0V100`);
	setText(chart.querySelector(".readout"), `${formats.minute.format(new Date(steps[step].time))}: ${steps[step].text}`);
}

function stopReading(chart) {
	chart.querySelector(".pointer").setAttribute("d", "");
	setText(chart.querySelector(".readout"), "");
}

for (const chart of document.querySelectorAll("[data-chart]")) {
	const plot = chart.querySelector("svg");
	plot.setAttribute("tabindex", "0");
	plot.addEventListener("pointermove", (event) => {
		const field = plot.getBoundingClientRect();
		const steps = readouts[chart.dataset.chart]?.length ?? 0;
		readOut(chart, Math.round(((event.clientX - field.left) / field.width) * (steps - 1)));
	});
	plot.addEventListener("pointerleave", () => stopReading(chart));
	plot.addEventListener("blur", () => stopReading(chart));
	plot.addEventListener("keydown", (event) => {
		const last = (readouts[chart.dataset.chart]?.length ?? 0) - 1;
		const step = Number(chart.dataset.step ?? last);
		const next = { ArrowLeft: step - 1, ArrowRight: step + 1, Home: 0, End: last }[event.key];
		if (next === undefined) return;
		event.preventDefault();
		readOut(chart, next);
	});
}

showTimes(document);
for (const template of document.querySelectorAll("template")) showTimes(template.content);

if (document.querySelector("[data-rows]")) {
	document.addEventListener("visibilitychange", () => (document.hidden ? leave() : watch()));
	addEventListener("pagehide", leave);
	addEventListener("pageshow", (event) => event.persisted && watch());
	if (!document.hidden) watch();
	if (savings) {
		ask();
		setInterval(() => document.hidden || ask(), curvesEvery);
	}
}
