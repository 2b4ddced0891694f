// An answer that the page found half written: another tab has it written, or the page that had it written was left. It is looked
// at again until it has ended, on the page itself, which has every part of it as it should be shown.

import { showEnd } from "./answer.js";
import { api } from "./api.js";
import { make, showHtml } from "./ui.js";

/** Before the first look, the second, and at most before a later one, in ms; each pause after the second is so much longer. */
const FIRST = 1000, SECOND = 2000, LONGEST = 15_000, GROWTH = 1.25;
/** No answer takes longer as providers are configured by default, with the time after which an abandoned one is closed. */
const AT_MOST = 15 * 60_000;

/** After `ms`, and not before somebody can see the page. */
async function seen(ms) {
  await new Promise((resolve) => setTimeout(resolve, ms));
  while (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

/**
 * The page as it is now; nothing if it is another one. A session that has ended is for the reader to find out, who may be in the middle of
 * a question.
 */
async function look(place) {
  const response = await api("GET", place, undefined, AbortSignal.timeout(LONGEST));
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return page.querySelector("#messages") && page;
}

/** Makes a change, and leaves the focus where it was, if need be on the like of what had it. */
function keepFocus(within, change) {
  const focused = document.activeElement, alike = () => [...within.querySelectorAll(focused.tagName)];
  const index = within.contains(focused) ? alike().indexOf(focused) : -1;
  change();
  if (!focused.isConnected) alike()[index]?.focus({ preventScroll: true });
}

/** Shows `article` as the page has it. While an answer is written again, the one that it replaces stands before it. */
function take(article, page) {
  const on = ({ dataset }) => page.querySelector(`.message[data-id="${CSS.escape(dataset.id)}"]`);
  const now = on(article), before = article.previousElementSibling;
  if (before?.dataset.role === "assistant" && !on(before)) before.remove();
  if (!now) return article.remove();
  keepFocus(article, () => showHtml(article.querySelector(".prose"), now.querySelector(".prose").innerHTML));
  article.dataset.status = now.dataset.status;
  return article.append(...now.querySelectorAll(":scope > :is(.end, .why)"));
}

/** How it goes on cannot be told from here. */
function giveUp(article, place) {
  article.dataset.status = "partial";
  const link = make("a", { href: place }, "Load the page again");
  article.append(make("p", { className: "end", dataset: { test: "end" } }, link, " to see how this answer went on."));
}

/** Watches an answer to its end. `grown()` is called whenever it may have changed, and what this gives is fulfilled at the end. */
export async function watch(article, place, grown) {
  const until = performance.now() + AT_MOST;
  for (let pause = FIRST, next = SECOND; ; pause = next, next = Math.min(next * GROWTH, LONGEST)) {
    await seen(pause);
    let page;
    try {
      page = await look(place);
    } catch ({ status, wait }) {
      if (status === 404) showEnd(article, { status: "partial", reason: "deleted", detail: "This conversation was deleted, which ended its answer." });
      if (wait) next = Math.max(next, wait * 1000);
    }
    if (page) take(article, page);
    if (page === null || (article.dataset.status === "streaming" && performance.now() > until)) giveUp(article, place);
    grown();
    if (!article.isConnected || article.dataset.status !== "streaming") return;
  }
}
