// A click on a column's header sorts its table, the lowest first, and again the highest; a box above filters the rows.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Only rows with";
  filter.ariaLabel = "Only rows with this text";
  filter.oninput = () => {
    for (const row of body.rows) {
      row.hidden = !row.textContent.toLowerCase().includes(filter.value.toLowerCase());
    }
  };
  table.before(filter);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    const number = (row) => parseFloat(row.cells[column].textContent.replaceAll(",", ""));
    button.onclick = () => {
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      heads.forEach((other) => { other.ariaSort = other === head ? (sign > 0 ? "ascending" : "descending") : null; });
      const known = (row) => !isNaN(number(row));
      const compare = (a, b) => known(b) - known(a) || (known(a) ? sign * (number(a) - number(b)) : 0);
      body.append(...[...body.rows].sort(compare));
    };
  });
}
