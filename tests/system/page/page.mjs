// The chat page in a headless Chromium: page.mjs CHROMIUM DIR ALPHA BETA DEMO SLOW; prints a line "ok WHAT" or "not ok WHAT" for each
// case, and what was seen where it is wrong.  DIR: of the cluster that page.sh has started; ALPHA, BETA: where its nodes serve HTTP;
// DEMO, SLOW: models to load.
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect, createServer as createConnections } from "node:net";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [, , executablePath, dir, alpha, beta, demo, slow] = process.argv;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const caravan = (node, ...args) => execFileSync("caravan", [args[0], "--control", `${dir}/${node}/control.sock`, ...args.slice(1)], { encoding: "utf8" });

function check(what, good, ...seen) {
	console.log((good ? "ok " : "not ok ") + "page: " + what);
	if (!good) for (const s of seen) console.log(JSON.stringify(s)?.slice(0, 1500) ?? "undefined");
}

// ---- a browser ----

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const foreign = []; // requests to other places than the node
const faults = []; // what the page itself did wrong

async function open(url, options = {}) {
	const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
	const page = await context.newPage();
	page.setDefaultTimeout(60000); // a bound on hanging
	await page.addInitScript(() => {
		window.violations = [];
		document.addEventListener("securitypolicyviolation", (e) => window.violations.push(e.violatedDirective + " " + e.blockedURI));
	});
	page.on("pageerror", (e) => faults.push(String(e)));
	page.on("request", (r) => !r.url().startsWith(url) && !/^(blob|data):/.test(r.url()) && foreign.push(r.url()));
	await page.goto(url);
	await page.waitForSelector("html[data-ready]");
	return page;
}

const text = (page, selector) => page.textContent(selector);
const answers = (page) => page.$$eval("article.assistant > .markdown", (all) => all.map((e) => e.textContent));
const finished = (page) => page.waitForFunction(() => !document.querySelector("#send.stop") && document.querySelector("article.assistant:last-child .actions:not([hidden])"));
const shows = (page, selector, part) =>
	page.waitForFunction(([s, p]) => [...document.querySelectorAll(s)].some((e) => e.checkVisibility() && e.textContent.includes(p)), [selector, part]);

async function say(page, words) {
	await page.fill("#input", words);
	await page.press("#input", "Enter");
}

async function set(page, values) {
	await page.click("#settings");
	for (const [name, value] of Object.entries(values)) await page.fill(name === "system" ? "#system" : "#set-" + name, String(value));
	await page.click("#settings-dialog .primary");
}

async function accessible(page, what) {
	await page.evaluate(axe);
	const { violations, passes } = await page.evaluate(() => axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
	check("axe finds nothing: " + what, violations.length === 0 && passes.length > 10, ...violations.map((v) => [v.id, v.nodes.map((n) => [n.target, n.failureSummary])]));
}

// The next completion is this text instead of the node's.
async function instead(page, content, reasoning = "") {
	const chunk = (delta) => "data: " + JSON.stringify({ choices: [{ index: 0, delta, finish_reason: null }] }) + "\n\n";
	const body = chunk({ reasoning_content: reasoning }) + (content.match(/[\s\S]{1,40}/g) ?? []).map((c) => chunk({ content: c })).join("") + "data: [DONE]\n\n";
	await page.route("**/v1/chat/completions", (route) => route.fulfill({ contentType: "text/event-stream", body }), { times: 1 });
}

// ---- cases ----

async function begins(page) {
	check("without a model it says what to type", (await text(page, "#welcome")).includes("caravan load FILE.gguf"), await text(page, "#welcome"));
	await accessible(page, "without a model");
	await say(page, "Hello");
	await shows(page, "article.assistant .notice", "caravan load");
	check("and so does the answer to what is sent all the same, once", (await text(page, ".notice")) === "No model is loaded. Load one on any node of the cluster:caravan load FILE.gguf", await text(page, ".notice"));
	await page.click("#new");
	caravan("alpha", "load", "--nodes", "all", "--name", "stories", demo);
	await page.waitForFunction(() => document.querySelector("#model").value === "stories" && document.querySelector(".examples"));
	check("it notices a model that is loaded meanwhile", true);
	await accessible(page, "an empty chat");
}

async function chats(page) {
	await set(page, { seed: 7, temperature: 0.8, max_tokens: 60, system: "You tell stories." });
	const asked = page.waitForRequest("**/v1/chat/completions");
	await say(page, "Once upon a time");
	const body = (await asked).postDataJSON();
	await finished(page);
	const want = await (await fetch(beta + "v1/chat/completions", { method: "POST", body: JSON.stringify({ ...body, stream: false }) })).json();
	const plain = (s) => s.replace(/\s+/g, "");
	check("what is sent has the settings", body.seed === 7 && body.max_tokens === 60 && body.messages[0].role === "system" && body.messages[1].content === "Once upon a time", body);
	const [first] = await answers(page);
	check("the answer is the API's", want.choices[0].message.content.length > 50 && plain(first) === plain(want.choices[0].message.content), first, want);
	check("with how many tokens and how fast", /^60 tokens · [\d.]+ tokens\/s · first after [\d.]+ m?s · reached its longest length$/.test(await text(page, ".stats")), await text(page, ".stats"));
	check("and is said to people who hear the page", (await text(page, "#status")).startsWith("Answer: "), await text(page, "#status"));
	const old = await page.$("article.assistant");
	await page.click('[aria-label="Regenerate"]');
	await old.waitForElementState("hidden");
	await finished(page);
	check("regenerated with the same seed it is the same, in its place", JSON.stringify(await answers(page)) === JSON.stringify([first]), await answers(page));
	await say(page, "And then?");
	await finished(page);
	check("a second turn", (await answers(page)).length === 2);
	await page.hover("article.user");
	await page.click('article.user [aria-label="Edit and send again"]');
	await page.fill(".edit textarea", "Lily and Tom went to the park");
	await page.press(".edit textarea", "Enter");
	await finished(page);
	check("an edited message leaves out what came after it", (await answers(page)).length === 1 && (await page.$$(".user")).length === 1 &&
		(await text(page, ".bubble")) === "Lily and Tom went to the park" && (await answers(page))[0] !== first, await answers(page));
	await accessible(page, "a chat");
	const before = await answers(page);
	await page.reload();
	await page.waitForSelector("html[data-ready]");
	check("a reload keeps it", JSON.stringify(await answers(page)) === JSON.stringify(before), before, await answers(page));
	await page.focus(".skip");
	await page.keyboard.press("Enter");
	check("the first link leads to the message field, and leaves the chat alone", JSON.stringify(await answers(page)) === JSON.stringify(before) &&
		(await page.evaluate(() => document.activeElement.id)) === "input", await answers(page));
	await page.click("#settings");
	check("with its settings", (await page.inputValue("#set-seed")) === "7" && (await page.inputValue("#system")) === "You tell stories.");
	await accessible(page, "the settings");
	await page.press("#system", "Escape");
}

async function limits(page) {
	await page.click("#new");
	await say(page, "# Too **long**\n\n" + "word ".repeat(1500));
	await shows(page, ".notice", "Shorten this message.");
	check("a message that is too long is to be shortened", true);
	const [asked] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), say(page, "Hello")]);
	await finished(page);
	check("what was refused is not sent again", JSON.stringify(asked.postDataJSON().messages.filter((m) => m.role === "user")) === '[{"role":"user","content":"Hello"}]', asked.postData());
	check("a title is plain text", (await text(page, '.item:has([aria-current]) .title')).startsWith("Too long word"), await text(page, '.item:has([aria-current]) .title'));
}

