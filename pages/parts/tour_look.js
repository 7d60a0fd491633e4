// Brings what a step of a tour is about into view, below the tour's box. Figures come late and move what lies below
// them: the place is corrected for a while, but no longer once the reader scrolls, types or clicks.

const LOOKS = 200; // milliseconds between two looks
const LATEST = 60000; // the framed thing may be computed first
const KEPT = 6000; // from when it is there
const GAP = 16; // pixels between the box and the frame
const ACTS = ["wheel", "touchmove", "keydown", "pointerdown"];

let moving = false; // a smooth scroll is on its way

// What is framed comes below the box, unless all of it is in view; with `asked`, where it was sent last.
function bring(key, asked) {
  const box = document.querySelector(".st-key-tour");
  const main = document.querySelector('[data-testid="stMain"]');
  const target = document.querySelector(`.st-key-${CSS.escape(key)}`);
  if (!box || !main) return null;
  const stuck = parseFloat(getComputedStyle(box.parentElement).top) || 0;
  const room = stuck + box.offsetHeight + GAP;
  main.style.scrollPaddingTop = `${room}px`; // the keyboard's focus doesn't go below the box either
  const place = target?.getBoundingClientRect();
  if (!place?.height) return null;
  if (place.top >= box.getBoundingClientRect().bottom && place.bottom <= main.getBoundingClientRect().bottom) return asked;
  const last = main.scrollHeight - main.clientHeight;
  const top = Math.max(0, Math.min(last, main.scrollTop + place.top - main.getBoundingClientRect().top - room));
  if (asked !== null && Math.abs(top - asked) < 2) return asked;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  moving = !calm && "onscrollend" in window && Math.abs(top - main.scrollTop) >= 1;
  main.addEventListener("scrollend", () => (moving = false), { once: true });
  main.scrollTo({ top, behavior: calm ? "instant" : "smooth" });
  return top;
}

// A smooth scroll on its way would carry the reader on, and a browser drops the turn of the wheel meanwhile.
function halt(event) {
  const main = document.querySelector('[data-testid="stMain"]');
  if (!main || !moving) return;
  const turned = event.type === "wheel" && event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : 0;
  main.scrollTo({ top: main.scrollTop + turned, behavior: "instant" });
}

// A button that went away, or can't be pressed any more, takes the focus with it: the next one in the box gets it.
function focus() {
  const held = document.activeElement;
  if (held && held !== document.body && !held.disabled) return;
  document.querySelector(".st-key-tour button[kind=primary]")?.focus({ preventScroll: true });
}

function begin(root, key, isFirst) {
  const began = Date.now();
  let asked = null;
  let seen = 0;
  const look = () => {
    const now = Date.now();
    if (now - began > LATEST || (seen && now - seen > KEPT)) return root._stop();
    if (!isFirst) focus();
    asked = bring(key, asked);
    if (!seen && document.querySelector(`.st-key-${CSS.escape(key)}`)) seen = now;
  };
  const timer = setInterval(look, LOOKS);
  const act = (event) => {
    halt(event);
    root._stop();
  };
  root._stop = () => {
    clearInterval(timer);
    for (const name of ACTS) removeEventListener(name, act, true);
  };
  for (const name of ACTS) addEventListener(name, act, { capture: true, passive: true });
}

export default function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".look");
  if (root._step !== data.step) {
    root._stop?.();
    begin(root, data.look_at, root._step === undefined);
    root._step = data.step;
  }
  return () => {
    if (root.isConnected) return;
    root._stop?.();
    document.querySelector('[data-testid="stMain"]')?.style.removeProperty("scroll-padding-top");
  };
}
