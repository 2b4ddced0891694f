// What every page does.

import { forgetDrafts } from "./draft.js";
import { $, ask, copy, frameCode, showLocalTimes, toast } from "./ui.js";

const THEMES = ["system", "light", "dark"];

/** The system's theme, light, dark, and round again. */
function nextTheme() {
  const root = document.documentElement;
  const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", theme);
  } catch {
    // Then it holds for this page only.
  }
  toast(theme === "system" ? "Colours: as the system" : `Colours: ${theme}`);
}

document.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  const source = at("[data-copy]"), code = at("[data-copy-code]");
  if (source) copy($(source.dataset.copy).textContent);
  if (code) copy(code.parentElement.querySelector("pre").textContent);
  if (at("[data-theme-toggle]")) nextTheme();
});

for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { confirm, confirmText, confirmOk } = form.dataset;
    // Sent past this listener, which would ask again.
    if (await ask({ title: confirm, text: confirmText, ok: confirmOk, danger: true })) form.submit();
  });
}

// Whoever leaves leaves nothing: this browser may be another person's next.
for (const form of document.querySelectorAll('form[action="/sign-out"]')) {
  form.addEventListener("submit", () => forgetDrafts(form.dataset.account));
}

showLocalTimes();
frameCode(document);
