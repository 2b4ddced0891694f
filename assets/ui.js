// Small things that every page uses: words that pass, the dialog, copying, what the server rendered.

export const $ = (selector, within = document) => within.querySelector(selector);

/** An element with properties; strings and elements become its contents. */
export function make(name, properties = {}, ...contents) {
  const { dataset, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  Object.assign(element.dataset, dataset);
  element.append(...contents);
  return element;
}

/** How long words that pass are shown, in ms: time to read them, and more for more of them. */
const passing = (text) => 4000 + 60 * text.length;

let toastTimer;
/** Says that something was done. What went wrong belongs where it went wrong, and stays there. */
export function toast(text) {
  const box = $("#toast");
  const hide = (after) => {
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => box.classList.remove("shown"), after);
  };
  box.textContent = text;
  box.classList.add("shown");
  box.onpointerenter = () => clearTimeout(toastTimer);
  box.onpointerleave = () => hide(2000);
  hide(passing(text));
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    toast("The browser does not allow copying; select the text instead");
  }
}

/** As the server counts: code points, without the white space around them. */
const length = (text) => [...text.trim()].length;

/**
 * Asks in a dialog. Gives the text that was typed, true, or null if it was cancelled. `limit` is the longest text that the server
 * takes: what is longer is refused with its length and stays as it is, for a field that cuts what is pasted does so unsaid.
 */
export function ask({ title, text, value, ok, danger, secret, limit = Infinity, fault: first }) {
  const dialog = $("#dialog"), input = $("#dialog-input"), button = $("#dialog-ok"), fault = $("#dialog-fault"), count = $("#dialog-count");
  const wantsText = value !== undefined;
  $("#dialog-title").textContent = title;
  $("#dialog-text").textContent = text ?? "";
  $("#dialog-text").hidden = !text;
  $("#dialog-field").hidden = !wantsText;
  const label = secret ? "Password" : "Title";
  $("label", $("#dialog-field")).textContent = label;
  input.type = secret ? "password" : "text";
  input.autocomplete = secret ? "current-password" : "off";
  input.value = value ?? "";
  button.textContent = ok;
  button.className = danger ? "danger" : "primary";
  const tooLong = () => length(input.value) > limit && `At most ${limit} characters. Nothing was cut: shorten it.`;
  /** Written only where they change, so that a screen reader says them once and not at every key. */
  const object = (words) => {
    if (fault.textContent !== words) fault.textContent = words;
    fault.hidden = !words;
    if (words) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    button.ariaDisabled = tooLong() ? "true" : null;
  };
  input.oninput = () => {
    const written = length(input.value);
    count.hidden = written < limit * 0.8;
    count.textContent = `${written} of ${limit} characters`;
    object(tooLong() || "");
  };
  return new Promise((resolve) => {
    const form = $("form", dialog);
    form.onsubmit = (event) => {
      const objection = wantsText && (tooLong() || (!input.value.trim() && `A ${label.toLowerCase()} needs at least one letter.`));
      if (!objection) return;
      event.preventDefault();
      object(objection);
      input.focus();
    };
    input.oninput();
    if (first) object(first);
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? (wantsText ? (secret ? input.value : input.value.trim()) : true) : null), { once: true });
    dialog.returnValue = "";
    $("#dialog-cancel").onclick = () => dialog.close("");
    dialog.showModal();
    if (wantsText) input.select();
  });
}

/** Gives each block of code its frame with a button. */
export function frameCode(within) {
  for (const pre of within.querySelectorAll("pre")) {
    if (pre.parentElement?.classList.contains("code")) continue;
    const frame = make("div", { className: "code" });
    // What scrolls sideways can be scrolled by keyboard.
    pre.tabIndex = 0;
    pre.replaceWith(frame);
    frame.append(pre, make("button", { type: "button", dataset: { copyCode: "" } }, "Copy"));
  }
}

/**
 * Shows what the server rendered, and leaves the blocks that are as they were: a selection, the focus and how far a block
 * was scrolled survive while an answer grows. The one place where HTML goes in: it comes from our server, sanitised.
 */
export function showHtml(element, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content;
  frameCode(fresh);
  const opened = element.querySelectorAll("details");
  fresh.querySelectorAll("details").forEach((details, index) => (details.open = opened[index]?.open ?? details.open));
  element.classList.remove("plain");
  let old = element.firstChild;
  while (old && fresh.firstChild?.isEqualNode(old)) {
    fresh.firstChild.remove();
    old = old.nextSibling;
  }
  while (old) {
    const next = old.nextSibling;
    old.remove();
    old = next;
  }
  element.append(fresh);
}

/** Times stand on a page in UTC, for whoever has no script; here they become those of the person's clock. */
export function showLocalTimes(within = document) {
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const minute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = time.textContent;
    time.textContent = ("day" in time.dataset ? day : minute).format(at);
  }
}
