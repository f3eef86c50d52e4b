// app: what is looked at, and what the buttons and keys do.

import { key, models } from "./api.js";
import { answer, interrupted, isRunning, stop } from "./chat.js";
import * as cluster from "./cluster.js";
import { $, announce, ask, command, element, setIcon } from "./dom.js";
import * as settings from "./settings.js";
import * as sidebar from "./sidebar.js";
import * as store from "./store.js";
import * as thread from "./thread.js";

const LOOK_SOON = 1500, LOOK_LATER = 20000; // ms between two looks at the models
const KEY_NEEDED = "This node needs an API key.";
const MODEL = "caravan.model";
const EXAMPLES = ["Tell me a story about a caravan in the desert", "Explain how a bicycle stays upright", "Write a shell script that finds large files",
	"Compare tea and coffee in a table"];

let conversation = null;
let known = null; // the models; null: not heard yet
let complaint = null; // why the models are not known
let asking = false, dismissed = false; // for a key: the dialog is open; it was closed without one

// ---- saying things ----

function banner(text) {
	if ($("banner").textContent === text) return;
	$("banner").textContent = text;
	$("banner").hidden = !text;
}

function complain(e) {
	banner(e.message);
	if (!(e instanceof store.StoreError)) console.error(e);
}

async function askForKey(text) {
	if (asking) return;
	asking = true;
	$("key-text").replaceChildren(text + " ", element("code", "caravan key create"), " makes one, on any node of the cluster.");
	$("key-input").value = key.get();
	$("key-forget").hidden = !key.get();
	const saved = (await ask($("key-dialog"))) === "save";
	if (saved) key.set($("key-input").value.trim());
	dismissed = !saved;
	asking = false;
	if (saved) look();
}

// ---- models ----

function drawModels() {
	const options = (known ?? []).map((m) => element("option", { value: m.id }, m.id + (m.of === m.id ? "" : " (" + m.of + ")") + (m.ready ? "" : " – " + (m.text || "not ready"))));
	const wanted = conversation.model;
	if (wanted && !(known ?? []).some((m) => m.id === wanted)) options.push(element("option", { value: wanted }, wanted + (known ? " – not loaded" : "")));
	if (!options.length) options.push(element("option", { value: "" }, known ? "No model is loaded" : "…"));
	const text = options.map((o) => o.textContent).join("\n");
	if ($("model").dataset.text !== text) {
		$("model").dataset.text = text;
		$("model").replaceChildren(...options);
	}
	$("model").value = wanted || (options[0]?.value ?? "");
}

// The one that a new conversation begins with: the last that was chosen, if it is there.
function preferred() {
	const last = localStorage.getItem(MODEL);
	return (known?.find((m) => m.id === last) ?? known?.find((m) => m.ready) ?? known?.[0])?.id ?? "";
}

// Unless the last message says so already.
function drawComplaint() {
	const said = complaint && conversation.messages.at(-1)?.error?.message === complaint.message;
	banner(complaint && !said && !atCluster() ? [complaint.message, complaint.advice].filter(Boolean).join(" ") : "");
}

let looking = 0;
async function look() {
	clearTimeout(looking);
	try {
		known = await models();
		complaint = null;
		if (!conversation.messages.length && !known.some((m) => m.id === conversation.model)) conversation.model = preferred();
	} catch (e) {
		complaint = e;
		if (e.kind === "key" && !dismissed) askForKey(key.get() ? "This node does not take the key that this browser has." : KEY_NEEDED);
	}
	drawComplaint();
	drawModels();
	drawWelcome();
	const soon = complaint || !known.some((m) => m.ready);
	if (!document.hidden && complaint?.kind !== "key") looking = setTimeout(look, soon ? LOOK_SOON : LOOK_LATER);
}

// ---- what is looked at ----

