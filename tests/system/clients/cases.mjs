// What the cases of all clients share: the node, the models, what an answer must be, and a line for each case.
import { readFileSync } from "node:fs";
import { z } from "zod";

const [url, model, tooled, reference] = process.argv.slice(2);
// tooled: a model whose template takes tools.  want: what caravan run says to PROMPT with seed 7, in 40 tokens
export { url, model, tooled };
export const want = readFileSync(reference, "utf8");
export const PROMPT = "Once upon a time";
export const messages = [{ role: "user", content: PROMPT }];

export function check(what, good, ...seen) {
	console.log((good ? "ok " : "not ok ") + what);
	if (!good) for (const s of seen) console.log("saw: " + JSON.stringify(s)?.slice(0, 1000));
}

export async function failure(promise) {
	try {
		await promise;
	} catch (e) {
		return e;
	}
}

export const Weather = z.object({ city: z.enum(["Oslo", "Rome"]), days: z.int().min(1).max(7) });
export const weather = JSON.parse(JSON.stringify(z.toJSONSchema(Weather))); // as plain JSON, without what zod adds for others
export const isWeather = (o) => Weather.strict().safeParse(o).success;
