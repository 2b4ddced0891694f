// The field for a question: its draft, its length, the keys that send it.

import { Draft } from "./draft.js";
import { $ } from "./ui.js";

/** As the server counts: code points. */
const LONGEST = 200_000;
/** From here on the count is shown. */
const WARN = LONGEST * 0.8;

const grouped = new Intl.NumberFormat("en");

/** Code points; only a text that could be too long is looked at sign by sign. */
function length(text) {
  if (text.length < WARN) return text.length;
  let pairs = 0;
  for (let index = 1; index < text.length; index++) if ((text.charCodeAt(index) & 0xfc00) === 0xdc00 && (text.charCodeAt(index - 1) & 0xfc00) === 0xd800) pairs++;
  return text.length - pairs;
}

export class Composer {
  #question = $("#question");
  #count = $("#count");
  #draft;

  /** `conversation()` gives the id of the one shown, or null; `send()` is called for Enter and the button. */
  constructor(account, conversation, send) {
    const question = this.#question;
    this.#draft = new Draft(question, account, conversation);
    this.#draft.restore();
    this.#changed();
    question.addEventListener("input", () => this.#changed());
    question.addEventListener("keydown", (event) => {
      // Enter that confirms a word of an input method is none of ours; Safari tells by the key code alone (WebKit 165004).
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      send();
    });
    $("#composer").addEventListener("submit", (event) => {
      event.preventDefault();
      send();
    });
  }

  #changed() {
    const question = this.#question, count = length(question.value);
    if (!CSS.supports("field-sizing", "content")) {
      question.style.height = "auto";
      question.style.height = `${question.scrollHeight}px`;
    }
    this.#count.hidden = count < WARN;
    this.#count.textContent = `${grouped.format(count)} of ${grouped.format(LONGEST)} characters`;
    this.#count.classList.toggle("fault", count > LONGEST);
  }

  get isEmpty() {
    return !this.#question.value.trim();
  }

  /** Why the text cannot be sent, or nothing. Whatever is too long stays as it is: a cut question is another question. */
  get objection() {
    const count = length(this.#question.value);
    if (count <= LONGEST) return null;
    return `This message has ${grouped.format(count)} characters; at most ${grouped.format(LONGEST)} can be sent at once. Nothing was cut: shorten it, or send it in parts.`;
  }

  /** The text in the form that the server can store: half a surrogate pair and NUL become the sign for what is unreadable. */
  get text() {
    return this.#question.value.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]|\0/g, "\uFFFD");
  }

  set text(text) {
    this.#question.value = text;
    this.#changed();
    this.#draft.keep();
  }

  /** The server has stored `text`. What was written since then stays. */
  stored(text) {
    if (this.text === text) this.#question.value = "";
    this.#changed();
    this.#draft.keep();
  }

  /** The text is now of the conversation that was made for it. */
  moved() {
    this.#draft.moveFrom(null);
  }

  /** Leaves the text to a new conversation, on the page of one that is no more. */
  giveToNew() {
    this.#draft.giveTo(null);
  }

  keep() {
    this.#draft.keep();
  }

  /** Where a person with a keyboard goes on, be there a mouse or not. On a touch screen it would open the keyboard over what is to be
   * read: there the focus goes to `otherwise`, if anywhere. */
  focus(otherwise) {
    (matchMedia("(pointer: coarse)").matches ? otherwise : this.#question)?.focus({ preventScroll: true });
  }
}
