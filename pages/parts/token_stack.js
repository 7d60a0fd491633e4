// Draws several methods under one text: a lane each, and a lane that counts the different groups at a token.
// Hover and keyboard stay here; only a pinned group goes to the server. Token texts reach the page through textContent.

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function place(element, row, column, width) {
  element.style.gridRow = row + 1;
  element.style.gridColumn = `${column + 1} / span ${width}`;
  return element;
}

// A button of one row; `first` and `end` are the student tokens that it stands under.
function button(className, text, group, row, first, end, label) {
  const element = make("button", className, text);
  element.type = "button";
  element.tabIndex = -1;
  element.dir = "auto";
  Object.assign(element.dataset, { g: group, row, first, end });
  element.setAttribute("aria-label", label.join(", "));
  element._tip = label;
  return element;
}

function token([index, id, text, hex, group]) {
  const label = [`student token ${index}: ${text}`, `id ${id}`, `bytes ${hex || "none"}`];
  return button("tok", text, group, 0, index, index + 1, label);
}

function cell(data, lane, one, tokens) {
  const [first, , , , group] = tokens[0];
  const method = data.methods[lane];
  const end = first + tokens.length;
  if (one.k < 0) return button("cell none", "", group, lane + 1, first, end, [`${method}: a special token is in no group`]);
  const others = data.methods.length - 1;
  const kind = one.same.length === others ? "same" : one.same.length ? "some" : "alone";
  const spelled = tokens.map(([, , text]) => text).join("│");
  return button(`cell ${kind}${one.x ? " unequal" : ""}`, one.t, group, lane + 1, first, end, [
    `${method}: student ${spelled} faces teacher ${one.t}`,
    `${data.kinds[one.k].label}${one.x ? `, ${data.unequal.mark} ${data.unequal.why}` : ""}`,
    one.same.length ? `the same group: ${one.same.join(", ")}` : "no other method has this group",
  ]);
}

function unit(data, one) {
  const element = make("div", "unit");
  const start = one.s[0][0];
  element.style.gridTemplateColumns = `repeat(${one.s.length}, auto)`;
  one.s.forEach((each, k) => element.append(place(token(each), 0, k, 1)));
  one.lanes.forEach((cells, lane) => {
    let at = 0;
    for (const each of cells) {
      element.append(place(cell(data, lane, each, one.s.slice(at, at + each.w)), lane + 1, at, each.w));
      at += each.w;
    }
  });
  one.o.forEach((count, k) => {
    const mark = make("span", "lane", count > 1 ? String(count) : "");
    mark.dataset.o = Math.max(count, 1);
    mark.title = count > 1 ? `${count} different groups hold student token ${start + k}` : "all methods agree";
    element.append(place(mark, data.methods.length + 1, k, 1));
  });
  if (one.more) element.append(make("span", "more", `… ${one.more} more`));
  return element;
}

function legend(data) {
  const element = make("div", "legend");
  const several = data.methods.length > 2;
  for (const [kind, words] of [
    ["same", "the group that all methods make"],
    ...(several ? [["some", "shared with some of them"]] : []),
    ["alone", "no other method makes it"],
  ]) {
    const key = make("span", "key");
    key.append(make("span", `swatch ${kind}`), document.createTextNode(words));
    element.append(key);
  }
  element.append(make("span", "key", `in a lane: the tokens of teacher ${data.teacher}; last lane: how many different groups`));
  return element;
}

function build(root, data) {
  root.replaceChildren();
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `${data.methods.length} methods under the tokens of student ${data.student}`);
  root.style.setProperty("--mark", data.mark);
  const lines = make("div", "lines");
  for (const one of data.units) if (one.s.length) lines.append(unit(data, one));
  const tip = make("div", "tip");
  tip.hidden = true;
  root.append(legend(data), lines, tip);
  const first = root.querySelector("button");
  if (first) first.tabIndex = 0;
}

// Names of the lanes at the beginning of every line.
function layout(root) {
  const base = root.getBoundingClientRect();
  if (!base.width) return;
  for (const old of root.querySelectorAll(".gutter")) old.remove();
  const names = ["student", ...root._data.methods, "opinions"];
  let line = null;
  for (const element of root.querySelectorAll(".unit")) {
    const top = element.getBoundingClientRect().top;
    if (line !== null && top <= line + 4) continue;
    line = top;
    names.forEach((name, row) => {
      const at = row < names.length - 1 ? element.querySelector(`[data-row="${row}"]`) : element.querySelector(".lane");
      if (!at) return;
      const box = at.getBoundingClientRect();
      const label = make("span", "gutter", name);
      label.setAttribute("aria-hidden", "true");
      label.style.top = `${(box.top + box.bottom) / 2 - base.top - 9}px`;
      root.append(label);
    });
  }
}

function focusOn(root, element) {
  for (const old of root.querySelectorAll('button[tabindex="0"]')) old.tabIndex = -1;
  element.tabIndex = 0;
  element.focus();
}

function next(root, element, key) {
  const row = +element.dataset.row;
  const same = [...root.querySelectorAll(`button[data-row="${row}"]`)];
  const at = same.indexOf(element);
  if (key === "ArrowRight") return same[at + 1];
  if (key === "ArrowLeft") return same[at - 1];
  if (key === "Home") return same[0];
  if (key === "End") return same.at(-1);
  if (key !== "ArrowUp" && key !== "ArrowDown") return null;
  const other = row + (key === "ArrowDown" ? 1 : -1);
  const first = +element.dataset.first;
  return [...root.querySelectorAll(`button[data-row="${other}"]`)].find((b) => +b.dataset.first <= first && first < +b.dataset.end);
}

function showTip(root, element) {
  const tip = root.querySelector(".tip");
  tip.textContent = element._tip.join("\n");
  tip.hidden = false;
  const base = root.getBoundingClientRect();
  const at = element.getBoundingClientRect();
  tip.style.left = `${Math.max(0, Math.min(at.left - base.left, base.width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${at.bottom - base.top + 6}px`;
}

function listen(root) {
  const target = (event) => event.target.closest("button");
  root.addEventListener("click", (event) => {
    const found = target(event);
    if (!found) return;
    focusOn(root, found);
    if (+found.dataset.g >= 0) root._send("pin", { group: +found.dataset.g });
  });
  root.addEventListener("keydown", (event) => {
    const found = target(event);
    if (!found) return;
    if (event.key === "Escape") return root._send("pin", { group: null });
    const to = next(root, found, event.key);
    if (!to) return;
    event.preventDefault();
    focusOn(root, to);
  });
  for (const name of ["mouseover", "focusin"]) {
    root.addEventListener(name, (event) => target(event) && showTip(root, target(event)));
  }
  for (const name of ["mouseout", "focusout"]) {
    root.addEventListener(name, () => { root.querySelector(".tip").hidden = true; });
  }
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".stack");
  root._send = setTriggerValue;
  const { pinned, ...drawn } = data;
  const signature = JSON.stringify(drawn);
  if (root._seen === undefined) listen(root);
  if (root._seen !== signature) {
    root._seen = signature;
    root._data = data;
    build(root, data);
    layout(root);
  }
  for (const element of root.querySelectorAll(".unit")) {
    element.classList.toggle("pinned", Boolean(element.querySelector(`.tok[data-g="${pinned}"]`)));
  }
  if (!root._observer) {
    let width = 0;
    root._observer = new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - width) < 1) return;
      width = entry.contentRect.width;
      layout(root);
    });
    root._observer.observe(root);
  }
}
