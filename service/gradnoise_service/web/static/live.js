"use strict";
// Shows times in the zone of the reader. Updates a page: fetches it again when the service reports a change, and replaces the parts that
// differ; what is checked, opened and focused stays so.
(() => {
  const main = document.querySelector("main");
  let isFetching = false;
  let isStale = false;
  const POLL_SECONDS = 2;
  const MAX_SILENT_POLLS = 3; // after which a change of the time left or of the noise alone is shown

  async function refresh() {
    if (isFetching) {
      isStale = true;
      return;
    }
    isFetching = true;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (response.ok) swap(new DOMParser().parseFromString(await response.text(), "text/html"));
    } catch {
      // the service is temporarily unreachable; the next event retries
    } finally {
      isFetching = false;
    }
    if (isStale) {
      isStale = false;
      setTimeout(refresh, 1000);
    }
  }

  // shows the times of a page in the reader's zone; the original stays as the tooltip
  function localise(page) {
    for (const time of page.querySelectorAll("time")) {
      time.title = time.textContent;
      time.textContent = new Date(time.dateTime).toLocaleString(undefined, {
        dateStyle: "medium",
        timeStyle: "short",
      });
    }
  }

  // the focused element of a part that is replaced: keyboards go on from there
  function selector(element) {
    if (!element) return "";
    if (element.id) return `#${element.id}`;
    const address = element.getAttribute("href");
    return address ? `[href="${CSS.escape(address)}"]` : "";
  }

  function swap(page) {
    localise(page);
    const isFollowed = "progress" in main.dataset;
    if (isFollowed && !("progress" in page.querySelector("main").dataset)) return location.reload();
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (!fresh || fresh.innerHTML === old.innerHTML) continue;
      for (const box of old.querySelectorAll("input:checked")) {
        const same = fresh.querySelector(`#${box.id}`);
        if (same) same.checked = true;
      }
      for (const opened of old.querySelectorAll("details[open][id]")) {
        fresh.querySelector(`#${opened.id}`)?.setAttribute("open", "");
      }
      const focus = selector(old.contains(document.activeElement) && document.activeElement);
      old.replaceWith(document.adoptNode(fresh));
      if (focus) document.querySelector(focus)?.focus({ preventScroll: true });
    }
  }

  localise(document);

  // Reads the progress while the page is visible: an event stream would hold a connection, of which
  // a browser has six for all pages of a service.
  async function follow(address) {
    let shown = null;
    let nPolls = 0;
    let seconds = POLL_SECONDS;
    for (;;) {
      await pause(seconds);
      seconds = POLL_SECONDS;
      if (document.hidden) await shownAgain();
      try {
        const response = await fetch(address, { headers: { Accept: "application/json" } });
        if (response.ok) {
          const counted = { ...(await response.json()), seconds_left: null, noise: null };
          const isDue = ++nPolls % MAX_SILENT_POLLS === 0;
          if (JSON.stringify(counted) !== shown || isDue) await refresh();
          shown = JSON.stringify(counted);
        } else {
          seconds = Math.max(seconds, Number(response.headers.get("Retry-After")) || 0);
          if (response.status === 401 || response.status === 404) return location.reload();
        }
      } catch {
        // the service is temporarily unreachable; the next poll retries
      }
    }
  }

  const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

  const shownAgain = () =>
    new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));

  if (main.dataset.progress) follow(main.dataset.progress);
  if (main.dataset.refresh) {
    setInterval(() => document.hidden || refresh(), Number(main.dataset.refresh));
  }
})();
