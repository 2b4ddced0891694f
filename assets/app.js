// One module for all pages: each part starts only where its elements are.

const $ = (selector, within = document) => within.querySelector(selector);
const csrf = () => $('meta[name="csrf-token"]')?.content ?? "";

/** Calls the API with the page's credentials. Gives the response, or throws an Error whose message is for people. */
async function api(method, path, body, signal) {
  const headers = { "X-CSRF-Token": csrf() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Check the connection and try again.");
  }
  if (response.ok) return response;
  if (response.status === 401) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
    throw new Error("Please sign in again.");
  }
  const problem = await response.json().catch(() => ({}));
  const wait = response.headers.get("Retry-After");
  throw new Error((problem.detail ?? `The server answered ${response.status}.`) + (wait ? ` Try again in ${wait} s.` : ""));
}

let toastTimer;
function toast(text) {
  const box = $("#toast");
  box.textContent = text;
  box.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), 4000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    toast("The browser does not allow copying; select the text instead");
  }
}

/** Asks in a dialog. Gives the text that was typed, true, or null if it was cancelled. */
function ask({ title, text, value, ok, danger }) {
  const dialog = $("#dialog"), input = $("#dialog-input"), button = $("#dialog-ok");
  $("#dialog-title").textContent = title;
  $("#dialog-text").textContent = text ?? "";
  $("#dialog-field").hidden = value === undefined;
  input.required = value !== undefined;
  input.value = value ?? "";
  button.textContent = ok;
  button.className = danger ? "danger" : "primary";
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? (value === undefined ? true : input.value) : null), { once: true });
    dialog.returnValue = "";
    $("#dialog-cancel").onclick = () => dialog.close("");
    dialog.showModal();
    if (value !== undefined) input.select();
  });
}

/** The one place where HTML goes in. It comes from our server, sanitised. */
function showHtml(element, html) {
  element.classList.remove("plain");
  element.innerHTML = html;
  addCopyButtons(element);
}

function addCopyButtons(within) {
  for (const pre of within.querySelectorAll(".prose pre, pre")) {
    if (pre.parentElement.classList.contains("code")) continue;
    const frame = document.createElement("div"), button = document.createElement("button");
    frame.className = "code";
    button.type = "button";
    button.textContent = "Copy";
    pre.replaceWith(frame);
    frame.append(pre, button);
    button.addEventListener("click", () => copy(pre.textContent));
  }
}

document.addEventListener("click", (event) => {
  const source = event.target.closest("[data-copy]");
  if (source) copy($(source.dataset.copy).textContent);
  if (event.target.closest("[data-theme-toggle]")) {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // Then it holds for this page only.
    }
  }
});

for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { confirm, confirmText, confirmOk } = form.dataset;
    // Sent past this listener, which would ask again.
    if (await ask({ title: confirm, text: confirmText, ok: confirmOk, danger: true })) form.submit();
  });
}

if ($("body.chat")) chat();
if ($("#key-form")) keys();
if ($("#docs")) docs();