async function conversations(page) {
	const titles = () => page.$$eval("#conversations .title", (all) => all.map((e) => e.textContent));
	await page.click("#new");
	await say(page, "A zebra in the rain");
	await finished(page);
	await page.fill("#search", "zebra");
	check("search finds a word in the text", JSON.stringify(await titles()) === '["A zebra in the rain"]', await titles());
	await page.fill("#search", "nothing like that");
	check("or says that there is none", (await text(page, "#conversations")).includes("No chat has that"));
	await page.fill("#search", "");
	await page.click('.item:has([aria-current]) [aria-label^="More"]');
	await accessible(page, "the menu of a chat");
	await page.click('#menu [data-do="rename"]');
	await page.fill("#rename-input", "Stripes <b>");
	await page.press("#rename-input", "Enter");
	await shows(page, "#conversations .title", "Stripes <b>");
	check("renamed", (await titles()).includes("Stripes <b>"));
	const [file] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
	await file.saveAs(dir + "/export.json");
	const before = await titles();
	await page.click('.item:has([aria-current]) [aria-label^="More"]');
	await page.click('#menu [data-do="delete"]');
	await page.click("#delete-dialog .primary");
	await page.waitForFunction((n) => document.querySelectorAll("#conversations .title").length === n, before.length - 1);
	check("deleted", !(await titles()).includes("Stripes <b>") && (await answers(page)).length === 0, await titles());
	await page.setInputFiles("#file", dir + "/export.json");
	await page.waitForFunction((n) => document.querySelectorAll("#conversations .title").length === n, before.length);
	check("and imported again", JSON.stringify(await titles()) === JSON.stringify(before), await titles(), before);
	await page.setInputFiles("#file", { name: "x.json", mimeType: "application/json", buffer: Buffer.from('{"a": 1}') });
	await shows(page, "#banner", "has no conversations of Caravan");
	check("another file is refused in words", true);
	const saved = { version: 1, model: "m", messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "From a terminal" }, { role: "assistant", content: "A saved answer" }] };
	await page.setInputFiles("#file", { name: "y.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(saved)) });
	await page.waitForFunction((n) => document.querySelectorAll("#conversations .title").length === n, before.length + 1);
	await page.click("#conversations a >> nth=0");
	await shows(page, "#conversations [aria-current] .title", "From a terminal");
	check("what caravan chat has saved is imported", (await answers(page)).length === 1 && (await answers(page))[0].trim() === "A saved answer", await answers(page));
}

async function streams(page) {
	caravan("alpha", "load", "--nodes", "all", "--parallel", "1", "--name", "slow", slow);
	await page.reload();
	await page.waitForSelector("html[data-ready]");
	await page.click("#new");
	await page.waitForSelector('#model option[value="slow"]', { state: "attached" });
	await page.selectOption("#model", "slow");
	await set(page, { max_tokens: "", seed: 1 });
	await say(page, "abc");
	const sizes = await page.evaluate(() => new Promise((done) => {
		const seen = new Set();
		const look = () => {
			const n = document.querySelector("article.assistant > .markdown")?.textContent.length ?? 0, writing = document.querySelector("#send.stop");
			if (n && writing) seen.add(n);
			if (seen.size >= 5 || (n && !writing)) done([...seen]);
			else requestAnimationFrame(look);
		};
		look();
	}));
	check("an answer grows while it is written", sizes.length >= 5, sizes);
	await page.click("#new");
	const kept = await page.$$eval("#conversations a", (all) => all.length);
	await say(page, "def");
	await shows(page, ".waiting", "number 1 in the queue");
	check("one that waits for it says its place", true);
	await page.click('.item:has([aria-current]) [aria-label^="More"]');
	await page.click('#menu [data-do="delete"]');
	await page.click("#delete-dialog .primary");
	await page.waitForFunction(() => location.hash === "");
	check("another chat can be looked at meanwhile", (await page.$$(".item.running")).length === 1 && !(await page.$("#send.stop")));
	await page.click(".item.running a");
	await page.waitForSelector("#send.stop");
	await page.keyboard.press("Escape");
	await finished(page);
	check("Esc stops it, and what was written stays", (await text(page, ".notice")) === "Stopped." && (await answers(page))[0].length > 5, await text(page, "article.assistant"));
	await page.reload();
	await page.waitForSelector("html[data-ready]");
	check("a stopped answer is kept too", (await answers(page))[0]?.length > 5);
	check("one that was deleted while it was written is not", (await page.$$("#conversations a")).length === kept, kept);
}

// An answer of the slow model that is begun, and what the API says to the same.
const LENGTH = 300;
async function beginSlow(page) {
	await page.click("#new");
	await page.selectOption("#model", "slow");
	await set(page, { max_tokens: LENGTH, temperature: 0.9, seed: 1 });
	await say(page, "abc");
	await page.waitForFunction(() => document.querySelector("article.assistant > .markdown")?.textContent.length > 20);
	return !!(await page.$("#send.stop"));
}

// A way to a node that can be cut.
async function wire(url) {
	const sockets = new Set();
	const server = createConnections((client) => {
		const there = connect(Number(new URL(url).port), "127.0.0.1");
		for (const s of [client, there]) sockets.add(s.on("error", () => {}).on("close", () => (sockets.delete(s), client.destroy(), there.destroy())));
		client.pipe(there).pipe(client);
	});
	await new Promise((done) => server.listen(0, "127.0.0.1", done));
	const { port } = server.address();
	return { url: `http://127.0.0.1:${port}/`, cut: () => sockets.forEach((s) => s.destroy()), close: () => server.close(), open: () => new Promise((done) => server.listen(port, "127.0.0.1", done)) };
}

async function resumes() {
	const cable = await wire(alpha), page = await open(cable.url);
	const [request] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), beginSlow(page)]);
	await finished(page);
	const [whole] = await answers(page);
	check("an answer of the slow model", whole.length > 100 && request.postDataJSON().max_tokens === LENGTH, whole.length);
	let asked = 0;
	page.on("request", (r) => (asked += /\/v1\/stream\/[^/]+\?from=\d+$/.test(r.url()) && r.method() === "GET"));
	check("it is being written", await beginSlow(page));
	cable.cut();
	await finished(page);
	check("a connection that is lost is taken up, and the answer is what it would have been", asked > 0 && (await answers(page))[0] === whole, asked, await answers(page), whole);
	asked = 0;
	check("it is being written again", await beginSlow(page));
	await page.reload();
	await page.waitForSelector("html[data-ready]");
	await finished(page);
	check("and so is an answer after a reload", asked > 0 && (await answers(page))[0] === whole, asked, await answers(page), whole);
	asked = 0;
	check("and written once more", await beginSlow(page));
	const other = await page.context().newPage(); // as one that was duplicated
	await other.addInitScript((id) => sessionStorage.getItem("caravan.writing") ?? sessionStorage.setItem("caravan.writing", JSON.stringify([id])), new URL(page.url()).hash.slice(1));
	other.on("request", (r) => (asked += /\/v1\/stream\//.test(r.url())));
	await other.goto(page.url());
	await other.waitForSelector("html[data-ready]");
	await finished(page);
	// where it ends within the time that the second tab waits, that one reads its end once more, and the first shows what is kept
	const same = await page.waitForFunction((w) => document.querySelector("article.assistant > .markdown").textContent === w, whole).then(() => true, () => false);
	check("of two tabs one reads it", asked <= 1 && same, asked, await answers(page));
	await page.context().close();
	cable.cut();
	cable.close();
}

const HOSTILE = [
	"<script>window.hit = 1</script>", '<img src=x onerror="window.hit = 2">', "[a](javascript:window.hit=3)", '<a href="javascript:window.hit=4">b</a>',
	'<svg onload="window.hit = 5"><script>window.hit = 5</script></svg>', "<style>* { display: none }</style>",
	'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.hit=6&gt;">',
	'<form id="app" name="getElementById"><input name="attributes" id="input"></form>', '<a id="send"></a><a id="send" name="x"></a>', "![pixel](PIXEL)", '<img src="PIXEL">',
	'<iframe srcdoc="<script>parent.hit = 7</script>"></iframe>', '<base href="PIXEL">', '<meta http-equiv="refresh" content="0;url=PIXEL">', '<link rel="stylesheet" href="PIXEL">',
	'```"><img src=x onerror=window.hit=8>\nx\n```', "[c](data:text/html,<script>window.hit=9</script>)", "[d]\n\n[d]: javascript:window.hit=10", "<javascript:window.hit=11>",
	'[e](https://example.org/" onmouseover="window.hit=12)', '<details open ontoggle="window.hit=13"><summary>f</summary></details>', "|<img src=x onerror=window.hit=14>|\n|-|\n|<svg/onload=window.hit=15>|",
	'<span class="notice" style="position:fixed;inset:0">g</span>', "# app", '<x-y onfocus="window.hit=16" tabindex=0 autofocus>', "$<img src=x onerror=window.hit=17>$", "\\[<script>window.hit=18</script>\\]",
	'<button formaction="javascript:window.hit=19">h</button>', '<object data="PIXEL"></object><embed src="PIXEL"><video src="PIXEL" autoplay></video>', "<noscript><p title=\"</noscript><img src=x onerror=window.hit=20>\">",
	"<div>".repeat(300) + "<table>".repeat(300) + "<img src=x onerror=window.hit=21>",
].join("\n\n");

// What in the messages a model's text must never be.
const strange = (page) => page.evaluate(() => {
	const tags = /^(A|B|BLOCKQUOTE|BR|BUTTON|CODE|DEL|DETAILS|DIV|EM|H[2-6]|HR|I|INS|KBD|LI|MARK|OL|P|PRE|S|SMALL|SPAN|STRONG|SUB|SUMMARY|SUP|TABLE|TBODY|TD|TH|THEAD|TR|U|UL|SVG|USE)$/i;
	const attributes = /^(align|aria-hidden|aria-label|class|href|open|rel|role|start|tabindex|target|title|type)$/;
	const classes = /^(hljs-[a-z_-]+|math|code|code-bar|scroll|icon)$/;
	const found = [];
	for (const e of document.querySelectorAll(".markdown *")) {
		if (!tags.test(e.tagName)) found.push(e.tagName);
		for (const a of e.attributes) if (!attributes.test(a.name)) found.push(e.tagName + " " + a.name);
		for (const c of e.classList) if (!classes.test(c)) found.push(e.tagName + " ." + c);
		if (e.tagName === "A" && e.hasAttribute("href") && (!/^(https?|mailto):/.test(e.href) || !e.rel.includes("noopener"))) found.push(e.outerHTML);
	}
	return found;
});

async function hostile(page) {
	let pixels = 0;
	const server = createServer((_, response) => (pixels++, response.end())).listen(0, "127.0.0.1");
	await new Promise((done) => server.on("listening", done));
	const markdown = HOSTILE.replaceAll("PIXEL", "http://127.0.0.1:" + server.address().port + "/");
	await page.click("#new");
	await instead(page, markdown, markdown);
	await say(page, "<img src=x onerror=window.hit=30> <script>window.hit=31</script>");
	await finished(page);
	await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
	const inert = async (what) => {
		check(what + " is inert", (await page.evaluate(() => window.hit)) === undefined && pixels === 0 && foreign.length === 0, await page.evaluate(() => window.hit), pixels, foreign);
		check(what + " brings no element, attribute, class or link but plain ones", (await strange(page)).length === 0, await strange(page));
		check(what + " takes nothing of the page over", await page.evaluate(() => document.getElementById("input").tagName === "TEXTAREA" && document.getElementById("send").tagName === "BUTTON" &&
			document.getElementById("app").tagName === "DIV" && typeof document.getElementById === "function" && document.querySelector("#input").checkVisibility()));
		check(what + " breaks no rule of the page's policy", (await page.evaluate(() => window.violations.length)) === 0, await page.evaluate(() => window.violations));
	};
	await inert("hostile Markdown");
	check("and is there to be read", (await answers(page)).every((t) => t.includes("<script>window.hit = 1</script>") && t.includes('onerror="window.hit = 2"')), await answers(page));
	await page.setInputFiles("#file", { name: "x.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify({ format: "caravan-conversations", version: 1, conversations: [
		{ id: "__proto__", title: "<img src=x onerror=window.hit=40>", updated: 9e12, model: "<svg onload=window.hit=41>", system: "", settings: { __proto__: 1, model: 2 },
			messages: [{ role: "assistant", content: markdown, model: markdown, state: "<b>", error: { message: "x" } }, { role: "<b>", content: 7 }] }] })) });
	await shows(page, "#conversations .title", "<img src=x");
	await page.click("#conversations a:has-text('<img src=x')");
	await page.waitForSelector("article.assistant .markdown p");
	await inert("a hostile file");
	// the policy itself: what would have got through is stopped
	const stopped = await page.evaluate(() => {
		document.body.append(Object.assign(document.createElement("style"), { textContent: "body { display: none }" }));
		try {
			document.createElement("img").setAttribute("onerror", "window.hit = 50");
		} catch (e) {
			return e.message;
		}
	});
	check("even from within the page neither a style nor a handler counts", /TrustedScript/.test(stopped) && (await page.isVisible("#input")) &&
		(await page.evaluate(() => window.violations.length)) > 0, stopped);
	server.close();
}

