/* A step of the browser's history is what a reader did, whole.

   Streamlit makes steps of everything that a page changes in its address: one for each parameter of a single click, and
   others on the way between two pages, where Back would stop at what nobody saw. So the first change behind a touch is a
   step, and what follows without another touch takes its place, another page, too. And what a field that is bound to the
   address changes there isn't a step but takes the last one's place: where something else changes with it, what was there
   before would be lost. */
(() => {
  const { pushState, replaceState } = history;
  let touched = false; // by the reader, since the last step
  let before = ""; // the address that a bound field replaced since then
  const forget = () => ((touched = false), (before = ""));
  const touch = () => (forget(), (touched = true));
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, touch, true);
  // Screen readers and other helps click and fill in without a pointer or a key; behind one of these it's the same touch.
  for (const kind of ["click", "input", "change"]) addEventListener(kind, () => touched || touch(), true);
  addEventListener("popstate", forget);
  history.replaceState = function (data, title, address) {
    if (touched && !before) before = location.href;
    return replaceState.call(this, data, title, address);
  };
  history.pushState = function (data, title, address) {
    if (!touched) return replaceState.call(this, data, title, address);
    if (before) replaceState.call(this, data, title, before);
    forget();
    return pushState.call(this, data, title, address);
  };
})();