function chat() {
  const stage = $("#main"), list = $("#messages"), question = $("#question"), composer = $("#composer");
  const send = $("#send"), stop = $("#stop"), regenerate = $("#regenerate"), announce = $("#announce");
  let conversation = stage.dataset.conversation || null;
  let running = null;

  addCopyButtons(list);
  list.scrollTop = list.scrollHeight;
  refreshTools();
  question.focus();

  function refreshTools() {
    const messages = list.querySelectorAll('[data-test="message"]');
    const last = messages[messages.length - 1];
    $("#tools").hidden = !conversation;
    $("#welcome").hidden = messages.length > 0;
    regenerate.hidden = !last || running !== null || "earlier" in stage.dataset;
    regenerate.textContent = last?.dataset.status === "complete" ? "↻ Regenerate" : "↻ Try again";
    send.hidden = running !== null;
    stop.hidden = running === null;
  }

  function grow() {
    question.style.height = "auto";
    question.style.height = `${question.scrollHeight}px`;
  }
  question.addEventListener("input", grow);

  const follows = () => list.scrollHeight - list.scrollTop - list.clientHeight < 120;

  function addMessage(message) {
    const article = document.createElement("article"), body = document.createElement("div");
    Object.assign(article.dataset, { test: "message", id: message.id, role: message.role, status: message.status });
    article.className = "message";
    article.setAttribute("aria-label", message.role === "user" ? "You" : (message.model ?? "Answer"));
    if (message.role === "user") {
      body.className = "text";
      body.textContent = message.content;
    } else {
      const by = document.createElement("p");
      by.className = "by";
      by.textContent = message.model ?? "";
      article.append(by);
      body.className = "prose plain";
    }
    article.append(body);
    list.append(article);
    list.scrollTop = list.scrollHeight;
    return { article, body };
  }

  /** How an answer ended, in words where it did not end well, as the server writes it. */
  function showStatus(article, status) {
    article.dataset.status = status;
    article.querySelector(".end")?.remove();
    const words = { partial: "Stopped here", failed: "No answer came" }[status];
    if (!words) return;
    const end = document.createElement("p");
    end.className = "end";
    end.textContent = words;
    article.append(end);
  }

  /** Reads an event stream and calls `on[event](data)` for each event. */
  async function readEvents(response, on) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      held += value;
      const events = held.split("\n\n");
      held = events.pop();
      for (const text of events) {
        let name = "message", data = "";
        for (const line of text.split("\n")) {
          if (line.startsWith("event:")) name = line.slice(6).trim();
          if (line.startsWith("data:")) data += line.slice(5).trimStart();
        }
        if (data) on[name]?.(JSON.parse(data));
      }
    }
  }

  /** Runs one answer: a question if `content` is given, else the last answer again. */
  async function run(content) {
    if (running) return;
    running = new AbortController();
    refreshTools();
    announce.textContent = "";
    const started = running;
    let shown = null, replaced = null, over = false;
    // An answer that came to nothing gives its place back to the one it was to replace, as it does on the server.
    const fail = () => {
      if (!shown) return;
      if (replaced && !shown.body.textContent) shown.article.replaceWith(replaced);
      else showStatus(shown.article, shown.body.textContent ? "partial" : "failed");
    };
    try {
      if (!conversation) {
        const created = await (await api("POST", "/api/conversations", { model: $("#model").value }, started.signal)).json();
        conversation = created.id;
        stage.dataset.conversation = conversation;
        history.pushState(null, "", `/c/${conversation}`);
      }
      const path = `/api/conversations/${conversation}/${content === undefined ? "regenerate" : "messages"}`;
      const response = await api("POST", path, { content, model: $("#model").value, render: true }, started.signal);
      await readEvents(response, {
        message({ user, assistant }) {
          if (user) {
            addMessage(user);
            question.value = "";
            grow();
            noteConversation(user.content);
          } else {
            replaced = list.querySelector('[data-test="message"]:last-of-type[data-role="assistant"]');
            replaced?.remove();
          }
          shown = addMessage(assistant);
          refreshTools();
        },
        delta({ text }) {
          const stick = follows();
          if (shown.body.classList.contains("plain")) shown.body.append(text);
          if (stick) list.scrollTop = list.scrollHeight;
        },
        render({ html }) {
          const stick = follows();
          showHtml(shown.body, html);
          if (stick) list.scrollTop = list.scrollHeight;
        },
        done({ message, html }) {
          over = true;
          showHtml(shown.body, html ?? "");
          showStatus(shown.article, message.status);
          announce.textContent = `Answer complete: ${shown.body.textContent}`;
          list.scrollTop = list.scrollHeight;
        },
        error(problem) {
          over = true;
          fail();
          toast(problem.detail);
          announce.textContent = `The answer broke off. ${problem.detail}`;
        },
      });
      if (!over && shown) throw new Error("The connection was lost. What had arrived is kept.");
    } catch (error) {
      if (!over) fail();
      if (error.name === "AbortError") announce.textContent = "Stopped.";
      else toast(error.message);
    } finally {
      running = null;
      refreshTools();
      question.focus();
    }
  }

  /** Puts the conversation at the top of the list. */
  function noteConversation(text) {
    const links = $("#conversations");
    let link = links.querySelector(`[data-id="${conversation}"]`);
    if (!link) {
      link = conversationLink(conversation, text.trim().split("\n")[0].slice(0, 60) || "New conversation");
      $("#title").textContent = link.textContent;
      document.title = `${link.textContent} · MapleAI`;
    }
    for (const other of links.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "page");
    links.prepend(link.parentElement);
  }

  function conversationLink(id, title) {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = `/c/${id}`;
    link.textContent = title;
    Object.assign(link.dataset, { test: "conversation", id });
    item.append(link);
    return link;
  }

  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    if (question.value.trim()) run(question.value);
  });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      composer.requestSubmit();
    }
  });
  stop.addEventListener("click", () => running?.abort());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (document.body.classList.contains("drawer")) drawer(false);
    else running?.abort();
  });
  regenerate.addEventListener("click", () => run());
  addEventListener("popstate", () => location.reload());

  $("#rename").addEventListener("click", async () => {
    const title = await ask({ title: "Rename conversation", value: $("#title").textContent, ok: "Rename" });
    if (!title) return;
    try {
      const changed = await (await api("PATCH", `/api/conversations/${conversation}`, { title })).json();
      $("#title").textContent = changed.title;
      document.title = `${changed.title} · MapleAI`;
      const link = $(`#conversations [data-id="${conversation}"]`);
      if (link) link.textContent = changed.title;
    } catch (error) {
      toast(error.message);
    }
  });
  $("#delete").addEventListener("click", async () => {
    if (!(await ask({ title: "Delete conversation?", text: "All its messages are deleted. This cannot be undone.", ok: "Delete", danger: true }))) return;
    try {
      await api("DELETE", `/api/conversations/${conversation}`);
      location.assign("/");
    } catch (error) {
      toast(error.message);
    }
  });
  $("#more").addEventListener("click", async (event) => {
    const more = event.currentTarget;
    more.disabled = true;
    try {
      const page = await (await api("GET", `/api/conversations?cursor=${more.dataset.cursor}`)).json();
      for (const { id, title } of page.data) {
        if (!$(`#conversations [data-id="${id}"]`)) $("#conversations").append(conversationLink(id, title).parentElement);
      }
      more.hidden = !page.next_cursor;
      more.dataset.cursor = page.next_cursor ?? "";
    } catch (error) {
      toast(error.message);
    } finally {
      more.disabled = false;
    }
  });

  function drawer(open) {
    document.body.classList.toggle("drawer", open);
    $("#open-sidebar").setAttribute("aria-expanded", String(open));
    (open ? $("#new-chat") : $("#open-sidebar")).focus();
  }
  $("#open-sidebar").addEventListener("click", () => drawer(true));
  for (const closer of document.querySelectorAll("[data-close-sidebar]")) closer.addEventListener("click", () => drawer(false));
}