// ---- the cluster ------------------------------------------------------------------------------------------------------

const verdict = (page, part) => shows(page, ".verdict", part);

async function openCluster(url, options) {
	const page = await open(url, options);
	if (!(await page.isVisible("#to-cluster"))) await page.click("#show-sidebar");
	await page.click("#to-cluster");
	await verdict(page, "nodes up");
	return page;
}

// The daemon of a node as it was started.
function restart(node) {
	const pid = readFileSync(`${dir}/${node}.pid`, "utf8").trim(), [program, ...args] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
	return {
		kill: () => process.kill(Number(pid), "SIGKILL"),
		start() {
			const child = spawn(program, args, { stdio: "ignore", detached: true });
			child.unref(); // it stays when this program ends
			writeFileSync(`${dir}/${node}.pid`, String(child.pid));
		},
	};
}

let watching = null; // a page that looks at the cluster while the others do something
async function clusterBefore() {
	watching = await openCluster(alpha);
	await watching.evaluate(() => {
		window.loaded = true; // not by a reload
		window.works = new Set();
		new MutationObserver(() => document.querySelectorAll("progress").forEach((p) => window.works.add(p.ariaLabel))).observe(document.getElementById("cluster"), { subtree: true, childList: true, attributes: true });
	});
	check("cluster: it says how it is", /^The cluster is healthy: 3 of 3 nodes up/.test(await text(watching, ".verdict")), await text(watching, ".verdict"));
	check("cluster: and what has happened", (await watching.$$eval(".events li", (all) => all.map((e) => e.textContent))).some((e) => /beta/.test(e)), await text(watching, "#cluster"));
}

