"use strict";
// Sorts and filters the rows of tables that name the columns for it, and shows the first ones; without it all are shown.
const FIRST = 10;
for (const box of document.querySelectorAll("[data-sorted]")) {
  const bar = box.querySelector(".filters"), body = box.querySelector("tbody");
  const rows = [...body.rows], count = bar.querySelector("output");
  const cell = (row, n) => row.cells[n].textContent.trim();
  const fits = row => [...bar.querySelectorAll("[data-column]")].every(field => {
    const value = cell(row, field.dataset.column);
    return !field.value || (field.type === "number" ? parseFloat(value) >= field.value : value === field.value);
  });
  const more = document.createElement("button");
  let every = rows.length <= FIRST + 2;
  const filter = () => {
    let fitting = 0;
    for (const row of rows) {
      fitting += fits(row);
      row.hidden = !fits(row) || (!every && fitting > FIRST);
    }
    const shown = every ? fitting : Math.min(fitting, FIRST);
    count.textContent = shown + " of " + rows.length + " texts";
    more.hidden = shown === fitting;
    more.textContent = "Show all " + fitting;
  };
  more.className = "more";
  more.type = "button";
  more.addEventListener("click", () => { every = true; filter(); });
  box.append(more);
  bar.hidden = false;
  bar.addEventListener("input", filter);
  filter();
  [...box.querySelectorAll("thead th")].forEach((head, n) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const each of head.parentNode.cells) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const order = (a, b) => cell(a, n).localeCompare(cell(b, n), undefined, { numeric: true });
      body.append(...rows.sort((a, b) => up ? order(a, b) : order(b, a)));
      filter();
    });
  });
}
