// dom: small helpers for the document.

export const $ = (id) => document.getElementById(id);

function filled(e, [attributes, ...children]) {
	if (attributes?.constructor !== Object) {
		e.append(attributes ?? "");
		attributes = {};
	}
	for (const [name, value] of Object.entries(attributes)) {
		if (value === undefined || value === null || value === false) continue;
		if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
		else e.setAttribute(name, value === true ? "" : value);
	}
	e.append(...children.filter((c) => c !== null && c !== undefined));
	return e;
}

// element("p", { class: "note", onclick: f }, "text", child, ...), or without attributes
export const element = (tag, ...rest) => filled(document.createElement(tag), rest);
export const svg = (tag, ...rest) => filled(document.createElementNS("http://www.w3.org/2000/svg", tag), rest);
export const icon = (name) => svg("svg", { "aria-hidden": "true" }, svg("use", { href: "#icon-" + name }));

export const command = (words) => element("pre", { tabindex: 0 }, element("code", words));

// Paths in a square of 24.
const ICONS = {
	cluster: "M3 9h6v6H3zM15 4h6v6h-6zM15 14h6v6h-6zM9 12h3M15 7h-3v10h3",
	panel: "M3 5h18v14H3zM9 5v14",
	send: "M12 19V5M6 11l6-6 6 6",
	stop: "M8 8h8v8H8z",
	tune: "M4 7h10M18 7h2M4 17h2M10 17h10M14 7a2 2 0 1 0 4 0 2 2 0 1 0-4 0M6 17a2 2 0 1 0 4 0 2 2 0 1 0-4 0",
	search: "M5 11a6 6 0 1 0 12 0 6 6 0 1 0-12 0M16 16l4 4",
	more: "M5 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0M11 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0M17 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0",
	copy: "M9 9h11v11H9zM5 15a1 1 0 0 1-1-1V6a2 2 0 0 1 2-2h8a1 1 0 0 1 1 1",
	check: "m5 13 4 4L19 7",
	again: "M20 12a8 8 0 1 1-2.5-5.8M20 3v4h-4",
	edit: "M15.5 4.5a2.1 2.1 0 0 1 3 3L8 18l-4 1 1-4Z",
	down: "M12 5v14M6 13l6 6 6-6",
	import: "M12 15V4M8 8l4-4 4 4M5 20h14",
	export: "M12 4v11M8 11l4 4 4-4M5 20h14",
	key: "M4 15a4 4 0 1 0 8 0 4 4 0 1 0-8 0M11 12l8-8M16 7l3 3",
	keyboard: "M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M8 14h8",
	light: "M8 12a4 4 0 1 0 8 0 4 4 0 1 0-8 0M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M18.4 5.6 17 7M7 17l-1.4 1.4",
	dark: "M20 14.5A8 8 0 0 1 9.5 4a8 8 0 1 0 10.5 10.5Z",
	system: "M4 12a8 8 0 1 0 16 0 8 8 0 1 0-16 0M12 4a8 8 0 0 0 0 16Z",
	close: "m6 6 12 12M18 6 6 18",
};
ICONS.new = "M12 20h8" + ICONS.edit;
$("icons").append(...Object.entries(ICONS).map(([name, d]) => svg("symbol", { id: "icon-" + name, viewBox: "0 0 24 24" }, svg("path", { d }))));

// Makes `old` what `fresh` is, and keeps its elements, found by id or place: with focus, animations, and what was opened.
export function morph(old, fresh) {
	if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
	if (old.nodeType === Node.TEXT_NODE) return void (old.data === fresh.data || (old.data = fresh.data));
	for (const { name } of [...old.attributes]) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
	for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
	const has = [...fresh.childNodes];
	has.forEach((c, i) => {
		const same = c.id && [...old.children].find((e) => e.id === c.id), at = same || old.childNodes[i];
		if (!at || at.id !== c.id) old.insertBefore(c, at ?? null);
		else {
			if (at !== old.childNodes[i]) old.insertBefore(at, old.childNodes[i]);
			morph(at, c);
		}
	});
	while (old.childNodes.length > has.length) old.lastChild.remove();
}

export function setIcon(button, name) {
	button.querySelector("use").setAttribute("href", "#icon-" + name);
}

export function iconButton(name, label, onclick) {
	return element("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick }, icon(name));
}

// To people who hear the page.
export function announce(text) {
	$("status").textContent = text;
}

// Copies, and shows so on the button for a while.
export async function copy(button, text) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		copyBySelection(text); // a page over plain HTTP from another machine has no clipboard
	}
	setIcon(button, "check");
	announce("Copied");
	setTimeout(() => setIcon(button, "copy"), 1500);
}

function copyBySelection(text) {
	const field = element("textarea", { class: "visually-hidden" });
	field.value = text;
	document.body.append(field);
	field.select();
	document.execCommand("copy");
	field.remove();
}

// Dialogs: resolves to the value of the button that closed it, "" where it was closed otherwise.
export function ask(dialog) {
	dialog.returnValue = "";
	dialog.showModal();
	return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}

for (const dialog of document.querySelectorAll("dialog")) {
	dialog.addEventListener("click", (e) => {
		if (e.target === dialog) dialog.close(""); // outside of it
	});
	for (const b of dialog.querySelectorAll("[data-close]")) b.addEventListener("click", () => dialog.close(""));
}

export function download(name, object) {
	const url = URL.createObjectURL(new Blob([JSON.stringify(object, null, "\t")], { type: "application/json" }));
	element("a", { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 10000);
}
