/* A step of the browser's history is what a reader did, whole.

   Streamlit makes steps of everything that a page changes in its address: one for each parameter of a single click, and
   others on the way between two pages, where Back would stop at what nobody saw. And what a field that is bound to the
   address changes there isn't a step but takes the last one's place: where something else changes with it, what was there
   before would be lost. */
(() => {
  const { pushState, replaceState } = history;
  let touched = false; // by the reader, since the last step
  let before = ""; // the address that a bound field replaced since then
  let left = ""; // the address from which a link leads to another page that isn't there yet
  const at = (address) => new URL(address ?? "", location.href);
  const forget = () => ((touched = false), (before = left = ""));
  const touch = () => (forget(), (touched = true));
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, touch, true);
  // Screen readers and other helps click and fill in without a pointer or a key; behind one of these it's the same touch.
  for (const kind of ["click", "input", "change"]) addEventListener(kind, () => touched || touch(), true);
  addEventListener("popstate", forget);
  const follow = (event) => {
    const link = event.target.closest?.("a[href]");
    const here = link && !link.target && link.origin === location.origin && link.pathname !== location.pathname;
    if (here && !event.button && !event.ctrlKey && !event.metaKey && !event.shiftKey) left = location.href;
  };
  addEventListener("click", follow, true);
  history.replaceState = function (data, title, address) {
    if (touched && !before && at(address).pathname === location.pathname) before = location.href;
    return replaceState.call(this, data, title, address);
  };
  history.pushState = function (data, title, address) {
    const stays = at(address).pathname === location.pathname;
    if (stays && (left || !touched)) return replaceState.call(this, data, title, address);
    const last = left || before;
    if (last) replaceState.call(this, data, title, last);
    forget();
    return pushState.call(this, data, title, address);
  };
})();
