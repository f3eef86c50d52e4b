// cluster: the cluster as it is now, drawn from server-sent events as long as it is looked at.

import { request, unreachable } from "./api.js";
import { $, announce, element, morph, svg } from "./dom.js";
import { events, pause } from "./stream.js";

const PAUSES = [300, 1000, 2000, 4000, 8000]; // ms before each try to connect again
const SILENT = 12000; // ms: a connection is dead
const HISTORY = 300; // s of tokens a second
const FAULTS = /^(node-down|model-unav|damaged-weights|this-node)/; // kinds of problems; others are remarks
const GAP = 5000; // ms without a value
const RECENT = 8; // s that times are shares of
const PARTS = [["computed", "computing"], ["waited", "waiting"], ["held", "held"], ["wire", "on the wire"]];

let report = null, connection = null, onkey = null, past = [];
let trouble = "Connecting…"; // empty: the report is live
const history = new Map(); // of models' names: [time, tokens a second], ...
let happened = []; // events, the latest first; those that are known come before the first report
let first = true;

function scaled(n, units, base) {
	let i = 0;
	for (; n >= base && i < units.length - 1; i++) n /= base;
	return (n >= 100 || !n ? n.toFixed(0) : n.toPrecision(n >= 10 ? 3 : 2)) + " " + units[i];
}
const size = (n) => scaled(n, ["B", "KiB", "MiB", "GiB", "TiB"], 1024);
const time = (s) => scaled(1e6 * s, ["µs", "ms", "s"], 1000);
const percent = (share) => Math.round(100 * share) + "%";
const count = (n, word) => n.toLocaleString("en") + " " + word + (n === 1 ? "" : "s");
const layers = (s) => (s.last - s.first === 1 ? "layer " + s.first : `layers ${s.first}–${s.last - 1}`);
const cut = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);
const list = (...words) => words.filter(Boolean).join(" · ");
const trip = (l) => (l?.round_trip_seconds > 0 ? time(l.round_trip_seconds) : "");
const speed = (l) => (l?.rate > 0 ? scaled(8 * l.rate, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"], 1000) : "");
const rate = (m) => (m.sequences ? m.tokens_per_second : 0); // it falls slowly after the last one
const perToken = (s) => (s.single_rows ? time(s.single_seconds / s.single_rows) : s.predicted_seconds ? "≈ " + time(s.predicted_seconds) : "");
const memory = (n) => size(n.memory_used) + " of " + size(n.memory_allowed);

// ---- what a report says ----

const nodeOf = (name) => report.nodes.find((n) => n.name === name) ?? { name, state: "unknown" };
const isUp = (name) => nodeOf(name).state === "up";

// Shares of the time of stage i, -1: of embedding and output; lately, or since it was loaded.
function shares(model, i) {
	const times = (r) => {
		const m = r?.models.find((one) => one.name === model.name), t = i < 0 ? m?.ends_times : m?.stages[i]?.times;
		return t && PARTS.map(([p]) => t[p + "_seconds"]);
	};
	const now = times(report), before = times(past[0]?.report), lately = before && now?.map((v, k) => v - before[k]);
	const of = lately?.some((v) => v > 0) && lately.every((v) => v >= 0) ? lately : now, all = of?.reduce((a, b) => a + b);
	return all > 0 ? of.map((v) => v / all) : null;
}

// ---- the picture ----

const W = 236;
const text = (x, y, cls, words, anchor) => svg("text", { x, y, class: cls, "text-anchor": anchor }, words);
const small = (x, y, words, anchor) => text(x, y, "small", words, anchor);
const right = (y, words) => small(W - 16, y, words, "end");
const path = (d, cls) => svg("path", { d, class: cls });

// Parts of a bar: [share, class], one after the other.
function bar(y, parts, h = 8) {
	let x = 16;
	return svg("g", {}, ...[[1, "track"], ...parts].map(([share, cls], i) => {
		const e = svg("rect", { x, y, width: share * (W - 32), height: h, rx: parts.length > 2 && i ? 0 : h / 2, class: cls });
		x += i && share * (W - 32);
		return e;
	}));
}

// A node with a stage; without one: with embedding and output, or without a model.
function machine(x, y, h, [name, stage, i], model) {
	const n = nodeOf(name), up = isUp(name), all = model?.stages.at(-1).last, s = up && model && shares(model, i), t = stage && perToken(stage);
	const parts = [svg("title", {}, name), svg("rect", { width: W, height: h, rx: 16, class: "box" }), path("M16 17h22v15h-22zM22 37h10M27 32v5", "glyph"), svg("circle", { cx: W - 20, cy: 22, r: 5, class: "dot" }),
		text(48, 27, name.length > 15 ? "label" : "name", cut(name, 20)), small(48, 44, up ? list(model?.coordinator === name && "coordinator", n.self && "this node") : n.state)];
	if (stage) parts.push(bar(60, [[stage.first / all, "none"], [(stage.last - stage.first) / all, "holds"]]), text(16, 86, "label", layers(stage)), right(86, stage.weight_bytes ? size(stage.weight_bytes) : ""));
	else if (model) parts.push(text(16, 76, "label", "embedding and output"));
	if (!up) (n.reason ?? "").match(/\S{32,}|.{1,32}(?= |$)/g)?.slice(0, 3).forEach((line, k) => parts.push(small(16, h - 46 + 17 * k, cut(line.trim(), 32))));
	else if (model) parts.push(bar(97, (s || []).map((v, k) => [v, PARTS[k][0]])), small(16, 123, s ? PARTS[s.indexOf(Math.max(...s))][1] + " " + percent(Math.max(...s)) : model.steps === 0 ? "no step yet" : ""), right(123, t ? t + " a token" : ""));
	if (up && n.memory_allowed) parts.push(bar(h - 37, [[Math.min(1, n.memory_used / n.memory_allowed), "memory"]], 6), small(16, h - 14, "memory"), right(h - 14, memory(n)));
	return svg("g", { transform: `translate(${x} ${y})`, class: up ? "" : "gone" }, ...parts);
}

// boxes: [name, stage, its number]
function picture(boxes, model, label, room) {
	const columns = Math.max(1, Math.min(boxes.length, Math.floor((room + 74) / (W + 74)))), gap = columns > 1 ? Math.min(130, (room - columns * W) / (columns - 1)) : 0;
	const rows = Math.ceil(boxes.length / columns), loop = model && boxes.length > 1, w = columns * (W + gap) - gap, h = model ? 172 : 112, pitch = h + (loop ? 46 : 14);
	const p = svg("svg", { class: "picture", role: "img", "aria-label": label, viewBox: `-1 -1 ${w + 2} ${rows * pitch}`, width: w + 2, height: rows * pitch });
	boxes.forEach((box, k) => {
		const x = (k % columns) * (W + gap), y = Math.floor(k / columns) * pitch, last = k + 1 === boxes.length;
		p.append(machine(x, y, h, box, model));
		if (!loop) return;
		// the last goes on by way of the coordinator; within a machine there is no link
		const first = boxes[0][0], links = [box[1] ? box[1].link : model.link, last && boxes[0][1] && model.link].filter(Boolean), [l] = links;
		const line = "link" + (![box, boxes[k + 1] ?? boxes[0]].every(([name]) => isUp(name)) || links.some((one) => !one.up) ? " broken" : rate(model) > 0 ? " moves" : "");
		const words = list(last && "back to " + cut(first, 18) + ([first, box[0]].includes(model.coordinator) ? "" : " by " + cut(model.coordinator, 9)), ...links.map(trip), !links[1] && speed(l));
		const turn = (up) => p.append(path(`M${x + W / 2} ${y + h}v12q0 8-8 8H${W / 2 + 8}q-8 0-8 ${up ? "-8v-10" : "8v16"}`, line), path(`M${W / 2 - 5} ${up ? h + 9 : y + pitch - 9}l5${up ? "-6 5 6" : " 6 5-6"}`, "tip"), small(w / 2, y + h + 38, words, "middle"));
		if (last && rows === 1 && columns > 1) turn(true);
		else if (last) p.append(small(x + 16, y + h + 28, "↩ " + words));
		else if (columns === 1) p.append(path(`M${x + 27} ${y + h}v46`, line), small(x + 42, y + h + 28, words));
		else if ((k + 1) % columns === 0) turn(false);
		else p.append(path(`M${x + W} ${y + 70}h${gap}`, line), path(`M${x + W + gap - 8} ${y + 65}l6 5-6 5`, "tip"), small(x + W + gap / 2, y + 60, trip(l), "middle"), small(x + W + gap / 2, y + 88, speed(l), "middle"));
	});
	return p;
}

export function sparkline(points) {
	const now = Date.now(), most = Math.max(1, ...points.map((p) => p[1])), w = 400, h = 56;
	const at = ([t, v]) => `${Math.round(w * (1 - (now - t) / 1000 / HISTORY))} ${Math.round(h - 2 - (v / most) * (h - 6))}`;
	const runs = []; // with gaps where nothing was seen
	points.forEach((p, i) => (p[0] - points[i - 1]?.[0] < GAP ? runs.at(-1).push(at(p)) : runs.push([at(p)])));
	return svg("svg", { class: "spark", role: "img", "aria-label": "Tokens a second in the last five minutes, at most " + most.toFixed(1), viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: "none" },
		...runs.map((r) => r.join("L")).flatMap((d) => [path(`M${d}V${h}H${d.split(" ")[0]}Z`, "area"), path("M" + d, "curve")]));
}

const card = (title, ...parts) => element("section", { class: "card" }, element("h2", title), ...parts);

function facts(m) {
	const rows = [["running", m.sequences + " of " + m.parallel], ["waiting", m.queued], m.blocks && ["KV cache in use", percent(1 - m.blocks_free / m.blocks)], ["first token", m.last_minute?.first_token ? time(m.last_minute.first_token.p50_seconds) : "–"],
		m.drafted && ["drafts right", percent(m.accepted / m.drafted) + " of " + m.drafted.toLocaleString("en")], ["since it was loaded", count(m.tokens, "token")]];
	return element("dl", { class: "facts" }, ...rows.filter(Boolean).map(([name, value]) => element("div", element("dt", name), element("dd", String(value)))));
}

function table(m) {
	const row = (cells, scope) => element("tr", ...cells.map((c, k) => element(k && !scope ? "td" : "th", { scope: scope ?? (k ? null : "row") }, c || "–")));
	return element("details", element("summary", "As a table"), element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Stages of " + m.name }, element("table",
		element("thead", row(["node", "state", "layers", "weights", "a token", ...PARTS.map((p) => p[1]), "memory", "link to"], "col")),
		element("tbody", ...m.stages.map((s, i) => {
			const n = nodeOf(s.node), times = shares(m, i);
			return row([s.node, n.state, `${s.first}–${s.last - 1}`, s.weight_bytes && size(s.weight_bytes), perToken(s), ...PARTS.map((_, k) => times && percent(times[k])), n.memory_allowed && memory(n), s.link && list(s.link.node, trip(s.link), speed(s.link))]);
		})))));
}

