// thread: the messages of a conversation, drawn, and redrawn as an answer grows.

import { isRunning, progressOf } from "./chat.js";
import { $, command, copy, element, iconButton } from "./dom.js";
import { Markdown } from "./markdown.js";

const NEAR = 80; // pixels from the end: a view that is nearer stays at the end

const actions = { edit: () => {}, regenerate: () => {} };
let conversation = null;
let views = []; // one a message
let dirty = false, scheduled = false;

export const setActions = (a) => Object.assign(actions, a);

// ---- one message ----

class UserView {
	constructor(message) {
		this.message = message;
		this.bubble = element("div", { class: "bubble" }, message.content);
		const button = iconButton("copy", "Copy message", () => copy(button, message.content));
		this.actions = element("div", { class: "actions" }, button, iconButton("edit", "Edit and send again", () => this.edit()));
		this.root = element("article", { class: "message user", "aria-label": "You" }, this.bubble, this.actions);
	}

	draw() {}

	edit() {
		if (isRunning(conversation)) return;
		const field = element("textarea", { "aria-label": "Edit message", rows: 1 });
		const close = () => {
			form.replaceWith(this.bubble, this.actions);
			this.actions.querySelector("button:last-child").focus();
		};
		const form = element("form", { class: "edit", onsubmit: (e) => {
			e.preventDefault();
			if (field.value.trim()) actions.edit(this.message, field.value.trim());
		} }, field, element("p", { class: "note" }, "Sending it again leaves out what came after it."),
			element("div", { class: "buttons" }, element("button", { type: "button", class: "plain", onclick: close }, "Cancel"),
				element("button", { class: "primary" }, "Send")));
		field.value = this.message.content;
		field.addEventListener("input", () => grow(field));
		field.addEventListener("keydown", (e) => {
			if (e.key === "Escape") {
				e.stopPropagation();
				close();
			} else if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
				e.preventDefault();
				form.requestSubmit();
			}
		});
		this.actions.remove();
		this.bubble.replaceWith(form);
		grow(field);
		field.focus();
	}
}

function statsText(s, finish) {
	if (!s) return "";
	const parts = [(s.exact ? "" : "about ") + s.tokens + (s.tokens === 1 ? " token" : " tokens")];
	if (s.rate) parts.push(s.rate.toFixed(s.rate < 10 ? 1 : 0) + " tokens/s");
	if (s.first) parts.push("first after " + (s.first < 1 ? Math.round(1000 * s.first) + " ms" : s.first.toFixed(s.first < 10 ? 1 : 0) + " s"));
	const full = s.context ? s.total / s.context : 0;
	if (finish === "length") parts.push(full > 0.99 ? "the context is full" : "reached its longest length");
	else if (full >= 0.5) parts.push("context " + Math.round(100 * full) + "% full");
	return parts.join(" · ");
}

const again = "Regenerate asks for it again.";
const ENDS = { // of answers: what is said of them
	__proto__: null, // a state may come from a file
	writing: { message: "This answer was not finished here.", advice: again },
	cut: { message: "This answer was cut off.", advice: again },
	stopped: { message: "Stopped.", quiet: true },
	empty: { message: "The model ended its answer without a word.", quiet: true },
};

class AssistantView {
	constructor(message) {
		this.message = message;
		this.markdown = new Markdown(element("div", { class: "markdown" }));
		this.thoughts = new Markdown(element("div", { class: "markdown" }));
		this.thinking = element("summary", "Reasoning");
		this.reasoning = element("details", { class: "reasoning", hidden: true }, this.thinking, this.thoughts.root);
		this.waiting = element("p", { class: "waiting" }, element("span", { class: "dots", "aria-hidden": "true" }), (this.progress = element("span")));
		this.notice = element("div", { class: "notice", hidden: true });
		const button = iconButton("copy", "Copy answer", () => copy(button, message.content));
		this.again = iconButton("again", "Regenerate", () => actions.regenerate(message));
		this.stats = element("span", { class: "stats" });
		this.actions = element("div", { class: "actions" }, button, this.again, this.stats);
		this.root = element("article", { class: "message assistant", "aria-label": message.model || "Answer" },
			this.reasoning, this.markdown.root, this.waiting, this.notice, this.actions);
	}

	draw() {
		const m = this.message, progress = progressOf(m), writing = progress !== null;
		this.markdown.draw(m.content);
		if (m.reasoning) {
			this.reasoning.hidden = false;
			this.thinking.textContent = writing && !m.content ? "Reasoning…" : "Reasoning";
			this.thoughts.draw(m.reasoning);
		}
		this.root.classList.toggle("writing", writing);
		this.waiting.hidden = !writing || !progress;
		this.progress.textContent = progress ?? "";
		this.actions.hidden = writing;
		this.again.hidden = conversation.messages.at(-1) !== m;
		this.stats.textContent = statsText(m.stats, m.finish);
		this.drawNotice(writing);
	}

	drawNotice(writing) {
		const m = this.message, empty = m.state === "done" && !m.content && !m.reasoning, error = m.error ?? ENDS[empty ? "empty" : m.state];
		this.notice.hidden = !error || writing;
		if (this.notice.hidden) return;
		this.notice.classList.toggle("quiet", !!error.quiet);
		this.notice.replaceChildren(element("p", error.message + (error.advice ? " " + error.advice : "")),
			error.command ? command(error.command) : "");
	}
}

// ---- all of them ----

export function grow(field) {
	field.style.height = "auto";
	field.style.height = Math.min(field.scrollHeight, 0.4 * innerHeight) + "px";
}

const atEnd = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < NEAR;

export function toEnd() {
	$("scroll").scrollTop = $("scroll").scrollHeight;
}

function drawLatest() {
	$("latest").hidden = atEnd();
}

$("scroll").addEventListener("scroll", drawLatest, { passive: true });
$("latest").addEventListener("click", toEnd);

// Another conversation, or the same one after messages were taken away.
export function show(c) {
	conversation = c;
	views = [];
	$("thread").replaceChildren();
	redraw();
	toEnd();
}

function redraw() {
	const end = atEnd();
	conversation.messages.forEach((m, i) => {
		if (views[i]?.message !== m) {
			views[i]?.root.remove();
			views[i] = m.role === "user" ? new UserView(m) : new AssistantView(m);
			$("thread").append(views[i].root);
		}
		// those before the last two cannot change
		if (i >= conversation.messages.length - 2 || !views[i].drawn) views[i].draw();
		views[i].drawn = true;
	});
	for (const view of views.splice(conversation.messages.length)) view.root.remove();
	if (end) toEnd();
	drawLatest();
}

// The conversation has changed: draws it soon, and less often where that takes long.
export function update(c) {
	if (c !== conversation) return;
	dirty = true;
	if (scheduled) return;
	scheduled = true;
	requestAnimationFrame(frame);
}

function frame() {
	const begun = performance.now();
	dirty = false;
	redraw();
	setTimeout(() => {
		scheduled = false;
		if (dirty) update(conversation);
	}, 3 * (performance.now() - begun));
}

// At once, at the end of an answer.
export function updateNow(c) {
	if (c === conversation) redraw();
}

export function editLast() {
	views.findLast((v) => v instanceof UserView)?.edit();
}
