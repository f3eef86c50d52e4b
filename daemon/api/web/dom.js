// dom: small helpers for the document.

export const $ = (id) => document.getElementById(id);

// element("p", { class: "note", onclick: f }, "text", child, ...)
export function element(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (value === undefined || value === null || value === false) continue;
		if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
		else e.setAttribute(name, value === true ? "" : value);
	}
	e.append(...children.filter((c) => c !== null && c !== undefined));
	return e;
}

export function icon(name) {
	const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
	const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
	use.setAttribute("href", "#icon-" + name);
	svg.setAttribute("aria-hidden", "true");
	svg.append(use);
	return svg;
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
