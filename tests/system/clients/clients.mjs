// The clients of npm's registry against a node: clients.mjs URL MODEL TOOLED REFERENCE; prints a line "ok WHAT" or "not ok WHAT" for each
// case, and what was seen where it is wrong.  The arguments are in cases.mjs.
import { setMaxListeners } from "node:events";
import Anthropic from "@anthropic-ai/sdk";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { ai } from "./ai.mjs";
import { check, failure, isWeather, messages, model, PROMPT, tooled, url, want, weather, Weather } from "./cases.mjs";
import { langchain } from "./langchain.mjs";

async function openai() {
	const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
	const ids = [];
	for await (const m of client.models.list()) ids.push(m.id);
	check("openai lists models", ids[0] === model, ids);
	check("openai asks for one", (await client.models.retrieve(model)).id === model);
	const ask = { model, messages, seed: 7, max_completion_tokens: 40 };
	const whole = await client.chat.completions.create(ask);
	check("openai: a chat completion", whole.choices[0].message.content === want, whole);
	check("openai: its usage", whole.usage.completion_tokens === 40 && whole.usage.prompt_tokens_details.cached_tokens >= 0, whole);
	const pieces = [];
	let usage, reason;
	for await (const c of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
		pieces.push(c.choices[0]?.delta.content ?? "");
		reason = c.choices[0]?.finish_reason ?? reason;
		usage = c.usage ?? usage;
	}
	check("openai: streamed", pieces.join("") === want && reason === "length" && usage.completion_tokens === 40, pieces, usage);
	const final = await client.chat.completions.stream(ask).finalChatCompletion();
	check("openai: streamed, put together by it", final.choices[0].message.content === want && final.choices[0].finish_reason === "length", final);
	const kept = await client.chat.completions.create({ ...ask, stream: true }, { headers: { "X-Resume": "30" } }).withResponse();
	let resumable = "";
	for await (const c of kept.data) resumable += c.choices[0]?.delta.content ?? "";
	const again = await (await fetch(url + "/v1/stream/" + kept.response.headers.get("x-stream-id"))).text();
	check("openai: a stream whose events have numbers, read once more", resumable === want && again.startsWith("id: 1\ndata: ") && again.includes('"content":'), resumable, again);
	const text = await client.completions.create({ model, prompt: PROMPT, seed: 7, max_tokens: 40, n: 2 });
	check("openai: a completion of two choices", text.choices[0].text === want && text.choices.length === 2, text);
	const response = await client.responses.create({ model, input: PROMPT, temperature: 0, max_output_tokens: 40 });
	check("openai: a response", response.output_text.length > 0 && response.usage.output_tokens === 40, response);
	// to its end: of one that is cut off, this client does not keep the last event
	const events = client.responses.stream({ model, input: PROMPT, temperature: 0 });
	let deltas = "";
	events.on("response.output_text.delta", (d) => (deltas += d.delta));
	const put = await events.finalResponse();
	check("openai: a response, streamed, put together by it", deltas.startsWith(response.output_text) && put.output[0].content[0].text === deltas && put.status === "completed", deltas, put);
	const logprobs = { logprobs: true, top_logprobs: 2 };
	const figures = (await client.chat.completions.create({ ...ask, ...logprobs })).choices[0].logprobs.content;
	check("openai: log-probabilities", figures.map((t) => t.token).join("") === want && figures.every((t) => t.logprob <= 0 && t.top_logprobs.length === 2 && t.top_logprobs[0].logprob >= t.logprob), figures);
	const listed = [];
	for await (const chunk of await client.chat.completions.create({ ...ask, ...logprobs, stream: true })) listed.push(...(chunk.choices[0].logprobs?.content ?? []));
	check("openai: streamed, the same", JSON.stringify(listed) === JSON.stringify(figures), listed);
	const composed = await client.chat.completions.stream({ ...ask, ...logprobs }).finalChatCompletion();
	check("openai: put together by it", JSON.stringify(composed.choices[0].logprobs.content) === JSON.stringify(figures), composed);
	const numbers = await client.embeddings.create({ model, input: [PROMPT, "Lily"], encoding_format: "float" });
	const decoded = await client.embeddings.create({ model, input: [PROMPT, "Lily"] }); // base64 on the way
	check("openai: embeddings", numbers.data.length === 2 && JSON.stringify(decoded.data) === JSON.stringify(numbers.data) && decoded.usage.prompt_tokens > 2, decoded);
	let e = await failure(client.chat.completions.create({ ...ask, model: "gpt-nobody" }));
	check("openai: an unknown model is its NotFoundError", e instanceof OpenAI.NotFoundError && e.code === "model_not_found", e);
	e = await failure(client.chat.completions.create({ ...ask, top_logprobs: 1 }));
	check("openai: a field that is refused is its BadRequestError, by name", e instanceof OpenAI.BadRequestError && e.param === "top_logprobs", e);
	const stream = await client.chat.completions.create({ ...ask, max_completion_tokens: 400, stream: true });
	let n = 0;
	for await (const _ of stream) if (++n === 3) break; // which aborts it
	check("openai: a stream that is broken off", n === 3 && stream.controller.signal.aborted);
	check("openai: and the next request", (await client.chat.completions.create(ask)).choices[0].message.content === want);
}