function keys() {
  const form = $("#key-form"), rows = $("#keys tbody");
  const day = (text) => (text ? text.slice(0, 10) : null);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = $("button", form), days = form.days.value;
    button.disabled = true;
    try {
      const expires = days ? new Date(Date.now() + days * 86400000).toISOString() : undefined;
      const key = await (await api("POST", "/api/keys", { name: form.elements.name.value, expires_at: expires })).json();
      $("#key-value").textContent = key.key;
      $("#key-created").hidden = false;
      $("#no-keys").hidden = true;
      const row = rows.insertRow(0);
      row.dataset.id = key.id;
      const maker = "maker" in $("#keys").dataset ? [key.made_by.name] : [];
      for (const text of [key.name, "", ...maker, day(key.created_at), day(key.expires_at) ?? "never", "never"]) row.insertCell().textContent = text;
      row.cells[1].append(Object.assign(document.createElement("code"), { textContent: `${key.prefix}…` }));
      const revoke = document.createElement("button");
      revoke.type = "button";
      revoke.className = "danger";
      revoke.textContent = "Revoke";
      Object.assign(revoke.dataset, { test: "key-revoke", revoke: key.id, name: key.name });
      row.insertCell().append(revoke);
      form.reset();
      $("#key-value").focus();
    } catch (error) {
      toast(error.message);
    } finally {
      button.disabled = false;
    }
  });

  rows.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-revoke]");
    if (!button) return;
    if (!(await ask({ title: `Revoke “${button.dataset.name}”?`, text: "Programs that use this key are refused within 5 seconds.", ok: "Revoke", danger: true }))) return;
    try {
      await api("DELETE", `/api/keys/${button.dataset.revoke}`);
      button.closest("tr").remove();
      $("#no-keys").hidden = rows.rows.length > 0;
      toast("Revoked");
    } catch (error) {
      toast(error.message);
    }
  });
}

