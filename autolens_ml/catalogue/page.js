"use strict";

const SIZE = 100;
const WORDS = new Intl.Collator(undefined, { numeric: true });

/* What a cell is sorted by: of a number with errors, the number. */
function key(cell) {
  return Array.isArray(cell) ? cell[0] : cell;
}

/* Numbers by size, words by the alphabet, what is missing last whichever way. */
function order(a, b, descending) {
  if (a === b) return 0;
  if (a === null || a === "") return 1;
  if (b === null || b === "") return -1;
  const both = typeof a === "number" && typeof b === "number";
  const sign = both ? Math.sign(a - b) : WORDS.compare(a, b);
  return descending ? -sign : sign;
}

/* Whether a row is of a status that is shown and holds all words that are looked for. */
function matches(status, text, statuses, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return statuses.has(status) && words.every((word) => text.includes(word));
}

/* A cell as it is read: a number with errors has as many digits as they allow. */
function shown(cell) {
  if (cell === null) return "";
  if (Array.isArray(cell)) {
    const [value, low, high] = cell;
    const largest = Math.max(low, high);
    const digits = largest > 0 ? 1 - Math.floor(Math.log10(largest)) : 4;
    const [v, l, h] = [value, low, high].map((x) => x.toFixed(Math.min(Math.max(digits, 0), 20)));
    return `${v} \u2212${l} +${h}`;
  }
  return typeof cell === "number" ? String(Number(cell.toPrecision(4))) : cell;
}

function start(document) {
  const rows = JSON.parse(document.querySelector("#rows").textContent);
  const texts = new Map(rows.map((row) =>
    [row, row.slice(1).filter((cell) => typeof cell === "string").join(" ").toLowerCase()]));
  const body = document.querySelector("#lenses tbody");
  const heads = Array.from(document.querySelectorAll("#lenses th[data-sort]"));
  const boxes = Array.from(document.querySelectorAll(".controls input[type=checkbox]"));
  const looks = new Map(boxes.map((box) => [box.value, box.nextElementSibling.className]));
  const search = document.querySelector("#search");
  const before = document.querySelector("#before");
  const after = document.querySelector("#after");
  let first = 0;

  function picture([small, large], name) {
    const link = document.createElement("a");
    const image = document.createElement("img");
    link.href = large;
    image.src = small;
    image.alt = name;
    image.loading = "lazy";
    link.append(image);
    return link;
  }

  function drawn(row) {
    const line = document.createElement("tr");
    row.forEach((cell, column) => {
      const place = line.insertCell();
      if (column === 0) {
        place.append(...cell.map((each) => picture(each, row[1])));
      } else if (column === 2) {
        const status = document.createElement("span");
        status.className = looks.get(cell);
        status.textContent = cell;
        place.append(status);
      } else {
        place.textContent = shown(cell);
        if (typeof key(cell) === "number") place.className = "number";
        if (column === row.length - 1) place.className = "why";
      }
    });
    return line;
  }

  function show() {
    const statuses = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const found = rows.filter((row) => matches(row[2], texts.get(row), statuses, search.value));
    first = Math.max(0, Math.min(first, SIZE * Math.floor((found.length - 1) / SIZE)));
    const now = found.slice(first, first + SIZE);
    const last = first + now.length;
    body.replaceChildren(...now.map(drawn));
    document.querySelector("#count").textContent =
      `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} lenses`;
    document.querySelector("#page").textContent =
      found.length > SIZE ? `${first + 1} to ${last}` : "";
    before.disabled = first === 0;
    after.disabled = last >= found.length;
  }

  function sort(head) {
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    // Pictures are the first column, and cannot be sorted.
    const column = heads.indexOf(head) + 1;
    rows.sort((a, b) => order(key(a[column]), key(b[column]), descending));
    first = 0;
    show();
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => sort(head));
  }
  const again = () => { first = 0; show(); };
  for (const box of boxes) box.addEventListener("change", again);
  search.addEventListener("input", again);
  before.addEventListener("click", () => { first -= SIZE; show(); });
  after.addEventListener("click", () => { first += SIZE; show(); });
  show();
}

if (typeof document !== "undefined") start(document);
