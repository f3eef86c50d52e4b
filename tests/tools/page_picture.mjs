// page_picture: see page_picture.sh.  page_picture.mjs CHROMIUM URL FOLDER
import { chromium } from "playwright-core";

const [, , executablePath, url, folder] = process.argv;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await (await browser.newContext({ viewport: { width: 1100, height: 640 }, colorScheme: "light", reducedMotion: "reduce" })).newPage();
await page.goto(url);
await page.waitForSelector("html[data-ready]");

async function say(words) {
	await page.fill("#input", words);
	await page.press("#input", "Enter");
	await page.waitForFunction(() => !document.querySelector("#send.stop") && document.querySelector("article.assistant:last-child .stats")?.textContent);
}

await page.click("#settings");
await page.fill("#set-seed", "7");
await page.click("#settings-dialog .primary");
for (const words of ["One day a dog found a big red ball", "The rain did not stop", "Once upon a time there was a fox"]) {
	await page.click("#new");
	await say(words);
}
await page.mouse.move(700, 600);
await page.screenshot({ path: folder + "/page.png" });

// the cluster, while some streams run
await page.click("#to-cluster");
await page.setViewportSize({ width: 1280, height: 620 });
const until = Date.now() + 150000;
let seed = 0;
async function client(pause) {
	while (Date.now() < until) {
		await (await fetch(url + "v1/completions", { method: "POST", body: JSON.stringify({ model: "stories", prompt: "Once upon a time", max_tokens: 120 + 60 * (seed % 4), seed: ++seed }) })).text();
		await new Promise((done) => setTimeout(done, pause * (1 + (seed % 3))));
	}
}
const clients = [client(0), client(700), client(2000)];
await page.waitForTimeout(until - Date.now() - 3000);
await page.screenshot({ path: folder + "/cluster.png" });
await Promise.all(clients);
await browser.close();
