// Vercel's AI SDK with its provider for servers that are compatible with OpenAI's.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { check, failure, isWeather, model, PROMPT, tooled, url, want, Weather } from "./cases.mjs";

export async function ai() {
	const provider = createOpenAICompatible({ name: "caravan", baseURL: url + "/v1", apiKey: "none", includeUsage: true, supportsStructuredOutputs: true });
	const ask = { model: provider(model), prompt: PROMPT, seed: 7, maxOutputTokens: 40, maxRetries: 0 };
	const whole = await generateText(ask);
	check("ai: a text", whole.text === want && whole.finishReason === "length" && whole.usage.outputTokens === 40 && whole.usage.inputTokens > 1, whole);
	const stream = streamText(ask);
	const pieces = [];
	for await (const t of stream.textStream) pieces.push(t);
	check("ai: streamed", pieces.length > 5 && pieces.join("") === want && (await stream.finishReason) === "length" && (await stream.usage).outputTokens === 40, pieces, await stream.usage);
	const completion = await generateText({ ...ask, model: provider.completionModel(model) });
	check("ai: of a completion model", completion.finishReason === "length" && completion.usage.outputTokens === 40, completion);
	const object = await generateText({ ...ask, maxOutputTokens: undefined, output: Output.object({ schema: Weather }) });
	check("ai: an object", isWeather(object.output), object.text);
	const streamed = streamText({ ...ask, maxOutputTokens: undefined, output: Output.object({ schema: Weather }) });
	let parts = 0, last;
	for await (const part of streamed.partialOutputStream) parts++, (last = part);
	check("ai: an object, streamed", parts > 1 && isWeather(last) && JSON.stringify(last) === JSON.stringify(object.output), last);
	const got = [];
	const tools = { weather: tool({ inputSchema: Weather, execute: async (o) => (got.push(o), "rain") }) };
	const call = { ...ask, model: provider(tooled), tools, toolChoice: { type: "tool", toolName: "weather" }, maxOutputTokens: 200, providerOptions: { caravan: { parallel_tool_calls: false } } };
	const called = await generateText(call);
	check("ai: a tool is called", called.finishReason === "tool-calls" && got.length > 0 && got.every(isWeather) && called.toolResults[0].output === "rain", called.steps);
	const before = got.length;
	// the next step, with the result, is free to say what it will
	const prepareStep = ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? call.toolChoice : "none" });
	const steps = streamText({ ...call, prepareStep, stopWhen: stepCountIs(2) });
	await steps.consumeStream();
	check("ai: a tool is called, streamed, and its result goes back", got.length > before && got.every(isWeather) && (await steps.steps).length === 2, got, await steps.steps);
	const embedded = await embedMany({ model: provider.embeddingModel(model), values: [PROMPT, "Lily"], maxRetries: 0 });
	check("ai: embeddings", embedded.embeddings.length === 2 && embedded.usage.tokens > 2 && Math.abs(embedded.embeddings[1].reduce((s, v) => s + v * v, 0) - 1) < 1e-5, embedded.usage);
	const e = await failure(generateText({ ...ask, model: provider("nobody") }));
	check("ai: an error is a sentence", e?.statusCode === 404 && /stories/.test(e.message) && e.isRetryable === false, e);
	const abort = new AbortController();
	let n = 0, ended;
	const half = streamText({ ...ask, maxOutputTokens: 400, abortSignal: abort.signal, onAbort: () => (ended = true) });
	for await (const _ of half.textStream) if (++n === 3) abort.abort();
	check("ai: a stream that is broken off", n >= 3 && n < 200 && ended, n);
}
