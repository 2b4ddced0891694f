// Messages as elements, as the server's template writes them, and an answer that grows.

import { make, showHtml } from "./ui.js";

/** Longer without a rendering, in ms, and what came since is shown as it came: the text never stands still. */
const UNRENDERED = 1000;

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

/** An answer while it is written: drawn once a frame, the newest state only. */
export class GrowingAnswer {
  #drawn;
  #frame = 0;
  #later = 0;
  #html = null;
  /** What came after the last rendering, and how much of it is shown. */
  #tail = "";
  #tailShown = null;
  #renderedAt = 0;

  constructor(message, drawn) {
    Object.assign(this, messageElement(message));
    this.#drawn = drawn;
  }

  get text() {
    return this.body.textContent;
  }

  /** The model is at work on what it will say. */
  thinks() {
    if (!this.text) this.body.dataset.thinking = "";
    this.#drawn();
  }

  delta(text) {
    this.#tail += text;
    this.#schedule();
  }

  render(html) {
    this.#html = html;
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
    if (this.#html !== null) {
      showHtml(this.body, this.#html);
      this.#html = null;
      this.#tailShown = null;
      this.#renderedAt = performance.now();
    }
    if (this.body.classList.contains("plain")) {
      this.body.append(this.#tail);
      this.#tail = "";
    } else if (this.#tail) {
      const left = this.#renderedAt + UNRENDERED - performance.now();
      if (last || left <= 0) {
        this.#tailShown ??= this.body.appendChild(make("p", { className: "tail", dir: "auto" }));
        this.#tailShown.append(this.#tail.slice(this.#tailShown.textContent.length));
      } else {
        // The model may be silent for a while now, and no rendering follows without a word of it.
        this.#later = setTimeout(() => this.#schedule(), left + 1);
      }
    }
    this.#drawn();
  }
}
