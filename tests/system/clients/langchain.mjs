// LangChain's models and embeddings of OpenAI.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { check, failure, isWeather, model, PROMPT, tooled, url, want, weather, Weather } from "./cases.mjs";

export async function langchain() {
	const of = { apiKey: "none", maxRetries: 0, configuration: { baseURL: url + "/v1" } };
	const chat = new ChatOpenAI({ ...of, model, maxTokens: 40, temperature: 0.8, modelKwargs: { seed: 7 } });
	const whole = await chat.invoke(PROMPT);
	check("langchain: a message", whole.content === want && whole.response_metadata.finish_reason === "length" && whole.usage_metadata.output_tokens === 40, whole);
	let text = "", all;
	for await (const c of await chat.stream(PROMPT)) {
		text += c.content;
		all = all ? all.concat(c) : c;
	}
	check("langchain: streamed", text === want && all.usage_metadata.output_tokens === 40, text, all);
	const both = await chat.batch([PROMPT, PROMPT]);
	check("langchain: two at once", both.every((m) => m.content === want), both);
	const completion = await new OpenAI({ ...of, model, maxTokens: 40, temperature: 0.8, modelKwargs: { seed: 7 } }).invoke(PROMPT);
	check("langchain: a completion", completion === want, completion);
	const seeded = new ChatOpenAI({ ...of, model, temperature: 0.8, modelKwargs: { seed: 7 } });
	const object = await seeded.withStructuredOutput(Weather, { name: "weather", method: "jsonSchema", strict: true }).invoke(PROMPT);
	check("langchain: structured output by a schema", isWeather(object), object);
	const any = await seeded.withStructuredOutput(weather, { method: "jsonMode" }).invoke(PROMPT);
	check("langchain: any object", typeof any === "object", any);
	const call = tool(async () => "rain", { name: "weather", description: "d", schema: Weather });
	const caller = new ChatOpenAI({ ...of, model: tooled, temperature: 0.8, modelKwargs: { seed: 5 } });
	const bound = caller.bindTools([call], { tool_choice: "weather", parallel_tool_calls: false });
	const asked = await bound.invoke(PROMPT);
	check("langchain: a tool is called", asked.tool_calls.length === 1 && asked.tool_calls[0].name === "weather" && isWeather(asked.tool_calls[0].args), asked);
	all = undefined;
	for await (const c of await bound.stream(PROMPT)) all = all ? all.concat(c) : c;
	check("langchain: a tool is called, streamed", JSON.stringify(all.tool_calls[0]?.args) === JSON.stringify(asked.tool_calls[0].args), all.tool_calls);
	const result = await call.invoke(asked.tool_calls[0]);
	const after = await new ChatOpenAI({ ...of, model: tooled, maxTokens: 5 }).bindTools([call]).invoke([new HumanMessage(PROMPT), asked, result]);
	check("langchain: and its result goes back", result instanceof ToolMessage && after.usage_metadata.output_tokens === 5, after);
	const structured = await caller.withStructuredOutput(Weather, { name: "weather", method: "functionCalling" }).invoke(PROMPT);
	check("langchain: structured output by a call", isWeather(structured), structured);
	const embedded = await new OpenAIEmbeddings({ ...of, model }).embedDocuments([PROMPT, "Lily"]);
	check("langchain: embeddings", embedded.length === 2 && embedded.every((v) => Math.abs(v.reduce((s, x) => s + x * x, 0) - 1) < 1e-5), embedded.length);
	const e = await failure(new ChatOpenAI({ ...of, model: "nobody" }).invoke(PROMPT));
	check("langchain: an error is a sentence", e?.status === 404 && /stories/.test(e.message), String(e));
	const abort = new AbortController();
	let n = 0;
	const aborted = await failure((async () => {
		for await (const _ of await new ChatOpenAI({ ...of, model, maxTokens: 400 }).stream(PROMPT, { signal: abort.signal })) if (++n === 3) abort.abort();
	})());
	check("langchain: a stream that is broken off", n >= 3 && n < 200 && /abort/i.test(aborted?.message), n, String(aborted));
}
