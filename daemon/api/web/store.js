// store: the conversations, which stay in this browser: all of them in memory, each a record of an IndexedDB.
//
// A conversation: { id, title, named, created, updated, model, system, settings, messages }.  A message: { role, content,
// reasoning, model, stats, state, error }; state: "writing" until it is "done", "stopped", "cut" or "failed".

const LIMIT = 32 << 20; // characters of all of them as JSON

const conversations = new Map();
const sizes = new Map();
const removed = new Set(); // here: an answer that was being written there is not kept any more
const channel = "BroadcastChannel" in self ? new BroadcastChannel("caravan") : null;
let database = null;
let changed = () => {};

export class StoreError extends Error {}
const full = (what) => new StoreError(what + ": this conversation is not kept. Export some and delete them.");
const unfit = (what) => new StoreError("This file " + what + ": choose one that was exported here, or saved by caravan chat.");

const settled = (request) =>
	new Promise((done, failed) => {
		request.onsuccess = () => done(request.result);
		request.onerror = () => failed(request.error);
	});

const records = (mode) => database.transaction("conversations", mode).objectStore("conversations");

function keep(c) {
	conversations.set(c.id, c);
	sizes.set(c.id, JSON.stringify(c).length);
}

function drop(id) {
	conversations.delete(id);
	sizes.delete(id);
}

// onchange(id): another tab has changed that one.  Throws StoreError where nothing can be kept: they are in memory then.
export async function open(onchange) {
	changed = onchange;
	const opening = indexedDB.open("caravan", 1);
	opening.onupgradeneeded = () => opening.result.createObjectStore("conversations", { keyPath: "id" });
	try {
		database = await settled(opening);
		for (const c of await settled(records("readonly").getAll())) keep(c);
	} catch {
		database = null;
		throw new StoreError("This browser keeps no data for this page: conversations are gone when it is closed.");
	}
	channel?.addEventListener("message", (e) => reload(e.data));
}

async function reload(id) {
	const c = await settled(records("readonly").get(id));
	if (c) keep(c);
	else drop(id);
	changed(id);
}

export const all = () => [...conversations.values()].sort((a, b) => b.updated - a.updated);
export const get = (id) => conversations.get(id);
export const used = () => [...sizes.values()].reduce((sum, n) => sum + n, 0);

// Keeps it as it is now.  Throws StoreError where there is no room: it is in memory then.
export async function save(c) {
	if (removed.has(c.id)) return;
	keep(c);
	if (used() > LIMIT) throw full("The conversations in this browser are full (32 MiB)");
	if (!database) return;
	try {
		await settled(records("readwrite").put(structuredClone(c)));
	} catch (e) {
		throw e.name === "QuotaExceededError" ? full("This browser has no more room for this page") : new StoreError("This conversation could not be kept: " + e.message);
	}
	channel?.postMessage(c.id);
}

export async function remove(id) {
	removed.add(id);
	drop(id);
	if (database) await settled(records("readwrite").delete(id));
	channel?.postMessage(id);
}

export function create(model, system, settings) {
	const now = Date.now();
	return { id: crypto.getRandomValues(new BigUint64Array(1))[0].toString(36), title: "New chat", named: false, created: now, updated: now,
		model, system, settings: { ...settings }, messages: [] };
}

// Those whose title or text has all of the words; with the text around the first of them.
export function search(query) {
	const words = query.toLowerCase().split(/\s+/).filter(Boolean);
	const found = [];
	for (const c of all()) {
		const texts = [c.title, ...c.messages.map((m) => m.content)];
		const lower = texts.map((t) => t.toLowerCase());
		if (!words.every((w) => lower.some((t) => t.includes(w)))) continue;
		const i = lower.findIndex((t, k) => k > 0 && t.includes(words[0]));
		const at = i > 0 ? lower[i].indexOf(words[0]) : -1;
		found.push({ conversation: c, excerpt: at < 0 ? "" : (at > 30 ? "…" : "") + texts[i].slice(Math.max(0, at - 30), at + 60) });
	}
	return found;
}

// ---- files ----

export const exported = (list) => ({ format: "caravan-conversations", version: 1, conversations: list });

const string = (v, most) => (typeof v === "string" ? v.slice(0, most) : "");
const number = (v, otherwise) => (Number.isFinite(v) ? v : otherwise);

// Only what this page knows, so that a file cannot bring anything else.
function imported(c) {
	const settings = {};
	for (const [name, value] of Object.entries(c.settings ?? {}))
		if (/^[a-z_]{1,30}$/.test(name) && Number.isFinite(value)) settings[name] = value;
	const messages = c.messages.filter((m) => m?.role === "user" || m?.role === "assistant").map((m) => {
		const one = { role: m.role, content: string(m.content, LIMIT), state: m.state === "writing" ? "cut" : string(m.state, 20) || "done" };
		if (m.reasoning) one.reasoning = string(m.reasoning, LIMIT);
		if (m.model) one.model = string(m.model, 200);
		return one;
	});
	const now = Date.now();
	return { id: typeof c.id === "string" && /^[a-z0-9]{1,20}$/.test(c.id) ? c.id : create().id, title: string(c.title, 120) || "Imported chat", named: c.named === true,
		created: number(c.created, now), updated: number(c.updated, now), model: string(c.model, 200), system: string(c.system, LIMIT), settings, messages };
}

// The conversations of a file: of an export, or the one that caravan chat has saved.
function contents(file) {
	if (file?.format === "caravan-conversations" && Array.isArray(file.conversations)) return file.conversations;
	const messages = file?.messages;
	if (!Array.isArray(messages)) throw unfit("has no conversations of Caravan");
	const question = messages.find((m) => m?.role === "user");
	return [{ title: string(question?.content, 40), model: file.model, system: messages[0]?.role === "system" ? messages[0].content : "", messages }];
}

// How many are new or newer than what is here.
export async function load(text) {
	let file;
	try {
		file = JSON.parse(text);
	} catch {
		throw unfit("is not JSON");
	}
	let n = 0;
	for (const c of contents(file)) {
		if (!c || !Array.isArray(c.messages)) throw new StoreError("A conversation in this file has no messages: " + n + " were imported.");
		const one = imported(c);
		const here = conversations.get(one.id);
		if (here && here.updated >= one.updated) continue;
		removed.delete(one.id);
		await save(one);
		n++;
	}
	return n;
}