function drawWelcome() {
	const empty = !conversation.messages.length, m = known?.find((one) => one.id === conversation.model);
	$("welcome").hidden = !empty;
	if (!empty) return;
	const state = [known?.length === 0, m?.ready, m?.text, complaint?.kind].join();
	if ($("welcome").dataset.state === state && $("welcome").childElementCount) return;
	$("welcome").dataset.state = state;
	if (!known) {
		$("welcome").replaceChildren(element("p", { class: "note" }, complaint ? "Nothing is known of the models of this node yet." : "Connecting…"));
	} else if (known.length === 0) {
		$("welcome").replaceChildren(element("h2", "No model is loaded"),
			element("p", "Load one on any node of the cluster. This page notices when it is ready."),
			command("caravan load FILE.gguf"));
	} else if (m && !m.ready) {
		$("welcome").replaceChildren(element("h2", m.id + " is not ready yet"), element("p", "It " + (m.text || "is loading") + "."),
			element("p", { class: "note" }, "What you send meanwhile is answered as soon as it is ready."));
	} else {
		$("welcome").replaceChildren(element("h2", "What shall we talk about?"),
			element("div", { class: "examples" }, ...EXAMPLES.map((text) => element("button", { type: "button", onclick: () => send(text) }, text))));
	}
}

function drawSend() {
	const writing = isRunning(conversation);
	$("send").title = writing ? "Stop (Esc)" : "Send (Enter)";
	$("send").classList.toggle("stop", writing);
	$("send").disabled = !writing && !$("input").value.trim();
	setIcon($("send"), writing ? "stop" : "send");
}

function drawTitle() {
	const title = atCluster() ? "Cluster" : conversation.messages.length ? conversation.title : "New chat";
	$("title").textContent = title;
	document.title = title + " – Caravan";
	$("settings").classList.toggle("set", !!conversation.system || Object.keys(conversation.settings).length > 0);
}

const atCluster = () => location.hash === "#cluster";

// The chat, or the cluster.
function drawPlace() {
	const there = atCluster();
	document.body.classList.toggle("at-cluster", there);
	$("to-cluster").setAttribute("aria-current", there ? "page" : "false");
	cluster.show(there, () => askForKey(KEY_NEEDED));
	if (there) {
		banner("");
		sidebar.leave();
	}
	drawTitle();
}

function show(c) {
	conversation = c;
	thread.show(c);
	sidebar.draw(c.id);
	drawModels();
	drawWelcome();
	drawTitle();
	drawSend();
	drawComplaint();
	sidebar.leave();
}

function fresh() {
	const { system, settings: sampling } = settings.initial();
	return store.create(preferred(), system, sampling);
}

function begin() {
	if (location.hash) history.pushState(null, "", "/");
	drawPlace();
	show(fresh());
	$("input").focus();
}

// The address says which conversation is looked at.
function follow() {
	const c = store.get(location.hash.slice(1));
	drawPlace();
	if (atCluster()) {
		sidebar.draw("");
		$("cluster").focus();
		return;
	}
	sidebar.draw(c?.id ?? "");
	if (c && c !== conversation) show(c);
	else if (!c && conversation?.messages.length) show(fresh());
}

// ---- sending ----

// message: one that was begun already
async function write(c = conversation, message = null) {
	const done = answer(c, () => {
		thread.update(c);
		if (c === conversation) drawSend();
	}, message);
	sidebar.draw();
	const failure = await done;
	thread.updateNow(c);
	sidebar.draw();
	if (c === conversation) drawSend();
	const text = c.messages.at(-1)?.content ?? "";
	announce(failure ? failure.message : text ? "Answer: " + text.slice(0, 2000) : "");
	if (failure?.kind === "key") askForKey(KEY_NEEDED);
	else if (failure instanceof store.StoreError) complain(failure);
	else if (failure) look();
}

// A text without what Markdown adds to it, in one line.
function plain(text) {
	return text.replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1").replace(/^\s*(#+|>|[-*+]|\d+\.)\s+/gm, "").replace(/```\w*|[`*_~]{1,3}(?=\S)|(?<=\S)[`*_~]{1,3}/g, "")
		.replace(/\s+/g, " ").trim();
}

async function send(text) {
	const c = conversation;
	if (!text.trim() || isRunning(c)) return;
	if (!c.messages.length && !c.named) c.title = plain(text).slice(0, 60) || "New chat";
	c.model ||= preferred();
	c.messages.push({ role: "user", content: text, state: "done" });
	c.updated = Date.now();
	store.save(c).catch(complain);
	history.replaceState(null, "", "#" + c.id);
	announce("Sent");
	const done = write();
	drawWelcome();
	drawTitle();
	sidebar.draw(c.id);
	thread.toEnd();
	await done;
}

// What a message said before goes, with all that came after it.
function rewind(message) {
	conversation.messages.length = conversation.messages.indexOf(message);
	thread.show(conversation);
}

