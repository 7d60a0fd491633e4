// Plays the path through the costs. Every step happens here; only a pinned group goes to the server.
// Token texts are untrusted: they reach the page through textContent alone.

const PACE = 900; // milliseconds a step

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function shown(value) {
  return value === null ? "–" : String(value);
}

function cell(data, x, y) {
  const [group, cost, sum, ...rest] = data.cells[y][x];
  const taken = rest[3];
  const element = make("td");
  Object.assign(element.dataset, { x, y, g: group });
  element.append(make("span", "sum", shown(sum)));
  if (sum === null) return element;
  for (const k of [0, 1, 2]) {
    if (rest[k] !== null) element.append(make("span", `c c${k}${k === taken ? " taken" : ""}`, shown(rest[k])));
  }
  element.append(make("span", "cost", `+${shown(cost)}`));
  element.title = words(data, x, y);
  return element;
}

// What happens in one cell, as a sentence.
function words(data, x, y) {
  const [, cost, sum, ...rest] = data.cells[y][x];
  const taken = rest[3];
  if (sum === null) return `“${data.student[x][1]}” and “${data.teacher[y][1]}”: not searched.`;
  const known = [0, 1, 2].filter((k) => rest[k] !== null);
  const list = known.map((k) => `${shown(rest[k])} (${data.candidates[k]})`).join(", ");
  const move = taken < 0 ? "" : ` Taken: ${data.candidates[taken]}${taken === 0 ? " go on" : " goes on"}.`;
  return `Student “${data.student[x][1]}” faces teacher “${data.teacher[y][1]}”: ${shown(cost)} here + the least of ${list} = ${shown(sum)}.${move}`;
}

function build(root, data) {
  root.replaceChildren();
  root.style.setProperty("--path", data.path_colour);
  root.style.setProperty("--pin", data.pin_colour);
  const controls = make("div", "controls");
  controls.setAttribute("role", "group");
  controls.setAttribute("aria-label", "Steps of the path");
  for (const [name, label] of [["back", "Back"], ["play", "Play"], ["next", "Next"]]) {
    const button = make("button", name, label);
    button.type = "button";
    controls.append(button);
  }
  const slider = make("input", "scrub");
  Object.assign(slider, { type: "range", min: 0, max: Math.max(0, data.path.length - 1), value: root._step, step: 1 });
  slider.setAttribute("aria-label", "Step of the path");
  controls.append(slider);
  const sentence = make("p", "sentence");
  sentence.setAttribute("aria-live", "polite");
  const scroll = make("div", "scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Costs: student tokens across, teacher tokens down");
  const table = make("table");
  const head = make("tr");
  head.append(make("td"));
  head.firstChild.style.cssText = "border:none;cursor:default;height:auto";
  for (const [, text] of data.student) head.append(header(text, "col"));
  const top = make("thead");
  top.append(head);
  const body = make("tbody");
  data.teacher.forEach(([, text], y) => {
    const row = make("tr");
    row.append(header(text, "row"));
    data.student.forEach((_, x) => row.append(cell(data, x, y)));
    body.append(row);
  });
  table.append(top, body);
  scroll.append(table);
  const key = "In a cell: the cheapest way to it in the middle; around it what it chose from: both go on (top left), the teacher alone (top right), the student alone (bottom left), the taken one underlined; + what the cell itself costs.";
  root.append(controls, sentence, scroll, make("p", "key", key));
}

function header(text, scope) {
  const element = make("th", "", text);
  element.scope = scope;
  element.dir = "auto";
  return element;
}

function draw(root) {
  const data = root._data;
  const step = root._step;
  const place = ([x, y]) => `${x},${y}`;
  const walked = new Set(data.path.slice(0, step + 1).map(place));
  const now = data.path.length ? place(data.path[step]) : "";
  const before = step > 0 ? place(data.path[step - 1]) : "";
  for (const element of root.querySelectorAll("td[data-x]")) {
    const here = `${element.dataset.x},${element.dataset.y}`;
    element.classList.toggle("walked", walked.has(here));
    element.classList.toggle("now", here === now);
    element.classList.toggle("from", here === before);
    const [from, to] = data.reach[element.dataset.g] ?? [0, 0];
    const teacher = data.teacher[element.dataset.y][0];
    element.classList.toggle("pinned", element.dataset.g === String(root._pinned) && from <= teacher && teacher < to);
  }
  root.querySelector(".scrub").value = step;
  root.querySelector(".scrub").setAttribute("aria-valuetext", `step ${data.first + step} of ${data.total - 1}`);
  root.querySelector(".back").disabled = step === 0;
  root.querySelector(".next").disabled = step >= data.path.length - 1;
  root.querySelector(".play").textContent = root._timer ? "Pause" : "Play";
  const sentence = root.querySelector(".sentence");
  sentence.setAttribute("aria-live", root._timer ? "off" : "polite");
  sentence.replaceChildren();
  if (data.path.length) {
    sentence.append(make("b", "", `Step ${data.first + step} of ${data.total - 1}. `), document.createTextNode(words(data, ...data.path[step])));
  }
}

function go(root, step) {
  root._step = Math.max(0, Math.min(step, root._data.path.length - 1));
  if (root._step >= root._data.path.length - 1) stop(root);
  draw(root);
}

function stop(root) {
  clearInterval(root._timer);
  root._timer = null;
}

function listen(root) {
  root.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-x]");
    if (cell && +cell.dataset.g >= 0) return root._send("pin", { group: +cell.dataset.g });
    if (event.target.closest(".back")) { stop(root); go(root, root._step - 1); }
    if (event.target.closest(".next")) { stop(root); go(root, root._step + 1); }
    if (event.target.closest(".play")) {
      if (root._timer) {
        stop(root);
        draw(root);
        return;
      }
      if (root._step >= root._data.path.length - 1) root._step = 0;
      root._timer = setInterval(() => go(root, root._step + 1), PACE);
      draw(root);
    }
  });
  root.addEventListener("input", (event) => {
    if (!event.target.closest(".scrub")) return;
    stop(root);
    go(root, +event.target.value);
  });
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".steps");
  root._send = setTriggerValue;
  const { pinned, ...drawn } = data;
  root._pinned = pinned;
  const signature = JSON.stringify(drawn);
  if (root._seen === undefined) listen(root);
  if (root._seen !== signature) {
    root._seen = signature;
    stop(root);
    root._step = 0;
    root._data = data;
    build(root, data);
  }
  draw(root);
  return () => stop(root);
}
