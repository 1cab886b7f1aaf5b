// What htmx leaves to do: copy a command, keep a form's choices when language or colours change, and say when the
// server is gone. Everything works without it, but the copying.
"use strict";
document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const word = copy.textContent;
    try {
      await navigator.clipboard.writeText(copy.dataset.copy);
    } catch {
      getSelection().selectAllChildren(copy.parentElement.querySelector("code"));
      return;
    }
    copy.textContent = copy.dataset.copied;
    setTimeout(() => { copy.textContent = word; }, 1500);
  }
  const link = event.target.closest("[data-switch]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    const here = new URL(location.href);
    const [name, value] = link.dataset.switch.split("=");
    here.searchParams.set(name, value);
    location.assign(here);
  }
});
// The chart's axis is chosen in the answer, which is another one after every change.
let axis = "";
document.addEventListener("change", (event) => { if (event.target.name === "axis") axis = event.target.id; });
document.addEventListener("htmx:afterSwap", () => {
  const chosen = axis && document.getElementById(axis);
  if (chosen) chosen.checked = true;
});
const lost = (is) => { document.getElementById("lost").hidden = !is; };
document.addEventListener("htmx:sendError", () => lost(true));
document.addEventListener("htmx:sseError", () => lost(true));
document.addEventListener("htmx:sseOpen", () => lost(false));
document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) lost(false); });
// A field that is refused is shown as an answer, whatever its status.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status >= 400 && event.detail.xhr.responseText) event.detail.shouldSwap = event.detail.xhr.getResponseHeader("content-type")?.startsWith("text/html");
});