async function cluster() {
	const page = watching, status = JSON.parse(caravan("alpha", "status", "--json")), slow = status.models.find((m) => m.name === "slow");
	check("cluster: loads and copies that were under way had bars", await page.evaluate(() => [...window.works].some((w) => /^(alpha|beta|gamma) is \S+ slow$/.test(w))), await page.evaluate(() => [...window.works]));
	const card = page.locator(".card", { has: page.locator('h2:text-is("slow")') });
	await card.locator("summary").click();
	const rows = await card.locator("tbody tr").evaluateAll((all) => all.map((r) => [...r.children].map((c) => c.textContent)));
	check("cluster: who has which layers is what caravan status says", slow.stages.length === 3 && JSON.stringify(rows.map((r) => [r[0], r[2]])) === JSON.stringify(slow.stages.map((s) => [s.node, `${s.first}–${s.last - 1}`])), rows, slow.stages);
	check("cluster: and the picture says it in words", (await card.locator(".picture").getAttribute("aria-label")).includes("gamma: layer"), await card.locator(".picture").getAttribute("aria-label"));
	const stop = new AbortController();
	const stream = fetch(beta + "v1/completions", { method: "POST", body: JSON.stringify({ model: "slow", prompt: "abc", max_tokens: 4000, stream: true, seed: 1 }), signal: stop.signal }).then((r) => r.text()).catch(() => "");
	await page.waitForFunction(() => [...document.querySelectorAll(".speed strong")].some((e) => Number(e.textContent) > 0) && document.querySelector(".link.moves"));
	check("cluster: tokens a second while a stream runs, and where the time goes", (await card.locator(".picture .computed").count()) === 3);
	check("cluster: the open table stays open", await card.locator("table").isVisible());
	await accessible(page, "the cluster");
	stop.abort();
	await stream;
	const gamma = restart("gamma");
	let begun = Date.now();
	gamma.kill();
	await page.waitForFunction(() => /2 of 3 nodes up/.test(document.querySelector(".verdict").textContent) && [...document.querySelectorAll(".gone title")].some((t) => t.textContent === "gamma"));
	console.log(`a node that was killed is seen to be down after ${Date.now() - begun} ms`);
	check("cluster: a node that is lost is seen without a reload, with why", (await shows(page, "#cluster .notice", "gamma has been down"), true) && (await page.evaluate(() => window.loaded)) === true);
	await shows(page, ".events li", "gamma");
	await page.emulateMedia({ colorScheme: "dark" });
	await accessible(page, "the cluster without a node, in the dark");
	begun = Date.now();
	gamma.start();
	await verdict(page, "3 of 3 nodes up");
	console.log(`and up again after ${Date.now() - begun} ms, with its start`);
	check("cluster: one that comes back too", (await page.locator(".gone").count()) === 0 && (await page.evaluate(() => window.loaded)) === true);
	await page.click("#new");
	check("cluster: and the way back leads to the chat", (await page.isVisible("#input")) && !(await page.isVisible("#cluster")));
	await page.keyboard.press("Control+Shift+L");
	check("cluster: by the keyboard as well", (await page.isVisible("#cluster")) && !(await page.isVisible("#input")));
	await page.context().close();
}

