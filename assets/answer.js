// Messages as elements, as the server's template writes them, and an answer that grows.

import { spoken } from "./api.js";
import { make, showHtml } from "./ui.js";

/** Longer without a rendering, in ms, and what came since is shown as it came: the text never stands still. */
const UNRENDERED = 1000;

/** Longer without a sign of an answer, in ms, and it is said how long that has been. */
const UNANSWERED = 3000;

/** Model names by id, from the menu; an id that is no longer offered names itself. */
export function modelName(id) {
  const option = [...document.querySelectorAll("#model option")].find(({ value }) => value === id);
  return option?.textContent ?? id ?? "Answer";
}

/** The article of a message; `body` is where its text stands. */
export function messageElement(message) {
  const mine = message.role === "user";
  const heading = mine ? make("h2", { className: "hidden", ariaLabel: "You" }) : make("h2", { className: "by", dir: "auto" }, modelName(message.model));
  const body = mine ? make("div", { className: "text", dir: "auto" }, message.content) : make("div", { className: "prose plain", dir: "auto" });
  const article = make("article", { className: "message", dataset: { test: "message", id: message.id, role: message.role, status: message.status } }, heading, body);
  return { article, body };
}

/** How an answer ended, in the words that the server has for it; nothing where it ended by itself. */
export function showEnd(article, { status, reason, detail, retry_after: retryAfter }) {
  article.dataset.status = status;
  article.querySelector(".end, .why")?.remove();
  if (reason === "stopped") return article.append(make("p", { className: "end", dataset: { test: "end" } }, detail));
  const words = detail ?? { partial: "This answer is not complete.", failed: "No answer came." }[status];
  if (!words) return undefined;
  const card = make("div", { className: "why", dataset: { test: "why", reason: reason ?? "" } }, make("p", { dir: "auto" }, words), make("div", { className: "acts" }));
  if (retryAfter) card.dataset.retryAt = new Date(Date.now() + retryAfter * 1000).toISOString();
  return article.append(card);
}

const grouped = new Intl.NumberFormat("en"), exact = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** What an answer took, below its text, on the page that saw it come: the speed is not stored. */
export function showUsage(article, usage) {
  if (!usage?.output_tokens) return;
  const { output_tokens: count, tokens_per_second: speed, estimated } = usage;
  const tokens = `${estimated ? "about " : ""}${grouped.format(count)} token${count === 1 ? "" : "s"}`;
  const text = speed === null ? tokens : `${tokens} · ${exact.format(speed)} tokens/s`;
  article.querySelector(".prose").after(make("p", { className: "took", dataset: { test: "took" } }, text));
}

/** What the writer closed last was a block of code. */
const FENCE = /(?:^|\n)[\s>]*(?:`{3,}|~{3,})\s*$/;
/** Signs of the text that are kept to see how it goes on: a line with nothing but a fence, and blank ones after it. */
const RECENT = 200;

/**
 * Where `text` goes on in the rendering of what came before it, which ended with `recent`, and what white space the rendering left out;
 * nothing where another paragraph begins. Text that is put into a paragraph of its own looks like an end that is none.
 */
function goesOn(body, recent, text) {
  let block = body.lastElementChild;
  while (block?.matches("ul, ol, li, blockquote") && block.lastElementChild?.matches("ul, ol, li, blockquote, p, h3, h4, h5, h6, .code")) block = block.lastElementChild;
  const code = block?.matches(".code") && block.querySelector("code");
  if (code) {
    const isClosed = code.textContent && FENCE.test(recent);
    // Its last line is rendered with an end that it need not have yet.
    if (!isClosed && !recent.endsWith("\n")) code.textContent = code.textContent.replace(/\n$/, "");
    return isClosed ? null : { block: code, space: "" };
  }
  const [space] = /\s*$/.exec(recent), lines = (space + /^\s*/.exec(text)[0]).split("\n").length;
  const most = block?.matches("p, li") ? 2 : block?.matches("h3, h4, h5, h6") ? 1 : 0;
  return lines <= most ? { block, space } : null;
}

/** An answer while it is written: drawn once a frame, the newest state only. */
export class GrowingAnswer {
  #drawn;
  #frame = 0;
  #later = 0;
  #html = null;
  /** The end of all that came, and of what the last rendering is of. */
  #recent = "";
  #rendered = "";
  /** What came after the last rendering, and where it is shown. */
  #tail = "";
  #shown = null;
  #renderedAt = 0;
  #waiting;
  /** How much of the conversation the model has read, in percent, where it says so. */
  #read = null;

  constructor(message, drawn) {
    Object.assign(this, messageElement(message));
    this.#drawn = drawn;
    const begun = performance.now();
    // A small model takes minutes to read a long question, and looks dead meanwhile.
    this.#waiting = setInterval(() => {
      const waited = performance.now() - begun;
      if (!this.article.isConnected) this.#comes();
      else if (waited >= UNANSWERED) this.body.dataset.waiting = `${this.#awaited()}, ${spoken(waited / 1000)}`;
    }, 1000);
  }

  #awaited() {
    return this.#read === null ? "Waiting for the first word" : `Reading the conversation, ${this.#read} %`;
  }

  reads(read, total) {
    this.#read = Math.floor((100 * read) / total);
  }

  /** There is something of it, or there will be nothing. */
  #comes() {
    clearInterval(this.#waiting);
    delete this.body.dataset.waiting;
  }

  get text() {
    return this.body.textContent;
  }

  /** The model is at work on what it will say. */
  thinks() {
    this.#comes();
    if (!this.text) this.body.dataset.thinking = "";
    this.#drawn();
  }

  delta(text) {
    this.#tail += text;
    this.#recent = (this.#recent + text).slice(-RECENT);
    this.#schedule();
  }

  render(html) {
    this.#html = html;
    this.#rendered = this.#recent;
    this.#tail = "";
    this.#schedule();
  }

  /** The last state, at once: frames do not come to a tab that is not looked at. */
  finish(end, html) {
    if (html !== undefined && html !== null) this.render(html);
    this.#draw(true);
    showEnd(this.article, end);
    this.#drawn();
  }

  #schedule() {
    this.#frame ||= requestAnimationFrame(() => this.#draw(false));
  }

  #draw(last) {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#later);
    this.#frame = 0;
    delete this.body.dataset.thinking;
    this.#comes();
    if (this.#html !== null) {
      showHtml(this.body, this.#html);
      this.#html = null;
      this.#shown = null;
      this.#renderedAt = performance.now();
    }
    if (this.body.classList.contains("plain")) {
      this.body.append(this.#tail);
      this.#tail = "";
    } else if (this.#tail.trim()) {
      const left = this.#renderedAt + UNRENDERED - performance.now();
      if (last || left <= 0) {
        this.#showTail();
      } else {
        // The model may be silent for a while now, and no rendering follows without a word of it.
        this.#later = setTimeout(() => this.#schedule(), left + 1);
      }
    }
    this.#drawn();
  }

  #showTail() {
    if (!this.#shown) {
      const on = goesOn(this.body, this.#rendered, this.#tail);
      const element = on ? make("span", { className: "tail" }, on.space) : make("p", { className: "tail", dir: "auto" });
      (on?.block ?? this.body).append(element);
      this.#shown = { element, from: on ? 0 : this.#tail.search(/\S/) };
    }
    const { element, from } = this.#shown;
    element.append(this.#tail.slice(from));
    this.#shown.from = this.#tail.length;
  }
}
