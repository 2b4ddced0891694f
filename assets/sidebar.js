// The list of conversations, and the drawer that it is on small screens.

import { api } from "./api.js";
import { $, make, toast } from "./ui.js";

const links = $("#conversations");
const find = (id) => links.querySelector(`[data-id="${CSS.escape(id)}"]`);

/** In graphemes, as the server counts: what looks like one sign is never cut in two. */
const LONGEST_TITLE = 60;

/** The title that the server gives a conversation for its first message. */
export function titleFrom(text) {
  const line = (text.split("\n").map((one) => one.trim()).find(Boolean) ?? "New conversation").replace(/\p{Cc}/gu, "");
  const signs = "Segmenter" in Intl ? [...new Intl.Segmenter().segment(line)].map(({ segment }) => segment) : [...line];
  if (signs.length <= LONGEST_TITLE) return line;
  const cut = signs.slice(0, LONGEST_TITLE).join("");
  const word = cut.lastIndexOf(" ");
  return `${(word > 20 ? cut.slice(0, word) : cut).trimEnd()}…`;
}

function showTitle(title) {
  $("#title").textContent = title;
  document.title = `${title} · MapleAI`;
}

/** Between looks for a title that a model is giving, in ms. A model that takes longer shows at the next visit. */
const LOOKS = [1000, 1500, 2500, 4000, 6000, 10_000];

/** Shows the title that its model gives a conversation in place of its first words, once there is one. */
export async function awaitTitle(id) {
  const before = find(id)?.textContent;
  for (const wait of LOOKS) {
    await new Promise((over) => setTimeout(over, wait));
    const link = find(id);
    // Renamed or deleted meanwhile.
    if (!link || link.textContent !== before) return;
    try {
      const { data } = await (await api("GET", "/api/conversations?limit=20")).json();
      const title = data.find((one) => one.id === id)?.title;
      if (!title || title === before) continue;
      link.textContent = title;
      if (link.hasAttribute("aria-current")) showTitle(title);
    } catch {
      // The first words will do.
    }
    return;
  }
}

function add(id, title) {
  const link = make("a", { href: `/c/${id}`, dir: "auto", dataset: { test: "conversation", id } }, title);
  return make("li", {}, link);
}

/** Puts a conversation at the top of the list, with a title from its first question if it is new there. */
export function toTop(id, question) {
  const item = find(id)?.parentElement ?? add(id, titleFrom(question));
  for (const other of links.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  const link = item.firstElementChild;
  link.setAttribute("aria-current", "page");
  if (!item.isConnected) showTitle(link.textContent);
  links.prepend(item);
}

export function retitle(id, title) {
  showTitle(title);
  const link = find(id);
  if (link) link.textContent = title;
}

$("#more").addEventListener("click", async ({ currentTarget: more }) => {
  more.disabled = true;
  try {
    const page = await (await api("GET", `/api/conversations?cursor=${more.dataset.cursor}`)).json();
    for (const { id, title } of page.data) if (!find(id)) links.append(add(id, title));
    more.hidden = !page.next_cursor;
    more.dataset.cursor = page.next_cursor ?? "";
  } catch (error) {
    toast(error.message);
  } finally {
    more.disabled = false;
  }
});

/** Opens or closes the drawer. What lies behind it is out of reach meanwhile, also for Tab and screen readers. */
export function drawer(open) {
  if (open === document.body.classList.contains("drawer")) return false;
  document.body.classList.toggle("drawer", open);
  $("#main").inert = open;
  $("#open-sidebar").setAttribute("aria-expanded", String(open));
  (open ? $("#new-chat") : $("#open-sidebar")).focus();
  return true;
}
$("#open-sidebar").addEventListener("click", () => drawer(true));
for (const closer of document.querySelectorAll("[data-close-sidebar]")) closer.addEventListener("click", () => drawer(false));
// A screen that is turned may have room for both.
matchMedia("(max-width: 900px)").addEventListener("change", ({ matches }) => !matches && drawer(false));
