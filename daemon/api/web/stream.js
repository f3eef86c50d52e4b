// stream: reads a completion as it is written.  Where the connection breaks, it is taken up again at the event that comes next.
//
// A stream is known by { id, next, seconds }: the next event is number next, and the node keeps the stream for so many seconds.  This
// is all that it takes to go on with it, also after the page was loaded anew.

import { ApiError, errorOf, request } from "./api.js";

const RESUME = 120; // seconds; the node may allow fewer
const LOSSES = 30; // of one answer: more are those of two readers who take it from each other
const PAUSES = [0, 500, 1000, 2000, 4000, 8000]; // ms before each try to take a stream up; the last again and again

// The events of a body: { id, name, data } as their lines arrive.
export async function* events(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "", id = 0, name = "";
	try {
		for (;;) {
			const { done, value } = await reader.read();
			if (done) return;
			const lines = (rest + value).split("\n");
			rest = lines.pop();
			for (const line of lines) {
				if (line.startsWith("id:")) id = Number(line.slice(3));
				else if (line.startsWith("event:")) name = line.slice(6).trim();
				else if (/^:\s*taken/.test(line)) yield { taken: true };
				else if (line.startsWith("data:")) yield { id, name, data: line.slice(5).trim() };
			}
		}
	} finally {
		reader.cancel().catch(() => {});
	}
}

// Yields chunks until the stream ends or breaks; returns whether it has ended.
async function* read(response, stream, signal) {
	const all = events(response.body);
	for (;;) {
		let next;
		try {
			next = await all.next();
		} catch (e) {
			if (signal.aborted) throw e;
			return false;
		}
		if (next.done) return false;
		if (next.value.taken) throw new ApiError("cut", "This answer is written in another tab.");
		if (next.value.data === "[DONE]") return true;
		const chunk = JSON.parse(next.value.data);
		if (chunk.error) throw cut(errorOf(503, chunk).message);
		if (next.value.id) stream.next = next.value.id + 1;
		yield chunk;
	}
}

async function begin(body, stream, signal) {
	const response = await request("/v1/chat/completions", {
		method: "POST",
		headers: { "Content-Type": "application/json", "X-Resume": String(RESUME) },
		body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true }, return_progress: true }),
		signal,
	});
	const seconds = Number(response.headers.get("X-Resume"));
	if (seconds) Object.assign(stream, { id: response.headers.get("X-Stream-Id"), next: 1, seconds });
	return response;
}

export const pause = (ms, signal) => new Promise((done, failed) => {
	const stopped = () => {
		clearTimeout(timer);
		failed(new DOMException("stopped", "AbortError"));
	};
	const timer = setTimeout(() => {
		signal.removeEventListener("abort", stopped);
		done();
	}, ms);
	signal.addEventListener("abort", stopped, { once: true });
});

const cut = (message) => new ApiError("cut", message, { advice: "Regenerate asks for it again." });
const lost = () => cut("The connection to the node was lost in the middle of the answer.");

async function takeUp(stream, signal) {
	const until = performance.now() + 1000 * (stream.seconds ?? 0);
	for (let i = 0; stream.id && performance.now() < until; i++) {
		await pause(PAUSES[Math.min(i, PAUSES.length - 1)], signal);
		try {
			return await request(`/v1/stream/${stream.id}?from=${stream.next}`, { signal });
		} catch (e) {
			if (signal.aborted) throw e;
			if (e.kind !== "lost" && e.kind !== "busy") break; // the node has it no more
		}
	}
	throw lost();
}

// Yields the chunks of a chat completion, and { lost: true } whenever the connection is lost.  A stream that has an id is gone on with.
// Throws ApiError, or AbortError when the signal says so: the node stops then.
export async function* complete(body, stream, signal) {
	let response = stream.id ? null : await begin(body, stream, signal);
	try {
		for (let losses = 0; ; losses++) {
			if (response && (yield* read(response, stream, signal))) return;
			if (losses === LOSSES) throw lost();
			yield { lost: true };
			response = await takeUp(stream, signal);
		}
	} catch (e) {
		if (!signal.aborted) throw e;
		if (stream.id) request("/v1/stream/" + stream.id, { method: "DELETE" }).catch(() => {}); // it ends by itself, later
		throw new DOMException("stopped", "AbortError");
	}
}
