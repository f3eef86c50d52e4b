// api: requests to this node, with the key where one is needed, and what to do about each error, in words.

const KEY = "caravan.key";

export const key = {
	get: () => localStorage.getItem(KEY) ?? "",
	set: (value) => (value ? localStorage.setItem(KEY, value) : localStorage.removeItem(KEY)),
};

// kind: "key", "busy" (worth trying again by itself, after retry seconds), "lost" (the connection), "refused".
export class ApiError extends Error {
	constructor(kind, message, { status = 0, retry = 0, advice = "", command = "", long = false } = {}) {
		super(message);
		Object.assign(this, { kind, status, retry, advice, command, long }); // long: too long for the context
	}
}

export const unreachable = () =>
	new ApiError("lost", "This node does not answer.", { advice: "Is caravand running, and is this device in its network?" });

// A sentence of the API as one of this page.
function sentence(text) {
	const s = text.trim();
	return s.charAt(0).toUpperCase() + s.slice(1) + (/[.!?]$/.test(s) ? "" : ".");
}

// An error object of the API, before a stream or in it.
export function errorOf(status, object, retry = 0) {
	const e = object?.error ?? {};
	const text = sentence(typeof e === "string" ? e : (e.message ?? "The node answered with status " + status));
	const options = { status, retry };
	if (status === 401) return new ApiError("key", text, options);
	if (status === 429 || status === 503)
		return new ApiError("busy", text, { status, retry: retry || 5, advice: "It is sent again by itself" + (status === 429 ? "." : " as soon as the model is ready.") });
	if (e.code === "model_not_found") {
		const none = /^No model is loaded/.test(text), advice = none ? "Load one on any node of the cluster:" : "Choose another model above, or load this one on any node:";
		return new ApiError("refused", none ? "No model is loaded." : text, { ...options, advice, command: "caravan load FILE.gguf" });
	}
	return new ApiError("refused", text, { ...options, long: e.code === "context_length_exceeded" });
}

export async function request(path, options = {}) {
	const headers = { ...options.headers };
	if (key.get()) headers.Authorization = "Bearer " + key.get();
	let response;
	try {
		response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
	} catch (e) {
		if (e.name === "AbortError") throw e;
		throw unreachable();
	}
	if (response.ok) return response;
	const object = await response.json().catch(() => null);
	throw errorOf(response.status, object, Number(response.headers.get("Retry-After")) || 0);
}

const contexts = new Map(); // tokens, by the ids of models
export const contextOf = (id) => contexts.get(id) ?? 0;

// [{ id, of, ready, text }]; of: the model that an alias stands for, without those that only draft for others
export async function models() {
	const { data } = await (await request("/v1/models")).json();
	for (const m of data) contexts.set(m.id, m.max_model_len);
	return data.map((m) => ({
		id: m.id,
		of: m.root ?? m.id,
		ready: (m.status?.value ?? "loaded") === "loaded",
		text: m.status?.text ?? "",
	}));
}
