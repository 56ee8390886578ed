// Keeps what a page says of runs fresh while somebody looks, until they have ended. Changes only what
// has changed: a link that has the focus keeps it, and a screen reader is not sent back to the top.
"use strict";
{
  const PERIOD_MS = 2000;
  const LONGEST_MS = 60000;
  const desk = document.querySelector("[data-live-url]");
  const note = desk?.querySelector("[data-live-note]");
  const announcement = desk?.querySelector("[data-live-announcement]");
  let failures = 0;
  let timer = null;
  let asking = false;
  let closed = false;

  const isWatched = () => !document.hidden && document.hasFocus();
  const parts = () => [...document.querySelectorAll("[data-live-run]")];
  const ids = () => [...new Set(parts().map((part) => part.dataset.liveRun))];
  const period = () => Math.min(PERIOD_MS * 2 ** failures, LONGEST_MS);

  function say(kind, seconds) {
    const sentence = desk.dataset[kind].replace("{seconds}", seconds);
    if (note.textContent !== sentence) {
      note.textContent = sentence;
    }
    note.classList.toggle("maintenance-trouble", kind === "liveAway" || kind === "liveClosed");
  }

  function matchAttributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name)) {
        old.removeAttribute(name);
      }
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) {
        old.setAttribute(name, value);
      }
    }
  }

  function matchChildren(old, fresh) {
    const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
    const isAlike = before.every((node, place) => node.nodeName === after[place]?.nodeName);
    if (!isAlike || before.length !== after.length) {
      old.replaceChildren(...after);
      return;
    }
    before.forEach((node, place) => match(node, after[place]));
  }

  function match(old, fresh) {
    if (old.isEqualNode(fresh)) {
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      return;
    }
    matchAttributes(old, fresh);
    matchChildren(old, fresh);
  }

  function show(part, run) {
    const html = run.parts[part.dataset.livePart];
    if (html !== undefined) {
      const fresh = document.createElement("template");
      fresh.innerHTML = html; // escaped by the server (admin/live.py)
      matchChildren(part, fresh.content);
    }
    if (run.finished) {
      delete part.dataset.liveRun;
      delete part.dataset.livePart;
    }
  }

  async function answer() {
    const query = ids().map((id) => `run=${id}`).join("&");
    const response = await fetch(`${desk.dataset.liveUrl}?${query}`, {
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      redirect: "manual", // it leads to the login
    });
    closed = response.type === "opaqueredirect" || response.status === 403;
    if (!closed && !response.ok) {
      throw new Error(String(response.status));
    }
    return closed ? null : response.json();
  }

  function take(progress) {
    const ended = Object.values(progress.runs).some((run) => run.finished);
    if (ended && "liveReload" in desk.dataset) {
      closed = true;
      window.location.reload();
      return;
    }
    for (const part of parts()) {
      const run = progress.runs[part.dataset.liveRun];
      if (run) {
        show(part, run);
      }
    }
    if (progress.announcement && announcement.textContent !== progress.announcement) {
      announcement.textContent = progress.announcement;
    }
  }

  async function ask() {
    timer = null;
    asking = true;
    try {
      const progress = await answer();
      failures = 0;
      if (progress) {
        take(progress);
      }
    } catch {
      failures += 1;
    } finally {
      asking = false;
    }
    later();
  }

  function later() {
    window.clearTimeout(timer);
    timer = null;
    if (closed) {
      say("liveClosed");
    } else if (!ids().length) {
      say("liveEnded");
    } else if (!isWatched()) {
      say("livePaused");
    } else if (!asking) {
      say(failures ? "liveAway" : "liveFresh", period() / 1000);
      timer = window.setTimeout(ask, period());
    }
  }

  function look() {
    if (isWatched() && !asking && !closed && ids().length) {
      window.clearTimeout(timer);
      ask();
    } else {
      later();
    }
  }

  if (desk && ids().length) {
    document.addEventListener("visibilitychange", look);
    window.addEventListener("focus", look);
    window.addEventListener("blur", later);
    later();
  }
}
