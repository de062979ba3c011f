"use strict";
// Sorts and filters the rows of tables that name the columns for it; without it all rows are shown.
for (const box of document.querySelectorAll("[data-sorted]")) {
  const bar = box.querySelector(".filters"), body = box.querySelector("tbody");
  const rows = [...body.rows], count = bar.querySelector("output");
  const cell = (row, n) => row.cells[n].textContent.trim();
  const fits = row => [...bar.querySelectorAll("[data-column]")].every(field => {
    const value = cell(row, field.dataset.column);
    return !field.value || (field.type === "number" ? parseFloat(value) >= field.value : value === field.value);
  });
  const filter = () => {
    let shown = 0;
    for (const row of rows) shown += !(row.hidden = !fits(row));
    count.textContent = shown + " of " + rows.length + " texts";
  };
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
    });
  });
}
