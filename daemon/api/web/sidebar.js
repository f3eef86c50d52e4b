// sidebar: the list of conversations, searching it, and what can be done with each of them.

import { isRunning, stop } from "./chat.js";
import { $, announce, ask, download, element, iconButton } from "./dom.js";
import * as store from "./store.js";

const DAY = 86400000;

let current = null; // id
let onremoved = () => {};
let oncomplaint = () => {};
let menuOf = null; // the conversation whose menu is open

function group(updated) {
	const midnight = new Date().setHours(0, 0, 0, 0);
	if (updated >= midnight) return "Today";
	if (updated >= midnight - DAY) return "Yesterday";
	return updated >= midnight - 6 * DAY ? "Previous 7 days" : "Older";
}

function row(c, excerpt) {
	const more = iconButton("more", "More: " + c.title, () => openMenu(c, more));
	more.setAttribute("aria-haspopup", "true");
	more.title = "More";
	return element("li", { class: "item" + (isRunning(c) ? " running" : "") },
		element("a", { href: "#" + c.id, "aria-current": c.id === current ? "page" : null, title: c.title },
			element("span", { class: "title" }, c.title), excerpt ? element("span", { class: "excerpt" }, excerpt) : null), more);
}

export function draw(id = current) {
	current = id;
	const query = $("search").value.trim();
	const found = query ? store.search(query) : store.all().map((conversation) => ({ conversation, excerpt: "" }));
	const many = found.length === 1 ? "1 chat found" : found.length + " chats found";
	const groups = Map.groupBy(found, (f) => (query ? many : group(f.conversation.updated)));
	const parts = [...groups].map(([name, list]) => element("section", element("h2", name),
		element("ul", ...list.map((f) => row(f.conversation, f.excerpt)))));
	if (!parts.length) parts.push(element("p", { class: "note" }, query ? "No chat has that." : "Chats appear here. They stay in this browser."));
	$("conversations").replaceChildren(...parts);
}

function openMenu(c, button) {
	const menu = $("menu"), at = button.getBoundingClientRect();
	menuOf = c;
	menu.showPopover();
	menu.style.left = Math.max(8, Math.min(at.left, innerWidth - menu.offsetWidth - 8)) + "px";
	menu.style.top = Math.min(at.bottom + 4, innerHeight - menu.offsetHeight - 8) + "px";
	menu.querySelector("button").focus();
}

const offer = (date, list) => download("caravan-" + new Date(date).toISOString().slice(0, 10) + ".json", store.exported(list));

const actions = {
	async rename(c) {
		$("rename-input").value = c.title;
		if ((await ask($("rename-dialog"))) !== "save" || !$("rename-input").value.trim()) return;
		c.title = $("rename-input").value.trim();
		c.named = true;
		await store.save(c);
		draw();
	},
	async export(c) {
		offer(c.updated, [c]);
	},
	async delete(c) {
		$("delete-text").textContent = "“" + c.title + "” is deleted from this browser. There is no other copy of it.";
		if ((await ask($("delete-dialog"))) !== "delete") return;
		stop(c);
		await store.remove(c.id);
		announce("Deleted");
		draw();
		onremoved(c);
	},
};

async function importFile() {
	const file = $("file").files[0];
	$("file").value = "";
	if (!file) return;
	try {
		const n = await store.load(await file.text());
		announce(n === 1 ? "1 chat was imported" : n + " chats were imported");
	} catch (e) {
		oncomplaint(e);
	}
	draw();
}

// removed(c): it has been deleted; complaint(e): something did not work, in words.
export function begin({ removed, complaint }) {
	onremoved = removed;
	oncomplaint = complaint;
	$("search").oninput = () => draw();
	$("menu").onclick = (e) => {
		const what = e.target.dataset.do;
		$("menu").hidePopover();
		if (what) actions[what](menuOf).catch(complaint);
	};
	$("import").onclick = () => $("file").click();
	$("file").onchange = importFile;
	$("export").onclick = () => offer(Date.now(), store.all());
}

// ---- showing and hiding it: beside the page, or over it where there is little room ----

const narrow = matchMedia("(max-width: 760px)");

export function show(open, focus = true) {
	document.body.classList.toggle("sidebar-hidden", !open && !narrow.matches);
	document.body.classList.toggle("sidebar-over", open && narrow.matches);
	$("main").inert = open && narrow.matches;
	$("show-sidebar").setAttribute("aria-expanded", String(open));
	if (focus) (open ? $("hide-sidebar") : $("show-sidebar")).focus();
}

export const shown = () =>
	narrow.matches ? document.body.classList.contains("sidebar-over") : !document.body.classList.contains("sidebar-hidden");
export const leave = () => narrow.matches && shown() && show(false, false);

narrow.addEventListener("change", () => show(!narrow.matches, false));
$("show-sidebar").onclick = () => show(true);
$("hide-sidebar").onclick = () => show(false);
$("scrim").onclick = () => show(false);
show(!narrow.matches, false);
