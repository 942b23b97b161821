"use strict";
// Keeps the form of a study and its YAML in step: after an edit of one, the service makes the other.
(() => {
  const form = document.getElementById("study-form");
  const PAUSE = 500; // milliseconds without a key, before the YAML is read
  let timer = 0;
  let edits = 0;

  form.addEventListener("change", (event) => {
    if (event.target.id !== "yaml") check();
  });
  form.addEventListener("input", (event) => {
    edits += 1;
    if (event.target.id !== "yaml") return;
    clearTimeout(timer);
    timer = setTimeout(check, PAUSE);
  });

  async function check() {
    const before = edits;
    const isYaml = document.getElementById("yaml").value !== document.getElementById("shown").value;
    const body = new URLSearchParams(new FormData(form));
    body.set("action", "check");
    let page;
    try {
      const response = await fetch(form.getAttribute("action"), { method: "POST", body, headers: { Accept: "text/html" } });
      if (!response.ok) return;
      page = new DOMParser().parseFromString(await response.text(), "text/html");
    } catch {
      return; // the service is temporarily unreachable; the next edit retries
    }
    if (edits !== before) return; // edited since: that edit is checked next
    swap(page, "outcome");
    if (isYaml && !page.querySelector("fieldset")) return; // unreadable YAML keeps the form
    const focus = document.activeElement.id;
    const opened = [...document.querySelectorAll("#fields details[open]")].map((each) => each.id);
    swap(page, "fields");
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    if (!isYaml) document.getElementById("yaml").value = page.getElementById("yaml").value;
    document.getElementById("shown").value = document.getElementById("yaml").value;
    if (focus !== document.activeElement.id) document.getElementById(focus)?.focus({ preventScroll: true });
  }

  function swap(page, id) {
    const fresh = page.getElementById(id);
    document.getElementById(id).replaceWith(document.adoptNode(fresh));
  }
})();
