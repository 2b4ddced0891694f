// What a screen reader says of an answer: that it comes, that it still comes, that it is there. Its text is not said: it is
// read in its place, where it can be paused, skipped and gone back to.

/** Between two signs that the answer is still coming, in ms. */
const AGAIN = 7000;

/** Words as people count them, also where no spaces stand between them. */
export function countWords(text) {
  if (!("Segmenter" in Intl)) return text.split(/\s+/).filter(Boolean).length;
  let words = 0;
  for (const { isWordLike } of new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)) if (isWordLike) words++;
  return words;
}

export class Voice {
  #region;
  #timer;

  constructor(region) {
    this.#region = region;
  }

  say(text) {
    clearInterval(this.#timer);
    this.#region.textContent = text;
  }

  begin(name) {
    this.say(`${name} is answering`);
    let times = 0;
    // The same words twice would not be said twice.
    this.#timer = setInterval(() => (this.#region.textContent = `${name} is still answering${times++ % 2 ? "." : ""}`), AGAIN);
  }

  /** An answer that was not written here has ended, as it stands on the page. */
  ended(article) {
    const why = article.querySelector(".end, .why p");
    if (article.dataset.status !== "complete" && why) this.say(why.textContent);
    else this.complete(article.querySelector(".prose").textContent);
  }

  complete(text) {
    const words = countWords(text);
    this.say(`Answer complete, ${words} word${words === 1 ? "" : "s"}`);
  }
}