async function clusterLost() {
	const cable = await wire(alpha), page = await openCluster(cable.url);
	cable.close();
	cable.cut();
	await verdict(page, "This node does not answer");
	check("cluster: a node that does not answer is said", (await text(page, "#status")).includes("does not answer"), await text(page, "#status"));
	await cable.open();
	await verdict(page, "nodes up");
	check("cluster: and it goes on by itself", true);
	await page.context().close();
	cable.cut();
	cable.close();
}

async function morphs(page) {
	const seen = await page.evaluate(async () => {
		const { element, morph } = await import("/web/dom.js");
		const of = (...names) => element("div", ...names.map((n) => (n ? element("section", { id: n }, element("details", n)) : element("p", "news"))));
		const root = of("a", "b"), b = root.lastChild;
		b.firstChild.open = true;
		const say = () => [...root.children].map((e) => (e.id || e.textContent) + (e.firstChild.open ? "*" : "") + (e === b ? "!" : "")).join();
		return [of("", "a", "b"), of("b"), of("c", "", "b"), of("", "c")].map((fresh) => (morph(root, fresh), say()));
	});
	check("cluster: what is open stays open when something comes before it, or goes", JSON.stringify(seen) === '["news,a,b*!","b*!","c,news,b*!","news,c"]', seen);
}

const EVIL = "<img src=x onerror=window.hit=60>";
const evilStage = (first, last) => ({ node: EVIL, first, last, weight_bytes: 1e9, single_rows: 1, single_seconds: 0.01, times: { waited_seconds: 1, computed_seconds: 2, held_seconds: 0, wire_seconds: 1 } });
const EVIL_STATE = {
	healthy: false, verdict: EVIL, problems: [{ what: EVIL, advice: EVIL }],
	nodes: [EVIL, "b", "c", "d", "e"].map((name) => ({ name, state: name === "d" ? EVIL : "up", reason: EVIL.repeat(9), memory_used: 1, memory_allowed: 2, work: [{ model: EVIL, what: EVIL, done_bytes: 1, total_bytes: 4 }] })),
	models: [{ name: EVIL, state: "serving", coordinator: EVIL, context: 1, parallel: 1, kv: EVIL, draft: EVIL, stages: [evilStage(0, 1), ...["b", "c", "d", "e"].map((node, i) => ({ ...evilStage(i + 1, i + 2), node, link: { node: EVIL, up: i > 0, round_trip_seconds: 1, rate: 1 } }))],
		tokens: 3, tokens_per_second: 2, sequences: 1, queued: 1, drafted: 4, accepted: 3, blocks: 4, blocks_free: 1, ends_times: { waited_seconds: 1, computed_seconds: 1, held_seconds: 1, wire_seconds: 1 } }],
};

