// chat: the answers that are being written, each in its conversation, whichever of them is looked at.

import { ApiError, contextOf } from "./api.js";
import { save, StoreError } from "./store.js";
import { SAMPLING } from "./settings.js";
import { complete, pause } from "./stream.js";

const KEEP_EVERY = 2000; // ms: what has been written so far is kept in the browser

const running = new Map(); // of conversation ids: { controller, message, progress }

export const isRunning = (c) => running.has(c.id);
// What the answer that is being written to this message waits for; null: nothing is being written there.
export const progressOf = (message) => [...running.values()].find((r) => r.message === message)?.progress ?? null;
export const stop = (c) => running.get(c.id)?.controller.abort();

// What the API is told of a conversation, before the message that it is to write.  Many templates insist on turns: messages of a person
// that no answer came between are one.
function asked(c, before) {
	const messages = c.system ? [{ role: "system", content: c.system }] : [];
	for (const [i, { role, content }] of c.messages.slice(0, before).entries()) {
		if (!content || c.messages[i + 1]?.refused) continue; // what was refused would be again
		if (messages.at(-1)?.role === role) messages.at(-1).content += "\n\n" + content;
		else messages.push({ role, content });
	}
	const sampling = SAMPLING.filter((s) => s.name in c.settings).map((s) => [s.name, c.settings[s.name]]);
	return { model: c.model, messages, ...Object.fromEntries(sampling) };
}

// Counts while an answer is written: tokens a second after the first of them.
class Clock {
	// whole: from its beginning; of the rest of an answer, nobody knows how long it took
	constructor(whole) {
		this.whole = whole;
		this.begun = performance.now();
		this.first = this.last = 0;
		this.texts = 0;
	}

	text() {
		this.last = performance.now();
		if (!this.texts++) this.first = this.last;
	}

	stats(usage) {
		if (!this.texts && !usage) return null;
		const tokens = usage?.completion_tokens ?? this.texts;
		if (!this.whole || !this.texts) return { tokens, exact: !!usage };
		const all = (this.last - this.begun) / 1000, writing = (this.last - this.first) / 1000;
		const rate = writing > 0.1 ? (tokens - 1) / writing : tokens / all; // what came in one piece has no times within
		return { tokens, exact: !!usage, first: (this.first - this.begun) / 1000, rate, prompt: usage?.prompt_tokens, cached: usage?.prompt_tokens_details?.cached_tokens };
	}
}

function waitsFor(chunk) {
	if (chunk.lost) return "Taking the answer up where the connection was lost";
	if (chunk.queue) return "Waiting for a place: number " + chunk.queue.place + " in the queue";
	const p = chunk.prompt_progress;
	return p?.total ? "Reading the prompt: " + Math.round((100 * p.processed) / p.total) + "% of " + p.total.toLocaleString("en") + " tokens" : "";
}

// Takes what a chunk brings; true: it was text.
function take(message, chunk) {
	const choice = chunk.choices?.[0], delta = choice?.delta ?? {};
	if (choice?.finish_reason) message.finish = choice.finish_reason;
	message.content += delta.content ?? "";
	if (delta.reasoning_content) message.reasoning = (message.reasoning ?? "") + delta.reasoning_content;
	return !!(delta.content || delta.reasoning_content);
}

async function write(c, run, update) {
	const { message, controller } = run, clock = new Clock(!message.stream.id);
	let usage = null, kept = 0;
	try {
		for await (const chunk of complete(asked(c, c.messages.indexOf(message)), message.stream, controller.signal)) {
			usage = chunk.usage ?? usage;
			if (take(message, chunk)) clock.text();
			run.progress = waitsFor(chunk) || (message.content || message.reasoning ? "" : run.progress);
			update();
			if (performance.now() - kept < KEEP_EVERY) continue;
			kept = performance.now();
			save(c).catch(() => {}); // said at the end
		}
	} finally {
		message.stats = clock.stats(usage);
		if (usage) Object.assign(message.stats, { total: usage.total_tokens, context: contextOf(c.model) });
	}
}

// Again and again while the model is loading or its queue is full.
async function writeWhenReady(c, run, update) {
	for (;;) {
		try {
			return await write(c, run, update);
		} catch (e) {
			if (e.kind !== "busy" || run.message.content) throw e;
			run.message.stream = {};
			run.progress = e.message + " " + e.advice;
			update();
			await pause(e.retry * 1000, run.controller.signal);
		}
	}
}

// Conversations whose answers this tab is writing: it goes on with them when it is loaded anew.
const WRITING = "caravan.writing";
const ours = () => JSON.parse(sessionStorage.getItem(WRITING) ?? "[]");
const setOurs = (ids) => sessionStorage.setItem(WRITING, JSON.stringify(ids));

// Those of the conversations that were being written when this tab was closed or loaded anew.
export const interrupted = (conversations) =>
	conversations.filter((c) => ours().includes(c.id) && c.messages.at(-1)?.state === "writing" && c.messages.at(-1).stream?.id);

// One tab alone reads an answer: where the browser has locks, whoever comes second waits a little for the first, which may be a page
// that is being closed, and leaves the answer to it.
const LOCK_WAIT = 3000; // ms
async function alone(id, f) {
	if (!navigator.locks) return f();
	try {
		return await navigator.locks.request("caravan." + id, { signal: AbortSignal.timeout(LOCK_WAIT) }, f);
	} catch (e) {
		if (e.name === "TimeoutError") return null;
		throw e;
	}
}

// Writes an answer to the end of the conversation, or goes on with the one that is there.  update(): it has changed; resolves to null
// or the error that it ended with.
export function answer(c, update, message = null) {
	if (message) return alone(c.id, () => writeAnswer(c, update, message));
	const done = writeAnswer(c, update, null);
	navigator.locks?.request("caravan." + c.id, () => done).catch(() => {}); // the page is being closed
	return done;
}

async function writeAnswer(c, update, message) {
	if (!message) {
		message = { role: "assistant", content: "", model: c.model, state: "writing", stream: {} };
		c.messages.push(message);
	}
	const run = { message, controller: new AbortController(), progress: "Waiting for the first words" };
	let failure = null;
	c.updated = Date.now();
	running.set(c.id, run);
	setOurs([...new Set([...ours(), c.id])]);
	update();
	try {
		await writeWhenReady(c, run, update);
		message.state = "done";
	} catch (e) {
		if (e.name === "AbortError") {
			message.state = "stopped";
		} else {
			failure = e instanceof ApiError ? e : new ApiError("refused", "This page has a fault: " + e.message);
			message.state = message.content ? "cut" : "failed";
			if (failure.kind === "refused" && !message.content) message.refused = true;
			if (failure.long)
				failure.advice = c.messages.length > 2 ? "Start a new chat, or edit an earlier message: that leaves out what came after it." : "Shorten this message.";
			message.error = { message: failure.message, advice: failure.advice, command: failure.command };
		}
	}
	running.delete(c.id);
	setOurs(ours().filter((id) => id !== c.id));
	delete message.stream;
	c.updated = Date.now();
	update();
	try {
		await save(c);
	} catch (e) {
		if (!(e instanceof StoreError)) throw e;
		failure ??= e;
	}
	return failure;
}
