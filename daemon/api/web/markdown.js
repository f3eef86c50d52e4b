// markdown: text of a model as part of the document.
//
// A model's text is not trusted.  marked makes HTML of it, in which HTML of the text itself is text but for a few plain tags;
// DOMPurify then lets through only what is listed here; the page's Content-Security-Policy is the last line.  Images are links, so
// that showing a text asks no other machine for anything.  Mathematics stays as it is written.
/* global marked, DOMPurify, hljs */

import { copy, element, iconButton } from "./dom.js";

const PLAIN = /^<\/?(b|br|code|del|details|em|hr|i|ins|kbd|li|mark|ol|p|s|small|strong|sub|summary|sup|u|ul)\s*\/?>$/i;
const TAGS = ["a", "b", "blockquote", "br", "code", "del", "details", "div", "em", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "mark",
	"ol", "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul"];
const CLASS = /^(hljs-[a-z_-]+|math|code|scroll)$/;
const COLOURED_MOST = 50000; // characters of a block

const escape = (s) => s.replace(/[&<>"']/g, (c) => "&#" + c.charCodeAt(0) + ";");

// $$…$$, \[…\], \(…\) and $…$, as they are
const math = (name, level, start, pattern) => ({
	name, level,
	start: (src) => { const m = start.exec(src); return m ? m.index : undefined; },
	tokenizer(src) {
		const m = pattern.exec(src);
		return m ? { type: name, raw: m[0], text: m[0].trim() } : undefined;
	},
	renderer: (token) => level === "block" ? `<p class="math">${escape(token.text)}</p>` : `<span class="math">${escape(token.text)}</span>`,
});

const renderer = {
	html: (html) => html.split(/(<[^>]*>)/).map((part) => (PLAIN.test(part) ? part : escape(part))).join(""),
	heading: (text, level) => { const n = Math.min(level + 1, 6); return `<h${n}>${text}</h${n}>`; },
	image: (href, title, text) => `<a href="${escape(href ?? "")}">${escape(text || "image")}</a>`,
	checkbox: (checked) => (checked ? "☑ " : "☐ "),
	code(text, info) {
		const language = /^[\w+#.-]*/.exec(info ?? "")[0].toLowerCase();
		const known = language && hljs.getLanguage(language) && text.length < COLOURED_MOST;
		return `<div class="code" title="${escape(language)}"><pre><code>${known ? hljs.highlight(language, text, true).value : escape(text)}</code></pre></div>`;
	},
	table: (head, body) => `<div class="scroll"><table><thead>${head}</thead><tbody>${body}</tbody></table></div>`,
};

marked.use({
	gfm: true, breaks: true, headerIds: false, mangle: false, renderer,
	extensions: [
		math("mathBlock", "block", /^(\$\$|\\\[)/m, /^(?:\$\$(?:(?!\$\$)[\s\S])+\$\$|\\\[(?:(?!\\\])[\s\S])+\\\])[ \t]*(?:\n+|$)/),
		math("mathInline", "inline", /\$|\\[([]/, /^(?:\$\$(?:(?!\$\$)[\s\S])+\$\$|\\\[(?:(?!\\\])[\s\S])+\\\]|\\\((?:(?!\\\))[\s\S])+\\\)|\$(?![\s$])(?:[^$\n\\]|\\.)*?[^\s$\\]\$(?!\d))/),
	],
});

DOMPurify.addHook("uponSanitizeAttribute", (node, data) => {
	if (data.attrName === "class") {
		data.attrValue = data.attrValue.split(/\s+/).filter((c) => CLASS.test(c)).join(" ");
		data.keepAttr = data.attrValue !== "";
	}
});
DOMPurify.addHook("afterSanitizeAttributes", (node) => {
	if (node.nodeName !== "A") return;
	node.setAttribute("target", "_blank");
	node.setAttribute("rel", "noopener noreferrer nofollow");
});

function fragment(html) {
	const part = DOMPurify.sanitize(html, { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["align", "class", "href", "start", "title"], ALLOW_DATA_ATTR: false,
		ALLOW_ARIA_ATTR: false, ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i, ADD_URI_SAFE_ATTR: ["align", "start"], RETURN_DOM_FRAGMENT: true });
	for (const block of part.querySelectorAll("div.code")) frameCode(block);
	for (const table of part.querySelectorAll("div.scroll")) {
		table.tabIndex = 0;
		table.setAttribute("role", "group");
		table.setAttribute("aria-label", "Table");
	}
	return part;
}

// A block of code gets its language and a button.
function frameCode(block) {
	const pre = block.querySelector("pre");
	if (!pre) return;
	const language = block.title;
	block.removeAttribute("title");
	pre.tabIndex = 0;
	pre.setAttribute("role", "group");
	pre.setAttribute("aria-label", language ? "Code in " + language : "Code");
	const button = iconButton("copy", "Copy code", () => copy(button, pre.textContent));
	block.prepend(element("div", { class: "code-bar" }, element("span", language || "text"), button));
}

// Draws a text that grows: blocks that have not changed stay as they are, with what is selected in them.
export class Markdown {
	constructor(root) {
		this.root = root;
		this.blocks = []; // { raw, nodes }
		this.known = 0; // definitions of links
	}

	draw(text) {
		const all = marked.lexer(text), links = all.links, known = Object.keys(links).length;
		const tokens = all.filter((t) => t.type !== "space" && t.type !== "def");
		let same = 0;
		// a definition may be of a link in any of them
		while (known === this.known && same < tokens.length && this.blocks[same]?.raw === tokens[same].raw) same++;
		this.known = known;
		for (const block of this.blocks.splice(same)) for (const node of block.nodes) node.remove();
		for (const token of tokens.slice(same)) {
			const one = [token];
			one.links = links;
			const part = fragment(marked.parser(one));
			this.blocks.push({ raw: token.raw, nodes: [...part.childNodes] });
			this.root.append(part);
		}
	}
}
