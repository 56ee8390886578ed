// What a report's page can do beyond being read: copy a command, print. Without it nothing is missing.
"use strict";
{
  const SHOWN_MS = 2000;

  async function copied(text) {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
    // A page that came over plain HTTP has no clipboard but the one of a selection.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "report-unseen";
    field.setAttribute("aria-hidden", "true");
    document.querySelector(".maintenance-report").append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }

  function button(words, name) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = name;
    made.textContent = words;
    return made;
  }

  function say(made, words, before) {
    made.textContent = words;
    window.setTimeout(() => {
      made.textContent = before;
    }, SHOWN_MS);
  }

  for (const command of document.querySelectorAll(".maintenance-report [data-copy]")) {
    const box = document.createElement("div");
    const copy = button("Copy", "report-copy");
    box.className = "report-copied";
    box.setAttribute("aria-live", "polite");
    command.replaceWith(box);
    box.append(command, copy);
    copy.addEventListener("click", async () => {
      let done = false;
      try {
        done = await copied(command.textContent);
      } catch {
        done = false;
      }
      copy.focus();
      say(copy, done ? "Copied" : "Select it and copy by hand", "Copy");
    });
  }

  for (const place of document.querySelectorAll("[data-print]")) {
    const print = button(place.dataset.print, "report-print");
    print.addEventListener("click", () => window.print());
    place.append(print);
    place.hidden = false;
  }
}
