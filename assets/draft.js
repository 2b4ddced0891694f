// What is being written, kept in this browser until the server has it: a session that ends, a closed tab or a crash loses
// nothing. Each account has its own, and signing out removes them.

const PREFIX = "draft:";
/** Older ones are forgotten, as are the oldest beyond this many characters together: storage is some five million. */
const DAYS = 7;
const CHARACTERS = 1_000_000;

const keepers = new Set();
/** Nothing is kept any more: the person has signed out. */
let over = false;

/** Has every draft written down at once, before the page is left. */
export function keepDrafts() {
  for (const keep of keepers) keep();
}

function stored() {
  const all = [];
  for (let index = 0; index < localStorage.length; index++) {
    const key = localStorage.key(index);
    if (!key.startsWith(PREFIX)) continue;
    try {
      all.push({ key, ...JSON.parse(localStorage.getItem(key)) });
    } catch {
      all.push({ key, at: 0, text: "" });
    }
  }
  return all.sort((one, other) => other.at - one.at);
}

function tidy() {
  const oldest = Date.now() - DAYS * 86_400_000;
  let room = CHARACTERS;
  for (const { key, at, text } of stored()) {
    room -= text?.length ?? 0;
    if (!(at > oldest) || room < 0) localStorage.removeItem(key);
  }
}

/** Removes what an account left in this browser. */
export function forgetDrafts(account) {
  over = true;
  try {
    for (const { key } of stored()) if (key.startsWith(`${PREFIX}${account}:`)) localStorage.removeItem(key);
  } catch {
    // Storage may be forbidden; then there is nothing to forget.
  }
}

/** The draft of one text field. `place()` says which conversation it belongs to. */
export class Draft {
  #field;
  #account;
  #place;
  #timer;

  constructor(field, account, place) {
    this.#field = field;
    this.#account = account;
    this.#place = place;
    const keep = () => this.keep();
    keepers.add(keep);
    field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(keep, 300);
    });
    addEventListener("pagehide", keep);
    document.addEventListener("visibilitychange", keep);
  }

  #key(place = this.#place()) {
    return `${PREFIX}${this.#account}:${place ?? "new"}`;
  }

  /** Puts back what was kept. Says whether there was anything. */
  restore() {
    try {
      tidy();
      const { text } = JSON.parse(localStorage.getItem(this.#key())) ?? {};
      if (!text || this.#field.value) return false;
      this.#field.value = text;
      return true;
    } catch {
      return false;
    }
  }

  /** Writes the field down for `place`, or forgets it if it is empty. */
  keep(place = this.#place()) {
    clearTimeout(this.#timer);
    if (over) return;
    const key = this.#key(place);
    try {
      if (this.#field.value.trim()) localStorage.setItem(key, JSON.stringify({ text: this.#field.value, at: Date.now() }));
      else localStorage.removeItem(key);
    } catch {
      // Storage is full or forbidden. The field itself still has the text.
    }
  }

  /** Leaves the text to another place, behind what may lie there. */
  giveTo(place) {
    const text = this.#field.value;
    try {
      const there = JSON.parse(localStorage.getItem(this.#key(place)))?.text;
      if (there && there !== text) this.#field.value = `${there}\n\n${text}`;
    } catch {
      // As in keep().
    }
    this.keep(place);
  }

  /** The text belongs to another conversation now, such as the one just made for it. */
  moveFrom(place) {
    try {
      localStorage.removeItem(this.#key(place));
    } catch {
      // As in keep().
    }
    this.keep();
  }
}
