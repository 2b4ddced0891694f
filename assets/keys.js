// The page of API keys: making one, showing it once, revoking.

import { api } from "./api.js";
import { $, ask, showLocalTimes, toast } from "./ui.js";

const form = $("#key-form"), rows = $("#keys tbody");
let busy = false;

/** A row as the server writes it, from the page's own pattern. */
function addRow(key) {
  const row = $("#key-row").content.cloneNode(true).firstElementChild;
  const put = (field, text) => {
    const cell = row.querySelector(`[data-field="${field}"]`);
    if (cell) cell.textContent = text;
  };
  const time = (field, at) => {
    const cell = row.querySelector(`[data-field="${field}"]`);
    if (at) cell.dateTime = at;
    cell.textContent = at ? at.slice(0, 10) : "never";
  };
  row.dataset.id = key.id;
  put("name", key.name);
  put("prefix", `${key.prefix}…`);
  put("maker", key.made_by?.name);
  time("created", key.created_at);
  time("expires", key.expires_at);
  const button = row.querySelector("[data-revoke]");
  Object.assign(button.dataset, { revoke: key.id, name: key.name });
  put("of", ` ${key.name}`);
  showLocalTimes(row);
  rows.prepend(row);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (busy) return;
  const name = form.elements.name, days = form.days.value, fault = $("#key-fault");
  // Not disabled meanwhile: the focus would be lost while the password is asked for.
  busy = true;
  fault.textContent = "";
  fault.hidden = true;
  name.removeAttribute("aria-invalid");
  try {
    const expires = days ? new Date(Date.now() + days * 86400000).toISOString() : undefined;
    const key = await (await api("POST", "/api/keys", { name: name.value, expires_at: expires })).json();
    $("#key-value").textContent = key.key;
    $("#key-created").dataset.id = key.id;
    $("#key-created").hidden = false;
    $("#no-keys").hidden = true;
    $("#keys-box").hidden = false;
    addRow(key);
    form.reset();
    $("#key-value").focus();
  } catch (error) {
    fault.textContent = error.message;
    fault.hidden = false;
    if (error.code === "invalid_fields") {
      name.setAttribute("aria-invalid", "true");
      name.focus();
    }
  } finally {
    busy = false;
  }
});

rows.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-revoke]");
  if (!button) return;
  if (!(await ask({ title: `Revoke “${button.dataset.name}”?`, text: "Programs that use this key are refused within 5 seconds.", ok: "Revoke", danger: true }))) return;
  try {
    await api("DELETE", `/api/keys/${button.dataset.revoke}`);
    button.closest("tr").remove();
    // A key that is worth nothing is not offered for copying.
    if ($("#key-created").dataset.id === button.dataset.revoke) $("#key-created").hidden = true;
    $("#no-keys").hidden = rows.rows.length > 0;
    $("#keys-box").hidden = rows.rows.length === 0;
    $("#key-name").focus();
    toast("Revoked");
  } catch (error) {
    toast(error.message);
  }
});
