"use strict";

/* Numbers by size, words by the alphabet, what is missing last whichever way. */
function order(a, b, descending) {
  if (a === b) return 0;
  if (a === "") return 1;
  if (b === "") return -1;
  const x = Number(a), y = Number(b);
  const both = !Number.isNaN(x) && !Number.isNaN(y);
  const sign = both ? Math.sign(x - y) : a.localeCompare(b, undefined, { numeric: true });
  return descending ? -sign : sign;
}

/* Whether a row is of a status that is shown and holds all words that are looked for. */
function matches(status, text, statuses, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return statuses.has(status) && words.every((word) => text.includes(word));
}

function start(document) {
  const body = document.querySelector("#lenses tbody");
  const rows = Array.from(body.rows);
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const heads = Array.from(document.querySelectorAll("#lenses th[data-sort]"));
  const boxes = Array.from(document.querySelectorAll(".controls input[type=checkbox]"));
  const search = document.querySelector("#search");
  const count = document.querySelector("#count");
  const page = document.querySelector("#page");
  const SIZE = 100;
  let first = 0;

  function show() {
    const statuses = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const found = rows.filter((row) =>
      matches(row.dataset.status, texts.get(row), statuses, search.value));
    first = Math.max(0, Math.min(first, SIZE * Math.floor((found.length - 1) / SIZE)));
    const shown = new Set(found.slice(first, first + SIZE));
    for (const row of rows) row.hidden = !shown.has(row);
    const last = first + shown.size;
    count.textContent = `${found.length} of ${rows.length} lenses`;
    page.textContent = found.length > SIZE ? `${first + 1} to ${last}` : "";
    document.querySelector("#before").disabled = first === 0;
    document.querySelector("#after").disabled = last >= found.length;
  }

  function sort(head) {
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const column = Array.from(head.parentNode.children).indexOf(head);
    const key = (row) => row.cells[column].dataset.value;
    rows.sort((a, b) => order(key(a), key(b), descending));
    body.append(...rows);
    first = 0;
    show();
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => sort(head));
  }
  const again = () => { first = 0; show(); };
  for (const box of boxes) box.addEventListener("change", again);
  search.addEventListener("input", again);
  document.querySelector("#before").addEventListener("click", () => { first -= SIZE; show(); });
  document.querySelector("#after").addEventListener("click", () => { first += SIZE; show(); });
  show();
}

if (typeof document !== "undefined") start(document);