function modelCard(m, room) {
	const boxes = m.stages.map((s, i) => [s.node, s, i]);
	if (m.stages.every((s) => s.node !== m.coordinator)) boxes.unshift([m.coordinator, null, -1]);
	return element("section", { class: "card", id: "of-" + m.name },
		element("div", { class: "top" }, element("h2", m.name), element("span", { class: "pill " + m.state }, m.state), element("p", { class: "note" }, m.reason ?? list("context " + m.context.toLocaleString("en"), "KV cache " + m.kv, m.draft && "drafts by " + m.draft))),
		m.state === "serving" && m.tokens !== undefined ? element("div", { class: "speed" }, element("p", element("strong", rate(m).toFixed(1)), " tokens/s"), sparkline(history.get(m.name) ?? []), facts(m)) : null,
		picture(boxes, m, m.name + " on " + m.stages.map((s) => s.node + ": " + layers(s)).join(", "), room),
		element("p", { class: "legend", "aria-hidden": "true" }, ...PARTS.map(([p, word]) => element("span", { class: p }, word))), table(m));
}

function workCard() {
	const rows = report.nodes.filter((n) => n.state === "up").flatMap((n) => (n.work ?? []).map(({ what, model, done_bytes: done, total_bytes: all }) => {
		const words = `${n.name} is ${what} ${model}`;
		return element("div", { class: "work" }, element("span", words), element("progress", { "aria-label": words, max: all || null, value: all ? done : null }), element("span", { class: "note" }, all ? percent(done / all) + " of " + size(all) : ""));
	}));
	return rows.length ? card("Under way", ...rows) : null;
}