async function clusterHostile() {
	const page = await open(beta, { viewport: { width: 360, height: 800 }, isMobile: true });
	const body = `event: event\ndata: ${JSON.stringify({ text: EVIL, node: EVIL, severity: EVIL, unix: 1 })}\n\nevent: cluster\ndata: ${JSON.stringify(EVIL_STATE)}\n\n`;
	await page.route("**/v1/cluster/live", (route) => route.fulfill({ contentType: "text/event-stream", body }));
	await page.evaluate(() => (location.hash = "cluster"));
	await verdict(page, "<img");
	const all = await text(page, "#cluster");
	check("cluster: hostile names are there to be read, and do nothing", all.split("<img src=x").length > 9 && (await page.evaluate(() => window.hit)) === undefined && (await page.$$("#cluster img")).length === 0 &&
		(await page.evaluate(() => window.violations.length)) === 0, all.slice(0, 500), await page.evaluate(() => window.violations));
	check("cluster: drafts that were right, the queue, the cache, and what is under way", /drafts right75% of 4/.test(all) && /waiting1/.test(all) && /KV cache in use75%/.test(all) && (await page.$$eval("progress", (p) => p.map((one) => one.position))).join() === "0.25,0.25,0.25,0.25", all.slice(0, 900));
	check("cluster: on a phone nothing is wider than the screen", await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.querySelector("#cluster").scrollWidth <= innerWidth));
	await accessible(page, "the cluster on a phone");
	await page.setViewportSize({ width: 1280, height: 800 });
	await page.waitForFunction(() => document.querySelector(".picture").getBoundingClientRect().width > 600);
	check("cluster: nodes that do not fit beside each other are in several rows", await page.evaluate(() => new Set([...document.querySelector(".picture").querySelectorAll(".box")].map((b) => Math.round(b.getBoundingClientRect().top))).size === 2));
	await page.context().close();
}

// A cluster whose coordinator c has the last layers, and one where it has none; five machines do not fit beside each other.
const drawnLink = (node) => ({ node, up: true, round_trip_seconds: 0.001, rate: 1e6 });
const drawnState = (names, o = {}) => ({
	healthy: true, verdict: "3 nodes up", problems: [{ kind: "measured-busy", what: "a was busy", advice: "" }], nodes: ["a", "b", "c", "d", "e"].map((name) => ({ name, state: "up", memory_used: 1, memory_allowed: 2 })),
	models: [{ name: "m", state: "serving", coordinator: "c", context: 1, parallel: 4, kv: "f16", link: drawnLink(names[0]), tokens: 9, tokens_per_second: 55, sequences: 0, queued: 0, steps: 9, ...o,
		stages: names.map((node, i) => ({ node, first: i, last: i + 1, rows: 9, link: node === "c" ? null : drawnLink(names[i + 1] ?? "c") })) }],
});

