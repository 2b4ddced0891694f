// Calls to the server, and what is said when one fails.

import { keepDrafts } from "./draft.js";
import { $, ask } from "./ui.js";

const csrf = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";

/** What the server, or the way to it, had against a call. The message is for people. */
export class Refusal extends Error {
  constructor(message, { status = 0, code = "", wait = null } = {}) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

/** "30 seconds", "5 minutes". */
export function spoken(seconds) {
  const [count, unit] = seconds < 100 ? [Math.max(1, Math.ceil(seconds)), "second"] : [Math.ceil(seconds / 60), "minute"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** Asks for the password, which then counts for some minutes; as often as it is wrong, or until the asked one gives up. */
async function confirmPassword() {
  const text = "This changes who may do or see what, so it needs your password once more.";
  for (let fault; ; ) {
    const password = await ask({ title: "Confirm it is you", text, value: "", ok: "Confirm", secret: true, fault });
    if (password === null) throw new Refusal("Nothing was changed.", { code: "cancelled" });
    try {
      return await api("POST", "/api/auth/confirm", { password });
    } catch (error) {
      if (error.code !== "wrong_password" && error.code !== "throttled") throw error;
      fault = error.message;
    }
  }
}

/** Calls the API with the page's credentials. Gives the response, or throws a Refusal. */
export async function api(method, path, body, signal) {
  const headers = { "X-CSRF-Token": csrf() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server cannot be reached. Check the connection and try again.", { code: "unreachable" });
  }
  if (response.ok) return response;
  if (response.status === 401) {
    keepDrafts();
    location.assign(`/sign-in?why=ended&next=${encodeURIComponent(location.pathname)}`);
    throw new Refusal("Please sign in again.", { status: 401, code: "unauthenticated" });
  }
  const problem = await response.json().catch(() => ({}));
  if (problem.code === "step_up_required" && $("#dialog")) {
    await confirmPassword();
    return api(method, path, body, signal);
  }
  const wait = Number(response.headers.get("Retry-After")) || null;
  const fields = (problem.errors ?? []).map(({ field, message }) => `${field[0].toUpperCase()}${field.slice(1)} ${message}.`).join(" ");
  const words = fields || (problem.detail ?? `The server answered ${response.status}.`);
  throw new Refusal(wait ? `${words} Try again in ${spoken(wait)}.` : words, { status: response.status, code: problem.code, wait });
}