function cards() {
	const room = $("cluster-body").clientWidth - 44, used = new Set(report.models.flatMap((m) => [m.coordinator, ...m.stages.map((s) => s.node)]));
	const others = report.nodes.filter((n) => !used.has(n.name) && n.state !== "expelled");
	const notices = (cls) => report.problems.filter((p) => FAULTS.test(p.kind) === !cls).map((p) => element("div", { class: "notice " + cls }, element("p", p.what), p.advice && element("p", { class: "note" }, p.advice)));
	return [
		...notices(""), workCard(), ...report.models.map((m) => modelCard(m, room)), ...notices("remark"),
		others.length ? card("Nodes without layers", picture(others.map((n) => [n.name]), null, others.map((n) => n.name).join(", "), room)) : null,
		happened.length ? card("Events", element("ul", { class: "events" }, ...happened.map((e) => element("li", { class: e.severity }, element("time", new Date(1000 * e.unix).toLocaleTimeString("en-GB")), `${e.text} `, element("span", { class: "note" }, e.node))))) : null,
	];
}

function draw() {
	if ($("cluster").hidden) return;
	morph($("cluster-body"), element("div", { id: "cluster-body", class: trouble && report ? "stale" : null },
		element("p", { class: "verdict " + (!trouble && report.healthy) }, trouble || report.verdict), ...(report ? cards() : [])));
}

