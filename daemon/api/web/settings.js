// settings: the system prompt and the sampling of a conversation.

import { $, ask, element } from "./dom.js";

const STORED = "caravan.settings";

// As the API has them where a request says nothing.
export const SAMPLING = [
	{ name: "temperature", label: "Temperature", least: 0, most: 2, step: 0.05, usual: 0.8, help: "0 always takes the most likely token; higher is more varied." },
	{ name: "top_p", label: "Top p", least: 0, most: 1, step: 0.01, usual: 0.95, help: "Only the most likely tokens that together have this probability." },
	{ name: "top_k", label: "Top k", least: 0, most: 200, step: 1, usual: 40, help: "Only this many of the most likely tokens; 0: all." },
	{ name: "min_p", label: "Min p", least: 0, most: 1, step: 0.01, usual: 0.05, help: "Only tokens at least this share as likely as the top one." },
	{ name: "repeat_penalty", label: "Repeat penalty", least: 1, most: 2, step: 0.01, usual: 1, help: "Above 1: tokens that occurred lately are less likely." },
	{ name: "max_tokens", label: "Longest answer", least: 1, step: 1, help: "In tokens; empty: as long as the context allows." },
	{ name: "seed", label: "Seed", least: 0, step: 1, help: "The same seed gives the same answer; empty: another one each time." },
];

function stored() {
	try {
		return JSON.parse(localStorage.getItem(STORED)) ?? {};
	} catch {
		return {};
	}
}

// What new conversations begin with.
export const initial = () => ({ system: stored().system ?? "", settings: stored().settings ?? {} });

function remember(c) {
	try {
		localStorage.setItem(STORED, JSON.stringify({ system: c.system, settings: c.settings }));
	} catch {} // no room, or storage is off: new chats begin with the defaults
}

function field(s, c) {
	const number = element("input", { type: "number", id: "set-" + s.name, min: s.least, max: s.most, step: s.step, inputmode: "decimal",
		placeholder: s.usual ?? "", "aria-describedby": "help-" + s.name });
	number.value = c.settings[s.name] ?? "";
	const range = s.most === undefined ? null : element("input", { type: "range", min: s.least, max: s.most, step: s.step, "aria-label": s.label });
	const set = (text) => {
		const value = Number(text);
		if (text === "" || !Number.isFinite(value)) delete c.settings[s.name];
		else c.settings[s.name] = Math.min(Math.max(value, s.least), s.most ?? Number.MAX_SAFE_INTEGER);
		if (range) range.value = c.settings[s.name] ?? s.usual;
	};
	number.addEventListener("input", () => set(number.value));
	range?.addEventListener("input", () => set((number.value = range.value)));
	set(number.value);
	return element("div", { class: "setting" }, element("label", { for: number.id }, s.label), number, range ?? "",
		element("p", { id: "help-" + s.name, class: "note" }, s.help));
}

// Lets a person change those of a conversation.
export async function edit(c) {
	const draw = () => {
		$("system").value = c.system;
		$("sampling").replaceChildren(...SAMPLING.map((s) => field(s, c)));
	};
	draw();
	$("system").oninput = () => (c.system = $("system").value);
	$("defaults").onclick = () => {
		c.system = "";
		c.settings = {};
		draw();
	};
	await ask($("settings-dialog"));
	remember(c);
}
