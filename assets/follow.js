// Following an answer as it grows. Whether the list follows is a state that its reader sets, not a distance that is measured
// while everything moves.

/** So near is at the end, in px: what zoom and fractions of pixels leave over. */
const NEAR = 8;

export class Follow {
  #list;
  #button;
  #follows = false;
  /** Where the list was last put, or found. */
  #at = 0;

  constructor(list, button) {
    this.#list = list;
    this.#button = button;
    list.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // Before the first frame of the movement, which the next words of the answer would undo.
    list.addEventListener("wheel", ({ deltaY }) => deltaY < 0 && this.#leave(), { passive: true });
    list.addEventListener("keydown", ({ key }) => ["PageUp", "ArrowUp", "Home"].includes(key) && this.#leave());
    button.addEventListener("click", () => {
      this.start();
      list.focus({ preventScroll: true });
    });
    // The composer grows, the phone's keyboard opens, the window changes.
    new ResizeObserver(() => this.grown()).observe(list);
  }

  #distance() {
    return this.#list.scrollHeight - this.#list.clientHeight - this.#list.scrollTop;
  }

  #leave() {
    if (this.#list.scrollTop > 0) this.#set(false);
  }

  #set(follows) {
    this.#follows = follows;
    this.#button.hidden = follows || this.#distance() <= NEAR;
  }

  /** Upwards is away, however little; back at the end is following again. A list that became shorter is no movement. */
  #scrolled() {
    const top = this.#list.scrollTop, distance = this.#distance();
    if (top < this.#at - 1 && distance > 1) this.#set(false);
    else if (distance <= NEAR) this.#set(true);
    else this.#set(this.#follows);
    this.#at = top;
  }

  /** To the end, and along with it from now on. */
  start() {
    this.#follows = true;
    this.grown();
  }

  /** Something was added, or the room changed. */
  grown() {
    if (this.#follows) this.#list.scrollTop = this.#list.scrollHeight;
    this.#at = this.#list.scrollTop;
    this.#set(this.#follows);
  }
}