async function clusterDrawn() {
	const page = await open(beta, { viewport: { width: 1280, height: 800 } });
	let state = null;
	await page.route("**/v1/cluster/live", (route) => (state ? route.fulfill({ contentType: "text/event-stream", body: `event: cluster\ndata: ${JSON.stringify(state)}\n\n` }) : route.abort()));
	const draw = async (to) => {
		state = { ...to, verdict: `${Math.random()} nodes up` };
		await page.evaluate(() => (location.hash = "cluster"));
		await verdict(page, state.verdict);
	};
	const machines = () => page.$$eval("#of-m .picture title", (all) => all.map((t) => t.textContent).join());
	await draw(drawnState(["a", "b", "c"]));
	check("cluster: a machine is one card, also the coordinator that has not the first layers", (await machines()) === "a,b,c", await machines());
	check("cluster: from it the way leads back to the first", (await text(page, "#of-m .picture")).includes("back to a · 1.0 ms · 8.0 Mbit/s"), await text(page, "#of-m .picture"));
	check("cluster: nothing runs, so no tokens are made now", (await text(page, ".speed strong")) === "0.0" && (await page.$(".link.moves")) === null, await text(page, ".speed"));
	check("cluster: of a model that has made steps it is not said that it has not", !(await text(page, ".picture")).includes("no step yet"), await text(page, ".picture"));
	const edge = () => page.$eval("#cluster .notice", (e) => getComputedStyle(e).borderLeftColor);
	const quiet = await edge();
	check("cluster: the machines come before remarks", await page.evaluate(() => document.querySelector("#of-m").compareDocumentPosition(document.querySelector(".notice.remark")) === Node.DOCUMENT_POSITION_FOLLOWING));
	await accessible(page, "a cluster with a remark");
	const broken = drawnState(["b", "c", "a"], { sequences: 1, steps: 0 });
	broken.problems.push({ kind: "node-down", what: "d is down", advice: "" });
	await draw(broken);
	check("cluster: what leaves it healthy has not the colour of an error, which comes first", quiet !== (await edge()) && (await text(page, "#cluster .notice")) === "d is down", quiet);
	check("cluster: the way back by a coordinator in the middle names it", (await text(page, "#of-m .picture")).includes("back to b by c · 1.0 ms · 1.0 ms"), await text(page, "#of-m .picture"));
	check("cluster: what runs is seen", (await text(page, ".speed strong")) === "55.0" && (await page.$$(".link.moves")).length === 3 && (await text(page, ".picture")).includes("no step yet"), await text(page, ".speed"));
	const lost = drawnState(["c", "b", "a"]);
	lost.nodes[1] = { name: "b", state: "down", reason: "cannot be reached at 127.0.0.1:29003 (nothing listens there)" };
	await draw(lost);
	check("cluster: no link of a node that is lost looks like one that works", (await page.$$(".link.broken")).length === 2, await page.$$eval(".link", (all) => all.map((l) => l.getAttribute("class"))));
	check("cluster: its card says why in full", (await page.$$eval(".gone .small", (all) => all.map((t) => t.textContent).join(" "))).includes(lost.nodes[1].reason), await text(page, ".gone"));
	await draw(drawnState(["a", "b", "d", "e"]));
	const wrapped = await page.evaluate(() => {
		const at = (e) => e.getBoundingClientRect(), boxes = [...document.querySelectorAll("#of-m .box")].map(at), below = boxes.find((b) => b.top > boxes[0].bottom);
		const middle = (r) => (r.left + r.right) / 2;
		return below && [...document.querySelectorAll("#of-m .tip")].map(at).some((t) => Math.abs(middle(t) - middle(below)) < 3 && t.bottom <= below.top + 1 && t.top > boxes[0].bottom);
	});
	check("cluster: a coordinator without layers is a card of its own", (await machines()) === "c,a,b,d,e" && (await text(page, "#of-m")).includes("embedding and output"), await machines());
	check("cluster: an arrow to the next row ends at the card there", wrapped === true, wrapped);
	const curves = await page.evaluate(async () => {
		const { sparkline } = await import("/web/cluster.js"), now = Date.now();
		return [[9, 8, 7], [90, 89, 9, 8]].map((ages) => sparkline(ages.map((s) => [now - 1000 * s, 1])).querySelectorAll(".curve").length);
	});
	check("cluster: a curve has a gap where nothing was seen", curves.join() === "1,2", curves);
	check("cluster: what is live is not dim", (await page.$eval(".card", (e) => getComputedStyle(e).opacity)) === "1");
	state = null;
	await verdict(page, "This node does not answer");
	check("cluster: and what to do is said", (await text(page, ".verdict")).includes("Is caravand running"), await text(page, ".verdict"));
	check("cluster: what was last seen of a node that does not answer is dim", (await page.$eval(".card", (e) => getComputedStyle(e).opacity)) === "0.5");
	await page.context().close();
}

const MARKDOWN = "Some **bold** text.\n\n```python\ndef f(x):\n    return x\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\nIt is $x_1 * y_1$ and \\(a_b\\).\n\n\\[\n\\sum_{i=1}^{n} i\n= \\frac{n(n+1)}{2}\n\\]\n\n[link](https://example.org/)";

async function markdown(page) {
	const grown = await page.evaluate(async () => {
		const { Markdown } = await import("/web/markdown.js");
		const root = document.createElement("div"), m = new Markdown(root);
		m.draw("First\n\n[late]\n\nThird");
		const [first] = root.children;
		m.draw("First\n\n[late]\n\nThird grows");
		const kept = root.firstElementChild === first && root.children.length === 3 && root.lastElementChild.textContent === "Third grows";
		m.draw("First\n\n[late]\n\nThird grows\n\n[late]: https://example.org/");
		return { kept, link: root.querySelector("a")?.href, text: root.textContent };
	});
	check("a text that grows is drawn where it grew, and a link when its address comes", grown.kept && grown.link === "https://example.org/" && /^First\s*late\s*Third grows\s*$/.test(grown.text), grown);
	await page.click("#new");
	await instead(page, MARKDOWN, "Let me *think*.");
	await say(page, "Show me");
	await finished(page);
	const seen = await page.evaluate(() => {
		const all = (s) => [...document.querySelectorAll("article.assistant > .markdown " + s)].map((e) => e.textContent);
		return { bold: all("strong"), keywords: all(".hljs-keyword"), cells: all("td"), right: getComputedStyle(document.querySelector("td:last-child")).textAlign, math: all(".math"), open: document.querySelector(".reasoning").open, thought: document.querySelector(".reasoning em").textContent };
	});
	check("Markdown, code in colour, tables", seen.bold[0] === "bold" && seen.keywords.join() === "def,return" && seen.cells.join() === "1,2" && seen.right === "right", seen);
	check("mathematics stays as it was written", JSON.stringify(seen.math) === JSON.stringify(["$x_1 * y_1$", "\\(a_b\\)", "\\[\n\\sum_{i=1}^{n} i\n= \\frac{n(n+1)}{2}\n\\]"]), seen.math);
	check("reasoning is there, folded", seen.open === false && seen.thought === "think", seen);
	await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
	await page.click('[aria-label="Copy code"]');
	check("code is copied", (await page.evaluate(() => navigator.clipboard.readText())) === "def f(x):\n    return x\n" || (await page.evaluate(() => navigator.clipboard.readText())) === "def f(x):\n    return x");
	await accessible(page, "Markdown");
	await page.click("#theme");
	await page.click("#theme");
	check("dark when it is chosen", (await page.evaluate(() => getComputedStyle(document.body).colorScheme)) === "dark" && (await page.getAttribute("#theme", "aria-label")) === "Theme: dark");
	await accessible(page, "Markdown in the dark");
	await page.click("#theme");
}

