// How a model is that runs beside the server, and that a small one is often wrong: a line below the composer while it is chosen. Only
// development has such models.

import { $ } from "./ui.js";

/** Between two looks while one is not ready, in ms. */
const EVERY = 1000;

export class LocalNote {
  #menu;
  #say;
  #timer = 0;

  /** `menu` holds the models; `say()` is called with a sentence when the chosen one has changed its state. */
  constructor(menu, say) {
    if (!$("#local")) return;
    this.#menu = menu;
    this.#say = say;
    menu.addEventListener("change", () => this.#show());
    document.addEventListener("visibilitychange", () => this.look());
    this.#show();
    this.#later();
  }

  /** Looks now, whatever it was before: an answer that broke off may be the first to show that the model has ended. */
  async look() {
    if (!this.#menu || document.hidden) return;
    clearTimeout(this.#timer);
    try {
      // Programs may keep the list for minutes; this is about seconds. A session is not needed for it.
      const response = await fetch("/api/models", { cache: "no-store", signal: AbortSignal.timeout(10 * EVERY) });
      if (response.ok) this.#take((await response.json()).data);
    } catch {
      // A server that is away for a moment is looked for again.
    }
    this.#later();
  }

  #options() {
    return [...this.#menu.options].filter(({ dataset }) => "local" in dataset);
  }

  #later() {
    clearTimeout(this.#timer);
    // Not on a page that nobody sees: whoever comes back to it looks at once.
    if (!document.hidden && this.#options().some(({ dataset }) => dataset.local !== "ready")) this.#timer = setTimeout(() => this.look(), EVERY);
  }

  #take(models) {
    for (const option of this.#options()) {
      const now = models.find(({ id }) => id === option.value)?.local;
      if (!now) continue;
      const isNews = option.dataset.local !== now.state && option.selected;
      Object.assign(option.dataset, { local: now.state, percent: now.percent ?? "", sentence: now.sentence });
      if (isNews) this.#say(now.sentence);
    }
    this.#show();
  }

  #show() {
    const box = $("#local"), progress = $("#local-progress"), says = $("#local-says");
    const { local, percent, sentence } = this.#menu.selectedOptions[0]?.dataset ?? {};
    box.hidden = !local;
    if (!local) return;
    box.dataset.state = local;
    // Not touched where nothing has changed, so that a selection in it stays.
    if (says.textContent !== sentence) says.textContent = sentence;
    progress.hidden = percent === "";
    if (percent !== "") progress.value = Number(percent);
  }
}
