// page_picture: see page_picture.sh.  page_picture.mjs CHROMIUM URL FILE
import { chromium } from "playwright-core";

const [, , executablePath, url, file] = process.argv;
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
await page.screenshot({ path: file });
await browser.close();
