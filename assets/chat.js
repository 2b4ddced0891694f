// The chat page: asking, watching the answer come, asking again.

import { GrowingAnswer, messageElement, modelName, showUsage } from "./answer.js";
import { api } from "./api.js";
import { Composer } from "./composer.js";
import { Follow } from "./follow.js";
import { LocalNote } from "./local.js";
import { showRemedies } from "./remedies.js";
import { awaitTitle, drawer, retitle, toTop } from "./sidebar.js";
import { readEvents } from "./stream.js";
import { $, ask, make, toast } from "./ui.js";
import { Voice } from "./voice.js";
import { watch } from "./watch.js";

const stage = $("#main"), list = $("#messages"), model = $("#model"), notice = $("#notice");
const send = $("#send"), stop = $("#stop"), regenerate = $("#regenerate"), after = $("#after");
const account = stage.dataset.account;
/** As the server has it. */
const LONGEST_TITLE = 200;
const isEarlier = "earlier" in stage.dataset;
let conversation = stage.dataset.conversation || null;
let running = null;
/** Where this page is; a fragment is no other place. */
let place = location.pathname + location.search;

const follow = new Follow(list, $("#newest"));
const voice = new Voice($("#announce"));
const composer = new Composer(account, () => conversation, submit);

if (messages().length) follow.start();
rememberModel();
const local = new LocalNote(model, (text) => running || voice.say(text));
refresh();
composer.focus();
for (const article of list.querySelectorAll('[data-status="streaming"]')) {
  watch(article, place, () => follow.grown()).then(() => {
    if (article.isConnected) voice.ended(article);
    refresh();
    follow.grown();
  });
}

function messages() {
  return list.querySelectorAll('[data-test="message"]');
}

/** Puts every control where and as it belongs now. The focus never falls to nowhere because its button went away. */
function refresh() {
  const all = messages(), last = all[all.length - 1], focused = document.activeElement;
  $("#tools").hidden = !conversation;
  $("#welcome").hidden = all.length > 0;
  after.hidden = !last || running !== null || isEarlier || last.dataset.status === "streaming";
  regenerate.hidden = after.hidden;
  $("#copy-answer").hidden = last?.dataset.role !== "assistant" || last.dataset.status === "failed";
  after.append(regenerate);
  list.append(after);
  for (const acts of list.querySelectorAll(".why .acts")) acts.replaceChildren();
  if (last && !after.hidden) {
    regenerate.disabled = false;
    regenerate.textContent = last.dataset.status === "complete" ? "↻ Regenerate" : "↻ Try again";
    showRemedies(last, regenerate, { another: chooseModel, anew, more: () => run("Please continue.") });
  }
  send.hidden = running !== null;
  stop.hidden = running === null;
  if (focused !== document.activeElement || focused?.checkVisibility?.() === false) composer.focus(list);
}

/** What stands between a person and their question, beside it until they go on. */
function object(words, ...buttons) {
  notice.replaceChildren(make("p", { dir: "auto" }, words), ...buttons);
  notice.hidden = false;
  follow.grown();
}

function submit() {
  if (running) return object("An answer is being written. Wait for it, or stop it first.");
  if (composer.isEmpty) return undefined;
  return composer.objection ? object(composer.objection) : run(composer.text);
}

/** For the server to say that it has stored a question, in ms. */
const STORED_WITHIN = 3000;

/**
 * Stops the answer that is written. A question that is on its way is waited for: stopped now, it could be stored and stand in the composer
 * as well, to be asked twice.
 */
function halt() {
  const stopped = running;
  if (!stopped || stopped.isStopped) return;
  stopped.isStopped = true;
  if (!stopped.isSent) stopped.abort();
  else if (stopped.isStored) stopped.abort();
  else setTimeout(() => stopped.abort(), STORED_WITHIN);
}

