"use strict";
// Shows times in the zone of the reader. Updates a page: fetches it again when the service reports a change, and replaces the parts that differ.
(() => {
  const main = document.querySelector("main");
  let isFetching = false;
  let isStale = false;

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

  function swap(page) {
    localise(page);
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (fresh && fresh.innerHTML !== old.innerHTML) old.replaceWith(document.adoptNode(fresh));
    }
  }

  localise(document);
  if (main.dataset.events) {
    const source = new EventSource(main.dataset.events);
    source.addEventListener("progress", refresh);
    source.addEventListener("end", () => {
      source.close();
      location.reload();
    });
  }
  if (main.dataset.refresh) {
    setInterval(() => document.hidden || refresh(), Number(main.dataset.refresh));
  }
})();
