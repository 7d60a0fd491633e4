// Draws the groups of a text as buttons: teacher tokens above, student tokens below, one bar a method underneath.
// Only a chosen group goes to the server. Token texts are untrusted: they reach the page through textContent alone.

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function tokens(side, texts) {
  const row = make("span", `tokens ${side}`);
  row.dir = "auto";
  for (const text of texts) {
    const token = make("span", "token", text);
    token.dir = "auto";
    row.append(token);
  }
  return row;
}

function bar([height, negative, text], method) {
  const element = make("span", "bar");
  const fill = make("span", `fill ${negative ? "negative" : ""}`);
  fill.style.setProperty("--c", method.colour);
  fill.style.height = `${Math.max(height * 100, height > 0 ? 3 : 0)}%`;
  fill.dataset.hatch = method.hatch;
  element.append(fill, make("span", "letter", method.letter));
  element.title = `${method.name}: ${text}${negative ? " (negative)" : ""}`;
  return element;
}

function build(root, data) {
  root.replaceChildren();
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Groups of tokens; bars: share of the loss (${data.part}) by method`);
  const legend = make("div", "legend");
  for (const method of data.methods) {
    const key = make("span", "key");
    const swatch = make("span", "swatch");
    swatch.style.setProperty("--c", method.colour);
    swatch.dataset.hatch = method.hatch;
    key.append(swatch, make("span", "", `${method.letter} ${method.name}`));
    legend.append(key);
  }
  legend.append(make("span", "key", `above: teacher ${data.teacher}, below: student ${data.student}; bars: share of the loss, ${data.part}`));
  const lines = make("div", "lines");
  lines.dir = data.dir;
  for (const group of data.groups) {
    const button = make("button", "group");
    button.type = "button";
    button.tabIndex = -1;
    button.dataset.g = group.g;
    button.setAttribute("aria-label", group.label);
    const bars = make("span", "bars");
    group.bars.forEach((one, k) => bars.append(bar(one, data.methods[k])));
    button.append(tokens("teacher", group.t), tokens("student", group.s), bars);
    lines.append(button);
  }
  root.append(legend, lines);
}

function mark(root, group) {
  const buttons = [...root.querySelectorAll(".group")];
  for (const button of buttons) {
    const chosen = button.dataset.g === String(group);
    button.classList.toggle("chosen", chosen);
    button.setAttribute("aria-pressed", String(chosen));
  }
  // one stop for the Tab key: where the focus is, else the chosen group, else the first one
  if (buttons.some((button) => button === root.getRootNode().activeElement)) return;
  const stop = buttons.find((button) => button.classList.contains("chosen")) ?? buttons[0];
  for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
}

function listen(root) {
  root.addEventListener("click", (event) => {
    const button = event.target.closest(".group");
    if (!button) return;
    move(root, button);
    mark(root, button.dataset.g);
    root._send("pin", { group: +button.dataset.g });
  });
  root.addEventListener("keydown", (event) => {
    const buttons = [...root.querySelectorAll(".group")];
    const at = buttons.indexOf(event.target.closest(".group"));
    if (at < 0) return;
    const next = { ArrowRight: buttons[at + 1], ArrowLeft: buttons[at - 1], Home: buttons[0], End: buttons.at(-1) }[event.key];
    if (!next) return;
    event.preventDefault();
    move(root, next);
  });
}

function move(root, button) {
  for (const old of root.querySelectorAll('.group[tabindex="0"]')) old.tabIndex = -1;
  button.tabIndex = 0;
  button.focus();
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".lab");
  root._send = setTriggerValue;
  const { pinned, ...drawn } = data;
  const signature = JSON.stringify(drawn);
  if (!root._seen) listen(root);
  if (root._seen !== signature) {
    root._seen = signature;
    build(root, data);
  }
  mark(root, pinned);
}
