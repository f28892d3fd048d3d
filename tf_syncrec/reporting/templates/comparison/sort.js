// Tables of class "sorted", and those of class "tables", are sorted by a column: a button in each heading, which the keyboard reaches.
"use strict";
for (const table of document.querySelectorAll("table.sorted, .tables table")) {
  const body = table.tBodies[0], rows = [...body.rows];
  if (rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  const numberIn = (text) => parseFloat(text.replace(/,/g, ""));  // of a mean, an interval, a p-value: the first one
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...(head.childNodes.length ? head.childNodes : ["name"]));
    head.append(button);
    button.onclick = () => {
      const down = head.getAttribute("aria-sort") !== "descending" && column > 0 || head.getAttribute("aria-sort") === "ascending";
      const text = (row) => row.cells[column].textContent.trim();
      const sorted = [...rows].sort((a, b) => {
        const x = numberIn(text(a)), y = numberIn(text(b));
        if (column === 0 || Number.isNaN(x) && Number.isNaN(y)) return (down ? -1 : 1) * text(a).localeCompare(text(b));
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);  // what is not known stands last
        return (down ? -1 : 1) * (x - y);
      });
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...sorted);
    };
  });
}