async function docs() {
  const place = $("#docs"), document_ = await (await api("GET", place.dataset.source)).json();
  const element = (name, text, className) => Object.assign(document.createElement(name), { textContent: text ?? "", className: className ?? "" });
  $("#docs-intro").replaceChildren(...document_.info.description.split("`").map((text, index) => (index % 2 ? element("code", text) : text)));
  const groups = new Map();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "Other";
      groups.set(tag, [...(groups.get(tag) ?? []), { path, method, operation }]);
    }
  }
  const schemaName = (content) => {
    const [type, body] = Object.entries(content ?? {})[0] ?? [];
    const name = body?.schema?.$ref?.split("/").pop();
    return type ? `${type}${name ? ` · ${name}` : ""}` : "";
  };
  for (const [tag, operations] of groups) {
    place.append(element("h2", tag));
    for (const { path, method, operation } of operations) {
      const details = element("details", "", "operation"), summary = document.createElement("summary"), body = element("div", "", "detail");
      details.dataset.find = `${method} ${path} ${operation.summary ?? ""}`.toLowerCase();
      summary.append(element("span", method.toUpperCase(), "method"), element("code", path), element("span", operation.summary, "what"));
      if (operation.description) body.append(element("p", operation.description));
      const auth = (operation.security ?? []).map((one) => Object.keys(one)[0]).join(" or ");
      body.append(element("p", auth ? `Needs: ${auth.replaceAll("_", " ")}` : "Open to anybody", "hint"));
      const schema = operation.requestBody?.content?.["application/json"]?.schema;
      const fields = document_.components?.schemas?.[schema?.$ref?.split("/").pop()];
      if (fields?.properties) {
        const ul = document.createElement("ul");
        for (const [name, field] of Object.entries(fields.properties)) {
          const li = document.createElement("li");
          li.append(element("code", name), ` ${[].concat(field.type ?? "").join(" or ")}${fields.required?.includes(name) ? ", required" : ""}${field.description ? `: ${field.description}` : ""}`);
          ul.append(li);
        }
        body.append(element("h3", "Body"), ul);
      }
      const ul = document.createElement("ul");
      for (const [status, answer] of Object.entries(operation.responses ?? {})) {
        const li = document.createElement("li");
        li.append(element("code", status), ` ${answer.description} `, element("span", schemaName(answer.content), "hint"));
        ul.append(li);
      }
      body.append(element("h3", "Answers"), ul);
      details.append(summary, body);
      place.append(details);
    }
  }
  $("#docs-filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const details of place.querySelectorAll("details")) details.hidden = !details.dataset.find.includes(wanted);
  });
}
