"use strict";
// Makes the finished page handy: headers sort their table, fields and choices filter the programs. Text is only ever compared.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  function sortKey(row, column) {
    const cell = row.cells[column];
    if (!cell || cell.classList.contains("none")) return null;
    return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
  }

  function compare(a, b) {
    return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
  }

  function makeSortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const original = [...table.tBodies[0].rows];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // The first click sorts up, the second down, the third brings back the order of the page.
        const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
        const direction = next === undefined ? "ascending" : next;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        const rows = [...original];
        if (direction) {
          head.setAttribute("aria-sort", direction);
          const sign = direction === "ascending" ? 1 : -1;
          const keyed = rows.map((row) => [sortKey(row, column), row]);
          keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
          rows.splice(0, rows.length, ...keyed.map(([, row]) => row));
        }
        table.tBodies[0].append(...rows);
      });
    });
  }

  function makeFilter(controls) {
    const cards = [...document.querySelectorAll("article.card")];
    const search = document.getElementById("search");
    const choices = [...controls.querySelectorAll("select")];
    const texts = new Map();

    const plain = (text) => text.toLowerCase().replace(/\s+/g, " ").trim();

    function textOf(card) {
      if (!texts.has(card)) {
        const parts = [...card.querySelectorAll(".head, .facts, .statement, .error, .code")].map((part) => part.textContent);
        texts.set(card, plain(parts.join("\n")));
      }
      return texts.get(card);
    }

    function apply() {
      const wanted = plain(search.value);
      let shown = 0;
      for (const card of cards) {
        const chosen = choices.every((choice) => choice.value === "*" || card.dataset[choice.dataset.filter] === choice.value);
        card.hidden = !(chosen && (!wanted || textOf(card).includes(wanted)));
        shown += !card.hidden;
      }
      document.getElementById("count").textContent = `${shown} of ${cards.length} shown`;
    }

    search.addEventListener("input", apply);
    choices.forEach((choice) => choice.addEventListener("change", apply));
    document.getElementById("clear").addEventListener("click", () => {
      search.value = "";
      choices.forEach((choice) => { choice.value = "*"; });
      apply();
    });
    controls.hidden = false;
    apply(); // a browser that went back keeps what was typed
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);
  const controls = document.getElementById("controls");
  if (controls) makeFilter(controls);
})();