const functionTools = [{ type: "function", function: { name: "weather", parameters: weather } }];
const named = { type: "function", function: { name: "weather" } };

async function openai_tools() {
	const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
	const ask = { model: tooled, messages, tools: functionTools, tool_choice: named, parallel_tool_calls: false, seed: 5 };
	const whole = await client.chat.completions.create(ask);
	const call = whole.choices[0].message.tool_calls?.[0];
	check("openai: a call of a tool", whole.choices[0].finish_reason === "tool_calls" && call.function.name === "weather" && isWeather(JSON.parse(call.function.arguments)), whole);
	const put = await client.chat.completions.stream(ask).finalChatCompletion();
	check("openai: streamed, put together by it", put.choices[0].message.tool_calls[0].function.arguments === call.function.arguments && put.choices[0].finish_reason === "tool_calls", put, call);
	const talk = [...messages, whole.choices[0].message, { role: "tool", tool_call_id: call.id, content: "rain" }];
	const after = await client.chat.completions.create({ ...ask, messages: talk, tool_choice: "auto", max_completion_tokens: 5 });
	check("openai: and its result goes back", after.usage.completion_tokens === 5, after);
	// its own loop: parses the arguments, calls the function, sends the result
	const got = [];
	const tool = { ...functionTools[0].function, parse: JSON.parse, function: (o) => (got.push(o), "rain") };
	const runner = client.chat.completions.runTools({ ...ask, max_completion_tokens: 100, tools: [{ type: "function", function: tool }] });
	await runner.finalContent();
	check("openai: its runTools calls a function", got.length === 1 && isWeather(got[0]), got);
	const response = await client.responses.create({ model: tooled, input: PROMPT, tools: [{ type: "function", ...functionTools[0].function, strict: true }], tool_choice: "required" });
	const item = response.output.find((o) => o.type === "function_call");
	check("openai: a response that calls", item?.name === "weather" && isWeather(JSON.parse(item.arguments)), response);
}

async function openai_structured() {
	const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
	const parsed = await client.chat.completions.parse({ model, messages, response_format: zodResponseFormat(Weather, "weather") });
	check("openai: an answer that its own parser takes", isWeather(parsed.choices[0].message.parsed), parsed);
	const response = await client.responses.parse({ model, input: PROMPT, text: { format: zodTextFormat(Weather, "weather") } });
	check("openai: a response that its own parser takes", isWeather(response.output_parsed), response);
}

// more requests at once than a client may have in progress: the first that is refused tries again, when the others are broken off
async function openai_retries() {
	const seen = [], others = new AbortController();
	setMaxListeners(0, others.signal);
	let refused;
	const counting = (i) => async (...what) => {
		const r = await fetch(...what);
		if (r.status === 429 && refused === undefined) {
			refused = i;
			others.abort();
		}
		if (i === refused) seen.push([r.status, r.headers.get("retry-after")]);
		return r;
	};
	const answers = Array.from({ length: 160 }, async (_, i) => {
		const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 20, fetch: counting(i) });
		const own = new AbortController();
		others.signal.addEventListener("abort", () => i === refused || own.abort());
		return client.chat.completions.create({ model, messages, seed: 7, max_completion_tokens: 400 }, { signal: own.signal }).catch((e) => e);
	});
	await Promise.all(answers);
	const answer = await answers[refused];
	check("openai: what is refused as one too many is tried again, and answered", seen.length > 1 && seen[0][0] === 429 && seen[0][1] > 0 && seen.at(-1)[0] === 200 && answer.choices[0].message.content.startsWith(want), seen, answer);
	const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none" });
	check("openai: and the next request", (await client.chat.completions.create({ model, messages, seed: 7, max_completion_tokens: 40 })).choices[0].message.content === want);
}

