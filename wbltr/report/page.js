"use strict";

// Headings of a sortable table become buttons. Without this script the table stands as it was written: the worst class first.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];

  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.replaceAll(",", "").replace("−", "-");
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  };

  // Numbers before words before "n/a", which stays below either way.
  const compare = (a, b, sign) => {
    if (a === b) return 0;
    if (a === "n/a" || b === "n/a") return a === "n/a" ? 1 : -1;
    if (typeof a === typeof b && typeof a === "string") return sign * a.localeCompare(b);
    if (typeof a === typeof b) return sign * (a - b);
    return sign * (typeof a === "number" ? -1 : 1);
  };

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      rows.sort(([a], [b]) => compare(a, b, up ? 1 : -1));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