async function waits(page) {
	await page.click("#new");
	await page.selectOption("#model", "stories");
	await page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 503, headers: { "Retry-After": "1" }, contentType: "application/json",
		body: '{"error":{"message":"model stories is loading (hashing, 71%)","type":"server_error"}}' }), { times: 1 });
	await say(page, "Hello");
	await shows(page, ".waiting", "Model stories is loading (hashing, 71%).");
	check("while a model loads it says how far it is", true);
	await finished(page);
	check("and asks again by itself", (await answers(page))[0].length > 0);
	await page.route("**/v1/chat/completions", (route) => route.fulfill({ contentType: "text/event-stream",
		body: 'data: {"choices":[{"index":0,"delta":{"content":"Half"}}]}\n\n' }), { times: 1 });
	await say(page, "Go on");
	await shows(page, ".notice", "Regenerate asks for it again.");
	check("a connection that is lost is said, and what to do", (await answers(page)).at(-1).trim() === "Half", await answers(page));
}

async function phone(url) {
	const page = await open(url, { viewport: { width: 360, height: 844 }, isMobile: true, hasTouch: true, colorScheme: "dark" });
	await instead(page, MARKDOWN + "\n\n" + "long".repeat(200) + "\n\n|" + "wide column|".repeat(20) + "\n|" + "-|".repeat(20));
	await say(page, "Show me");
	await finished(page);
	check("phone: nothing is wider than the screen", await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.querySelector("#thread").scrollWidth <= innerWidth));
	await accessible(page, "on a phone");
	await page.click("#settings");
	check("phone: nor are the settings wider than their dialog", await page.$eval("#settings-dialog", (e) => e.scrollWidth <= e.clientWidth));
	await page.press("#system", "Escape");
	await page.click("#show-sidebar");
	await page.waitForFunction(() => document.activeElement.id === "hide-sidebar");
	await accessible(page, "on a phone, with the conversations");
	await page.keyboard.press("Escape");
	check("phone: Esc closes the conversations, and the focus is back", await page.evaluate(() => document.activeElement.id === "show-sidebar"));
	await page.context().close();
}

async function keys(page) {
	const secret = /\S{20,}/.exec(caravan("alpha", "key", "create"))[0];
	await page.reload();
	await page.waitForSelector("#key-dialog[open]");
	check("where a key is needed it is asked for", (await text(page, "#key-text")).includes("caravan key create"), await text(page, "#key-text"));
	await accessible(page, "asked for a key");
	await page.click("#key-dialog [data-close]");
	await shows(page, "#banner", "API key is needed");
	check("and the page can be looked at without one", (await page.$$("#conversations a")).length > 2);
	await page.click("#to-cluster");
	await page.waitForSelector("#key-dialog[open]");
	await page.click("#key-dialog [data-close]");
	await verdict(page, "API key");
	check("cluster: it asks for a key too, and shows nothing without one", (await page.$$(".card")).length === 0, await text(page, "#cluster"));
	await page.goBack();
	await page.click("#key");
	check("what is asked for has the focus, and there is no key to remove", (await page.evaluate(() => document.activeElement.id)) === "key-input" && !(await page.isVisible("#key-forget")));
	await page.fill("#key-input", "wrong");
	await page.press("#key-input", "Enter");
	await shows(page, "#key-text", "does not take the key");
	check("a wrong one is not taken", true);
	await page.fill("#key-input", secret);
	await page.press("#key-input", "Enter");
	await page.waitForFunction(() => document.querySelector("#model").value && document.querySelector("#banner").hidden);
	await page.click("#new");
	await page.selectOption("#model", "stories");
	await say(page, "Hello");
	await finished(page);
	await page.reload();
	await page.waitForSelector("html[data-ready]");
	await page.click("#to-cluster");
	await verdict(page, "nodes up");
	await page.goBack();
	await page.waitForSelector("#input");
	check("with the right one it answers, and keeps it", (await answers(page))[0].length > 0 && !(await page.$("#key-dialog[open]")));
}

async function losses(page) {
	await page.click("#new");
	await page.selectOption("#model", "slow");
	await say(page, "abc");
	await page.waitForFunction(() => document.querySelector("article.assistant > .markdown")?.textContent.length > 20);
	process.kill(Number(readFileSync(dir + "/beta.pid", "utf8")), "SIGKILL");
	await finished(page);
	check("a node that is lost while it writes: the page says which, and what to do", /beta/.test(await text(page, ".notice")) && /Regenerate/.test(await text(page, ".notice")) &&
		(await answers(page))[0].length > 20, await text(page, ".notice"));
	await page.click("#new");
	await page.waitForFunction(() => document.querySelector("#model").value);
	await page.click('#new');
	process.kill(Number(readFileSync(dir + "/alpha.pid", "utf8")), "SIGKILL");
	await say(page, "Hello");
	await shows(page, ".notice", "This node does not answer.");
	check("a node that does not answer is said, once", (await text(page, ".notice")).includes("Is caravand running") && !(await page.isVisible("#banner")), await text(page, "#banner"));
}

const page = await open(alpha);
for (const f of [begins, chats, limits, conversations, hostile, markdown, clusterBefore, streams, cluster, morphs, clusterLost, clusterHostile, clusterDrawn, resumes, waits, () => phone(beta), keys, losses])
	try {
		await f(page);
	} catch (e) {
		check(f.name + " came to its end", false, String(e?.stack ?? e));
	}
check("the page has thrown nothing", faults.length === 0, faults);
check("and asked no other machine for anything", foreign.length === 0, foreign);
await browser.close();