/** Runs one answer: a question if `content` is given, else the last answer again. */
async function run(content) {
  if (running || !model.value) return;
  const started = (running = new AbortController());
  notice.hidden = true;
  refresh();
  let shown = null, replaced = null, over = false;
  const fail = (end, html) => {
    over = true;
    if (!shown) return object(end.detail);
    const words = shown.text.trim();
    // An answer that came to nothing gives its place back to the one it was to replace, as it does on the server.
    if (replaced && !words) {
      shown.article.replaceWith(replaced);
      object(`The answer before is kept. ${end.detail}`);
    } else {
      shown.finish({ status: words ? "partial" : "failed", ...end }, html);
    }
    return voice.say(end.reason === "stopped" ? "Stopped." : "The answer broke off.");
  };
  try {
    if (!conversation) await begin(started.signal);
    const path = `/api/conversations/${conversation}/${content === undefined ? "regenerate" : "messages"}`;
    started.isSent = true;
    const response = await api("POST", path, { content, model: model.value, render: true }, started.signal);
    await readEvents(response, {
      message({ user, assistant }) {
        if (user) {
          list.append(messageElement(user).article);
          composer.stored(content);
          toTop(conversation, user.content);
        } else {
          replaced = [...messages()].pop();
          if (replaced?.dataset.role === "assistant") replaced.remove();
          else replaced = null;
        }
        shown = new GrowingAnswer(assistant, () => follow.grown());
        list.append(shown.article);
        voice.begin(modelName(assistant.model));
        refresh();
        follow.start();
        started.isStored = true;
        if (started.isStopped) started.abort();
      },
      reading: ({ read, total }) => shown.reads(read, total),
      delta: ({ text }) => shown.delta(text),
      render: ({ html }) => shown.render(html),
      done({ message, html, usage, titling }) {
        over = true;
        if (titling) awaitTitle(conversation);
        shown.finish(message, html);
        showUsage(shown.article, usage);
        voice.complete(shown.text);
      },
      thoughts: () => shown.thinks(),
      error({ message, detail, code, html }) {
        fail({ reason: message?.reason ?? code, detail: message?.detail ?? detail, retry_after: message?.retry_after, ...(message && { status: message.status }) }, html);
      },
    });
    if (!over) fail({ reason: "connection_lost", detail: "The connection was lost. What had arrived is kept." });
  } catch (error) {
    if (over) throw error;
    if (error.name === "AbortError") fail({ reason: "stopped", detail: "Stopped here" });
    else if (shown) fail({ reason: "connection_lost", detail: "The connection was lost. What had arrived is kept." });
    else refused(error);
  } finally {
    running = null;
    refresh();
    follow.grown();
    local.look();
  }
}

async function begin(signal) {
  const created = await (await api("POST", "/api/conversations", { model: model.value }, signal)).json();
  conversation = created.id;
  stage.dataset.conversation = conversation;
  history.pushState(null, "", `/c/${conversation}`);
  place = location.pathname + location.search;
  composer.moved();
}

/** The server took nothing: the question stays in the composer. */
function refused(error) {
  if (error.status !== 404 || !messages().length) return object(error.message);
  const button = make("button", { type: "button", onclick: anew, dataset: { test: "remedy-new" } }, "Ask in a new conversation");
  return object("This conversation was deleted, perhaps in another window. Your text is still here.", button);
}

/** On with what was asked, or is being written, in a new conversation. */
function anew() {
  const questions = list.querySelectorAll('[data-role="user"] .text'), last = questions[questions.length - 1];
  if (composer.isEmpty && last) composer.text = last.textContent;
  composer.giveToNew();
  composer.text = "";
  location.assign("/");
}

function chooseModel() {
  model.focus();
  model.showPicker?.();
}

/** A new chat begins with the model that was used last in this browser. */
function rememberModel() {
  const key = `model:${account}`;
  try {
    const last = localStorage.getItem(key);
    if (!("chosen" in model.dataset) && [...model.options].some(({ value }) => value === last)) model.value = last;
    model.addEventListener("change", () => localStorage.setItem(key, model.value));
  } catch {
    // Storage may be forbidden; then it begins with the first.
  }
}

stop.addEventListener("click", halt);
regenerate.addEventListener("click", () => run());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("#dialog").open && !drawer(false)) halt();
});
$("#question").addEventListener("input", () => (notice.hidden = true));
addEventListener("popstate", () => {
  if (location.pathname + location.search !== place) location.reload();
});

$("#copy-answer").addEventListener("click", async () => {
  const id = [...messages()].pop().dataset.id;
  // Asked for within the click, as Safari wants: what is to be written may come later.
  const text = api("GET", `/api/conversations/${conversation}`).then(async (response) => {
    const message = (await response.json()).messages.find((one) => one.id === id);
    return new Blob([message?.content ?? ""], { type: "text/plain" });
  });
  try {
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": text })]);
    toast("Copied");
  } catch {
    toast("The browser does not allow copying; select the text instead");
  }
});

$("#rename").addEventListener("click", async () => {
  const title = await ask({ title: "Rename conversation", value: $("#title").textContent, ok: "Rename", limit: LONGEST_TITLE });
  if (!title) return;
  try {
    retitle(conversation, (await (await api("PATCH", `/api/conversations/${conversation}`, { title })).json()).title);
  } catch (error) {
    object(error.message);
  }
});

$("#delete").addEventListener("click", async () => {
  if (!(await ask({ title: "Delete conversation?", text: "All its messages are deleted. This cannot be undone.", ok: "Delete", danger: true }))) return;
  try {
    await api("DELETE", `/api/conversations/${conversation}`);
    composer.text = "";
    location.assign("/");
  } catch (error) {
    toast(error.message);
  }
});
