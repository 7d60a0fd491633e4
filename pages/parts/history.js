/* A step of the browser's history is what a reader did. Streamlit makes steps, too, of what a page on its way out takes
   from its own address, and of what the next one puts in: Back would stop at pages that nobody saw. */
(() => {
  const { pushState, replaceState } = history;
  let touched = false; // by the reader, since this page came
  let left = ""; // the address from which a link leads to another page that isn't there yet
  const page = (address) => new URL(address, location.href).pathname;
  const touch = () => ((touched = true), (left = ""));
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, touch, true);
  addEventListener("popstate", () => ((touched = false), (left = "")));
  const follow = (event) => {
    const link = event.target.closest?.("a[href]");
    const here = link && !link.target && link.origin === location.origin && page(link.href) !== location.pathname;
    if (here && !event.button && !event.ctrlKey && !event.metaKey && !event.shiftKey) left = location.href;
  };
  addEventListener("click", follow, true);
  history.pushState = function (data, title, address) {
    if (page(address ?? "") === location.pathname) {
      return (left || !touched ? replaceState : pushState).call(this, data, title, address);
    }
    if (left) replaceState.call(this, data, title, left);
    touched = false;
    left = "";
    return pushState.call(this, data, title, address);
  };
})();