async function anthropic() {
	const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
	const ask = { model, messages, max_tokens: 40, temperature: 0.8 };
	const greedy = { ...ask, temperature: 0 };
	const whole = await client.messages.create(ask);
	check("anthropic: a message", whole.content[0].type === "text" && whole.content[0].text.length > 0 && whole.stop_reason === "max_tokens" && whole.usage.output_tokens === 40, whole);
	const same = await client.messages.create(greedy);
	const stream = client.messages.stream(greedy);
	let text = "";
	stream.on("text", (t) => (text += t));
	const final = await stream.finalMessage();
	check("anthropic: streamed, put together by it", text === same.content[0].text && final.content[0].text === text && final.stop_reason === "max_tokens" && final.usage.output_tokens === 40, final, same);
	const count = await client.messages.countTokens({ model, messages });
	check("anthropic: counted", count.input_tokens === whole.usage.input_tokens + whole.usage.cache_read_input_tokens, count, whole);
	const e = await failure(client.messages.create({ ...ask, model: "claude-nobody" }));
	check("anthropic: an unknown model is its NotFoundError", e instanceof Anthropic.NotFoundError, e);
	const kept = await client.messages.stream(greedy, { headers: { "X-Resume": "30" } }).finalMessage();
	check("anthropic: a stream whose events have numbers", kept.content[0].text === same.content[0].text, kept, same);
	const half = client.messages.stream({ ...ask, max_tokens: 400 });
	half.on("text", () => half.abort());
	const aborted = await failure(half.finalMessage());
	check("anthropic: a stream that is broken off", aborted instanceof Anthropic.APIUserAbortError, aborted);
}

async function anthropic_tools() {
	const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
	const ask = { model: tooled, messages, max_tokens: 400, temperature: 0, tools: [{ name: "weather", input_schema: weather }], tool_choice: { type: "tool", name: "weather", disable_parallel_tool_use: true } };
	const whole = await client.messages.create(ask);
	const use = whole.content.find((b) => b.type === "tool_use");
	check("anthropic: a tool is used", whole.stop_reason === "tool_use" && use?.name === "weather" && isWeather(use.input), whole);
	const put = await client.messages.stream(ask).finalMessage();
	check("anthropic: streamed, put together by it", put.stop_reason === "tool_use" && JSON.stringify(put.content.at(-1).input) === JSON.stringify(use.input), put, use);
	const talk = [...messages, { role: "assistant", content: whole.content }, { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "rain" }] }];
	const after = await client.messages.create({ ...ask, messages: talk, tool_choice: { type: "auto" }, max_tokens: 5 });
	check("anthropic: and its result goes back", after.usage.output_tokens === 5, after);
}

async function ollama() {
	const client = new Ollama({ host: url });
	const list = await client.list();
	check("ollama lists models", list.models[0].name === model + ":latest" && list.models[0].details.family === "llama", list);
	check("ollama: what runs", (await client.ps()).models[0].expires_at, list);
	const show = await client.show({ model });
	check("ollama shows one", show.capabilities[0] === "completion" && show.model_info["llama.context_length"] === 512, show);
	const options = { seed: 7, num_predict: 40 };
	const chat = await client.chat({ model, messages, options });
	check("ollama: chat", chat.message.content === want && chat.done_reason === "length" && chat.eval_count === 40, chat);
	let text = "", last;
	for await (const part of await client.chat({ model, messages, options, stream: true })) {
		text += part.message.content;
		last = part;
	}
	check("ollama: streamed", text === want && last.done && last.eval_count === 40, text, last);
	const generated = await client.generate({ model, prompt: PROMPT, options, stream: false });
	check("ollama: generate", generated.response === want, generated);
	const embedded = await client.embed({ model, input: [PROMPT, "Lily"] });
	const older = await client.embeddings({ model, prompt: "Lily" });
	check("ollama: embed, and the older embeddings", embedded.embeddings.length === 2 && JSON.stringify(embedded.embeddings[1]) === JSON.stringify(older.embedding), embedded);
	check("ollama: pull of what is there", (await client.pull({ model })).status === "success");
	const child = await client.chat({ model, messages, format: weather });
	check("ollama: an answer by a schema", isWeather(JSON.parse(child.message.content)), child);
	const called = await client.chat({ model: tooled, messages, tools: [{ type: "function", function: { name: "weather", parameters: weather } }], options: { num_predict: 5 } });
	check("ollama: tools are taken", called.eval_count === 5, called);
	const e = await failure(client.chat({ model: "nobody", messages }));
	check("ollama: an error is a sentence", e?.status_code === 404 && /stories/.test(e.message), e);
	const stream = await client.chat({ model, messages, options: { num_predict: 400 }, stream: true });
	let n = 0;
	const aborted = await failure((async () => {
		for await (const _ of stream) if (++n === 3) stream.abort();
	})());
	check("ollama: a stream that is broken off", n >= 3 && aborted?.name === "AbortError", n, String(aborted));
}

for (const f of [openai, openai_tools, openai_structured, anthropic, anthropic_tools, ollama, ai, langchain, openai_retries])
	try {
		await f();
	} catch (e) {
		check(f.name + " came to its end", false, String(e?.stack ?? e));
	}