thread.setActions({
	edit(message, text) {
		rewind(message);
		send(text);
		$("input").focus();
	},
	regenerate(message) {
		if (isRunning(conversation)) return;
		rewind(message);
		write();
		$("input").focus();
	},
});

$("composer").onsubmit = (e) => {
	e.preventDefault();
	if (isRunning(conversation)) {
		stop(conversation);
		return;
	}
	const text = $("input").value;
	if (!text.trim()) return;
	$("input").value = "";
	thread.grow($("input"));
	send(text.trim());
};
$("input").oninput = () => {
	thread.grow($("input"));
	drawSend();
};

// ---- keys ----

$("input").onkeydown = (e) => {
	if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
		e.preventDefault();
		if (!isRunning(conversation)) $("composer").requestSubmit();
	} else if (e.key === "ArrowUp" && !$("input").value) {
		e.preventDefault();
		thread.editLast();
	}
};

const typing = (e) => /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName);

document.addEventListener("keydown", (e) => {
	const ctrl = e.ctrlKey || e.metaKey, letter = e.key.toLowerCase();
	if (document.querySelector("dialog[open], :popover-open")) return;
	if (e.key === "Escape" && document.body.classList.contains("sidebar-over")) sidebar.show(false);
	else if (e.key === "Escape" && isRunning(conversation)) stop(conversation);
	else if (ctrl && e.shiftKey && letter === "o") begin();
	else if (ctrl && e.shiftKey && letter === "l") location.hash = atCluster() ? conversation.messages.length ? conversation.id : "" : "cluster";
	else if (ctrl && e.shiftKey && letter === "s") sidebar.show(!sidebar.shown());
	else if (ctrl && !e.shiftKey && letter === "k") {
		if (!sidebar.shown()) sidebar.show(true);
		$("search").focus();
	} else if (e.key === "?" && !typing(e)) ask($("shortcuts-dialog"));
	else return;
	e.preventDefault();
});

// ---- buttons ----

const THEMES = { "": ["system", "as the system"], light: ["light", "light"], dark: ["dark", "dark"] };

const chosen = document.documentElement.dataset; // see theme.js

function drawTheme() {
	const [image, text] = THEMES[chosen.theme ?? ""];
	setIcon($("theme"), image);
	$("theme").setAttribute("aria-label", "Theme: " + text);
	$("theme").title = "Theme: " + text;
}

$("theme").onclick = () => {
	const names = Object.keys(THEMES), name = names[(names.indexOf(chosen.theme ?? "") + 1) % names.length];
	if (name) chosen.theme = name;
	else delete chosen.theme;
	localStorage.setItem("caravan.theme", name);
	drawTheme();
};
document.querySelector(".skip").addEventListener("click", (e) => {
	e.preventDefault(); // the address is of conversations
	$(atCluster() ? "cluster" : "input").focus();
});
$("new").onclick = $("new-too").onclick = begin;
$("shortcuts").onclick = () => ask($("shortcuts-dialog"));
$("key").onclick = () => askForKey("Nodes ask for one if a key was ever made for the cluster.");
$("key-forget").onclick = () => {
	key.set("");
	$("key-dialog").close("");
};
$("settings").onclick = async () => {
	const c = conversation;
	await settings.edit(c);
	if (c.messages.length) store.save(c).catch(complain);
	drawTitle();
};
$("model").onchange = () => {
	conversation.model = $("model").value;
	localStorage.setItem(MODEL, conversation.model);
	if (conversation.messages.length) store.save(conversation).catch(complain);
	drawWelcome();
};
document.addEventListener("visibilitychange", () => !document.hidden && look());
addEventListener("hashchange", follow);

sidebar.begin({
	complaint: complain,
	removed: (c) => c === conversation && begin(),
});

// ---- beginning ----

let stored = null;
try {
	await store.open((id) => {
		if (id === conversation.id && !isRunning(conversation)) show(store.get(id) ?? fresh());
		else sidebar.draw();
	});
} catch (e) {
	stored = e;
}
drawTheme();
show(store.get(location.hash.slice(1)) ?? fresh());
drawPlace();
for (const c of interrupted(store.all())) write(c, c.messages.at(-1));
await look();
if (stored) complain(stored);
if (!atCluster() && !conversation.messages.length && matchMedia("(hover: hover)").matches) $("input").focus();
document.documentElement.dataset.ready = "";
