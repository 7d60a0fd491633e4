// Draws two rows of tokens joined by ribbons. Everything that must feel instant (hover, focus, keyboard) happens here;
// only a pinned group goes to the server. Token texts are untrusted: they reach the page through textContent alone.

const SVG = "http://www.w3.org/2000/svg";
const NARROW = 560; // pixels; the labels of both rows are letters there

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// The characters and their name.
function spoken([, , characters, name]) {
  return characters ? `${characters} ${name}` : name;
}

function chip(side, token, group, kind, data, named) {
  const [index, id, text, hex] = token;
  const button = make("button", "chip");
  button.type = "button";
  button.tabIndex = -1;
  button.dir = "auto";
  Object.assign(button.dataset, { side, index, g: group.g });
  button.append(make("span", "text", text === "" ? "∅" : text));
  if (data.ids) button.append(make("span", "id", `${index}·${id}`));
  const sizes = `${group.sn} student : ${group.tn} teacher`;
  const part = named ? `, of ${spoken(named)}` : "";
  const differs = `${group.x ? `, ${data.unequal.why}` : ""}${group.d ? `, ${data.methods[1]} differs here` : ""}`;
  button.setAttribute("aria-label", `${side} token ${index}, id ${id}, bytes '${text}', group ${group.g}, ${sizes}${differs}${part}`);
  button._tip = [
    text === "" ? "no bytes" : text,
    `${side} token ${index} · id ${id}`,
    `bytes ${hex || "none"}`,
    ...(named ? [`of ${spoken(named)}`] : []),
    `group ${group.g} · ${kind.label}: ${kind.why}`,
    ...(group.x ? [`${data.unequal.mark} ${data.unequal.why}`] : []),
    ...(group.d ? [`${data.methods[1]} groups this differently`] : []),
    ...(group.r ? ["in the text these groups stand the other way round"] : []),
  ];
  return button;
}

function row(side, tokens, count, group, kind, data) {
  const element = make("div", `row ${side}`);
  const names = group[side === "student" ? "ns" : "nt"] ?? [];
  if (group.dir) element.dir = group.dir;
  let place = element;
  tokens.forEach((token, k) => {
    const named = names.find(([first, end]) => first <= k && k < end);
    if (named && named[0] === k) {
      place = make("span", "named");
      const label = make("span", "name", `${spoken(named)}`);
      label.dir = "ltr"; // the character first, then its name
      label.setAttribute("aria-hidden", "true");
      place.append(label);
      element.append(place);
    }
    (named ? place : element).append(chip(side, token, group, kind, data, named));
  });
  if (count > tokens.length) element.append(make("span", "more", `… ${count - tokens.length} more`));
  if (!count) element.append(make("span", "none", "∅"));
  return element;
}

function drawLegend(data) {
  const legend = make("div", "legend");
  const present = new Set(data.groups.map((group) => group.k));
  data.kinds.forEach((kind, code) => {
    if (!present.has(code)) return;
    const key = make("span", "key");
    const swatch = make("span", "swatch");
    swatch.style.setProperty("--c", kind.colour);
    swatch.style.borderStyle = kind.border;
    if (kind.border === "double") swatch.style.borderWidth = "4px";
    key.title = kind.why;
    key.append(swatch, make("span", "", kind.label));
    legend.append(key);
  });
  if (data.groups.some((group) => group.x)) {
    const key = make("span", "key");
    key.append(make("span", "swatch hatched"), make("span", "", `${data.unequal.mark} ${data.unequal.why}`));
    legend.append(key);
  }
  if (data.dir === "rtl" || data.groups.some((group) => group.r)) {
    const words = data.dir === "rtl" ? "the text runs from right to left, and so do its groups" : "the text runs from left to right";
    const turned = data.groups.some((group) => group.r) ? "; ⇄ groups that the text has the other way round" : "";
    legend.append(make("span", "key way", words + turned));
  }
  if (data.b.length) {
    const key = make("span", "key");
    const line = make("span", "line");
    line.style.setProperty("--c", data.mark);
    key.append(line, make("span", "", `${data.methods[1]}, where it differs`));
    const far = make("span", "key far-key", "↑↓ and a number: its partner stands in another line");
    far.hidden = true;
    legend.append(key, far);
  }
  return legend;
}

