// What can be done about an answer that did not come, or not whole: buttons where it says so.

import { make } from "./ui.js";
import { spoken } from "./api.js";

/** Where another model may do better. */
const MODELS_FAULT = ["provider_error", "provider_refused", "provider_timeout", "rate_limited", "context_length", "content_filter", "refusal", "model_not_found"];

/**
 * The remedies of the last answer, if it needs any; `regenerate` is moved to them. Gives false if there is no card.
 * `acts` has `another()`, `anew()` and `more()`.
 */
export function showRemedies(article, regenerate, acts) {
  const card = article.querySelector(".why"), place = card?.querySelector(".acts");
  if (!place) return false;
  const { reason } = card.dataset;
  const button = (text, act, test) => make("button", { type: "button", onclick: act, dataset: { test } }, text);
  if (reason === "deleted") {
    place.replaceChildren(button("New chat", acts.anew, "remedy-new"));
    return true;
  }
  const also = [];
  if (reason === "length") also.push(button("Continue", acts.more, "remedy-continue"));
  if (reason === "context_length") also.push(button("Ask in a new conversation", acts.anew, "remedy-new"));
  if (MODELS_FAULT.includes(reason) && document.querySelectorAll("#model option").length > 1) also.push(button("Choose another model", acts.another, "remedy-model"));
  place.replaceChildren(regenerate, ...also);
  countDown(card, regenerate);
  return true;
}

/** The button waits as long as the server asked, and says how long that still is. */
function countDown(card, button) {
  const until = Date.parse(card.dataset.retryAt ?? ""), words = button.textContent;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    // It may stand elsewhere by now.
    if (!card.contains(button)) return;
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${spoken(left)}` : words;
    if (left > 0) setTimeout(tick, 500);
  };
  tick();
}
