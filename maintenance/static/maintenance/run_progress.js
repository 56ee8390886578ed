// Keeps the progress of a run fresh while somebody looks, and shows its report when it has ended.
"use strict";
{
  const PERIOD_MS = 2000;
  const region = document.querySelector("[data-progress-url]");
  const announcement = document.querySelector("[data-progress-announcement]");
  const trouble = document.querySelector("[data-progress-trouble]");
  let shown = "";
  let timer = null;
  let asking = false;

  async function answer() {
    const response = await fetch(region.dataset.progressUrl, {
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      redirect: "error", // a redirect leads to the login: reloading by hand will show it
    });
    if (!response.ok) {
      throw new Error(String(response.status));
    }
    return response.json();
  }

  function show(progress) {
    trouble.hidden = true;
    if (progress.html !== shown) {
      shown = progress.html;
      region.innerHTML = progress.html; // escaped by the server's templates
    }
    if (announcement.textContent !== progress.announcement) {
      announcement.textContent = progress.announcement;
    }
  }

  async function ask() {
    timer = null;
    asking = true;
    try {
      const progress = await answer();
      if (progress.finished) {
        window.location.reload();
        return;
      }
      show(progress);
    } catch {
      trouble.hidden = false;
    } finally {
      asking = false;
    }
    later();
  }

  function later() {
    if (timer === null && !asking && !document.hidden) {
      timer = window.setTimeout(ask, PERIOD_MS);
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      window.clearTimeout(timer);
      timer = null;
    } else if (timer === null && !asking) {
      ask();
    }
  });
  later();
}