function build(root, data) {
  root.replaceChildren();
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Tokens of ${data.teacher} above, of ${data.student} below`);
  root.style.setProperty("--mark", data.mark);
  const named = data.groups.some((group) => group.ns || group.nt);
  const lines = make("div", `lines${named ? " with-names" : ""}${data.b.length ? " with-marks" : ""}`);
  lines.dir = data.dir;
  for (const group of data.groups) {
    const kind = data.kinds[group.k];
    const element = make("div", `group k${group.k}${group.d ? " differs" : ""}${group.x ? " unequal" : ""}${group.r ? " turned" : ""}`);
    element.dataset.g = group.g;
    element.style.setProperty("--c", kind.colour);
    const ribbon = document.createElementNS(SVG, "svg");
    ribbon.setAttribute("class", "ribbon");
    ribbon.setAttribute("aria-hidden", "true");
    ribbon.append(document.createElementNS(SVG, "path"));
    element.append(row("teacher", group.t, group.tn, group, kind, data), ribbon, row("student", group.s, group.sn, group, kind, data));
    lines.append(element);
  }
  const overlay = document.createElementNS(SVG, "svg");
  overlay.setAttribute("class", "overlay");
  overlay.setAttribute("aria-hidden", "true");
  const tip = make("div", "tip");
  tip.hidden = true;
  root.append(drawLegend(data), lines, overlay, tip);
  const first = root.querySelector(".chip");
  if (first) first.tabIndex = 0;
}

// All positions are read before anything is written, so that the browser lays the page out once.
function layout(root, data) {
  const base = root.getBoundingClientRect();
  if (!base.width) return;
  const groups = [...root.querySelectorAll(".group")];
  const boxes = groups.map((element) => {
    const ends = (selector) => {
      const chips = element.querySelectorAll(`${selector} > *`);
      if (!chips.length) return null;
      const all = [...chips].map((c) => c.getBoundingClientRect());
      return { left: Math.min(...all.map((r) => r.left)), right: Math.max(...all.map((r) => r.right)) };
    };
    const ribbon = element.querySelector(".ribbon").getBoundingClientRect();
    return { element, ribbon, top: ends(".teacher"), bottom: ends(".student"), box: element.getBoundingClientRect() };
  });
  const centres = { student: new Map(), teacher: new Map() };
  if (data.b.length) {
    for (const c of root.querySelectorAll(".chip")) {
      const r = c.getBoundingClientRect();
      const beside = c.closest(".named") ? 15 : 0; // a name stands there
      centres[c.dataset.side].set(+c.dataset.index, {
        index: c.dataset.index,
        x: (r.left + r.right) / 2 - base.left,
        y: (c.dataset.side === "student" ? r.top : r.bottom) - base.top,
        outer: (c.dataset.side === "student" ? r.bottom + 9 + beside : r.top - 2 - beside) - base.top,
        side: c.dataset.side,
        line: c.closest(".group").offsetTop,
      });
    }
  }
  for (const old of root.querySelectorAll(".gutter, .letter")) old.remove();
  let line = null;
  for (const { element, ribbon, top, bottom, box } of boxes) {
    const code = data.groups[groups.indexOf(element)];
    const path = element.querySelector(".ribbon path");
    const x = (value) => value - ribbon.left;
    path.setAttribute("d", code.sn && code.tn
      ? `M${x(top.left)} 0H${x(top.right)}L${x(bottom.right)} ${ribbon.height}H${x(bottom.left)}Z` : "");
    const letter = `${code.r ? "⇄" : ""}${code.x ? data.unequal.mark : ""}${data.kinds[code.k].letter}`;
    if (letter) {
      const mark = make("span", "letter", letter);
      mark.style.setProperty("--c", data.kinds[code.k].colour);
      mark.style.left = `${(ribbon.left + ribbon.right) / 2 - base.left}px`;
      mark.style.top = `${(ribbon.top + ribbon.bottom) / 2 - base.top}px`;
      mark.setAttribute("aria-hidden", "true");
      root.append(mark);
    }
    if (line === null || box.top > line + 4) {
      line = box.top;
      for (const side of ["teacher", "student"]) {
        const label = make("span", "gutter", base.width < NARROW ? side[0].toUpperCase() : side);
        label.setAttribute("aria-hidden", "true");
        const at = element.querySelector(`.${side}`).getBoundingClientRect();
        label.style.top = `${(at.top + at.bottom) / 2 - base.top - 12}px`;
        root.append(label);
      }
    }
  }
  drawOther(root, data, centres);
}

// Links of method B. One whose ends stand in different lines is marked at each end with where it goes on.
function drawOther(root, data, centres) {
  const overlay = root.querySelector(".overlay");
  overlay.replaceChildren();
  const far = new Map();
  const mark = (end, index, up) => {
    const ways = far.get(end) ?? new Map();
    far.set(end, ways.set(up, [...(ways.get(up) ?? []), index]));
  };
  for (const [s0, s1, t0, t1] of data.b) {
    for (const i of range(s0, s1)) {
      for (const k of range(t0, t1)) {
        const s = centres.student.get(i);
        const t = centres.teacher.get(k);
        if (s && t && s.line === t.line) overlay.append(link(s, t));
        else {
          if (s) mark(s, k, t ? t.line < s.line : k < firstOf(centres.teacher));
          if (t) mark(t, i, s ? s.line < t.line : i < firstOf(centres.student));
        }
      }
    }
  }
  for (const [end, ways] of far) {
    [...ways].forEach(([up, partners], nth) => overlay.append(farMark(end, up, partners, nth)));
  }
  const key = root.querySelector(".far-key");
  if (key) key.hidden = !far.size;
}

function firstOf(side) {
  return side.size ? side.keys().next().value : 0;
}

function link(s, t) {
  const path = document.createElementNS(SVG, "path");
  const middle = (s.y + t.y) / 2;
  path.setAttribute("d", `M${t.x} ${t.y}C${t.x} ${middle} ${s.x} ${middle} ${s.x} ${s.y}`);
  Object.assign(path.dataset, { student: s.index, teacher: t.index });
  return path;
}

function farMark(end, up, partners, nth) {
  const text = document.createElementNS(SVG, "text");
  const last = partners.at(-1);
  text.textContent = `${up ? "↑" : "↓"}${partners[0]}${last === partners[0] ? "" : `–${last}`}`;
  text.setAttribute("x", end.x + nth * 24);
  text.setAttribute("y", end.outer);
  text.dataset[end.side] = end.index;
  return text;
}

function range(start, end) {
  return Array.from({ length: Math.min(end - start, 60) }, (_, k) => start + k);
}

// Lights what method B makes of one token.
function lightOther(root, button) {
  for (const path of root.querySelectorAll(".overlay path, .overlay text")) {
    path.classList.toggle("on", Boolean(button) && path.dataset[button.dataset.side] === button.dataset.index);
  }
}

function showTip(root, button) {
  lightOther(root, button);
  const tip = root.querySelector(".tip");
  const [text, ...rest] = button._tip;
  tip.replaceChildren(make("b", "", text), document.createTextNode("\n" + rest.join("\n")));
  tip.hidden = false;
  const base = root.getBoundingClientRect();
  const at = button.getBoundingClientRect();
  tip.style.left = `${Math.max(0, Math.min(at.left - base.left, base.width - tip.offsetWidth - 4))}px`;
  const below = button.dataset.side === "student" || at.top - base.top < tip.offsetHeight + 8;
  const low = button.closest(".group").getBoundingClientRect().bottom;
  tip.style.top = below ? `${low - base.top + 6}px` : `${at.top - base.top - tip.offsetHeight - 6}px`;
}

function focusChip(root, button) {
  if (!button) return;
  for (const old of root.querySelectorAll('.chip[tabindex="0"]')) old.tabIndex = -1;
  button.tabIndex = 0;
  button.focus();
}

function nextChip(root, button, key) {
  const side = button.dataset.side;
  const same = [...root.querySelectorAll(`.chip[data-side="${side}"]`)];
  const at = same.indexOf(button);
  const along = root._data.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
  if (key === "ArrowRight" || key === "ArrowLeft") return same[at + (key === along ? 1 : -1)];
  if (key === "Home") return same[0];
  if (key === "End") return same.at(-1);
  // every other key keeps its meaning: Enter and space press the button, Tab leaves
  if (key !== (side === "student" ? "ArrowUp" : "ArrowDown")) return null;
  const other = side === "student" ? "teacher" : "student";
  return root.querySelector(`.chip[data-side="${other}"][data-g="${button.dataset.g}"]`);
}

function mark(root, group) {
  for (const element of root.querySelectorAll(".group")) {
    const pinned = element.dataset.g === String(group);
    element.classList.toggle("pinned", pinned);
    for (const button of element.querySelectorAll(".chip")) button.setAttribute("aria-pressed", String(pinned));
  }
}

function listen(root) {
  const pin = (group) => {
    mark(root, group);
    root._send("pin", { group });
  };
  const target = (event) => event.target.closest(".chip");
  root.addEventListener("click", (event) => {
    const group = event.target.closest(".group");
    if (!group) return;
    const button = target(event);
    if (button) focusChip(root, button);
    pin(+group.dataset.g);
  });
  root.addEventListener("keydown", (event) => {
    const button = target(event);
    if (!button) return;
    if (event.key === "Escape") return pin(null);
    const next = nextChip(root, button, event.key);
    if (next) {
      event.preventDefault();
      focusChip(root, next);
    }
  });
  for (const name of ["mouseover", "focusin"]) {
    root.addEventListener(name, (event) => target(event) && showTip(root, target(event)));
  }
  for (const name of ["mouseout", "focusout"]) {
    root.addEventListener(name, () => {
      root.querySelector(".tip").hidden = true;
      lightOther(root, null);
    });
  }
  for (const [name, on] of [["focusin", true], ["focusout", false]]) {
    root.addEventListener(name, (event) => event.target.closest(".group")?.classList.toggle("hot", on));
  }
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".ctkd");
  root._send = setTriggerValue;
  const { pinned, ...drawn } = data;
  const signature = JSON.stringify(drawn);
  if (!root._seen) listen(root);
  if (root._seen !== signature) {
    root._seen = signature;
    root._data = data;
    build(root, data);
    layout(root, data);
  }
  mark(root, pinned);
  if (!root._observer) {
    let width = 0;
    root._observer = new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - width) < 1) return;
      width = entry.contentRect.width;
      layout(root, root._data);
    });
    root._observer.observe(root);
    document.fonts?.ready.then(() => layout(root, root._data));
  }
}