// ---- what comes ----

function take(e) {
	const data = JSON.parse(e.data);
	if (e.name === "event") {
		happened = [data, ...happened].slice(0, 64);
		if (!first) announce(data.text);
	} else {
		report = data;
		trouble = "";
		first = false;
		past.push({ time: performance.now(), report });
		while (past.length > 2 && performance.now() - past[0].time > 1000 * RECENT) past.shift();
	}
	if (!trouble) draw();
}

async function read(signal) {
	const silence = new AbortController();
	let timer = 0;
	const wait = () => {
		clearTimeout(timer);
		timer = setTimeout(() => silence.abort(), SILENT);
	};
	wait();
	try {
		const { body } = await request("/v1/cluster/live", { signal: AbortSignal.any([signal, silence.signal]) });
		happened = [];
		first = true;
		for await (const e of events(body)) {
			wait();
			take(e);
		}
	} finally {
		clearTimeout(timer);
	}
}

// Until the signal says that nobody looks any more.
async function watch(signal) {
	for (let failures = 0; ; failures++) {
		let wait = 200;
		try {
			await read(signal); // a stream ends after some minutes
		} catch (e) {
			if (signal.aborted) return;
			if (!trouble) failures = 0;
			wait = e.retry ? 1000 * e.retry : PAUSES[Math.min(failures, PAUSES.length - 1)];
			const { message, advice } = e.kind ? e : unreachable();
			trouble = [message, advice].join(" ");
			if (!failures) announce(trouble);
			if (!failures && e.kind === "key") onkey();
			past = [];
			draw();
		}
		await pause(wait, signal);
	}
}

// Watched only while it can be seen.
export function show(visible, askForKey = onkey) {
	onkey = askForKey;
	$("cluster").hidden = !visible;
	draw();
	const watched = visible && !document.hidden;
	if (watched === !!connection) return;
	connection?.abort();
	connection = watched ? new AbortController() : null;
	if (watched) watch(connection.signal).catch((e) => e.name === "AbortError" || console.error(e));
}

setInterval(() => {
	if (!connection || trouble) return;
	for (const m of report.models) history.set(m.name, [...(history.get(m.name) ?? []), [Date.now(), rate(m)]].filter((p) => Date.now() - p[0] < 1000 * HISTORY));
	draw();
}, 1000);
addEventListener("resize", draw);
document.addEventListener("visibilitychange", () => show(!$("cluster").hidden));
