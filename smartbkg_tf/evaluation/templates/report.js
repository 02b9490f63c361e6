// A click on a column's title sorts its table; a second click turns the order round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const title = button.parentElement;
    const column = title.cellIndex;
    const body = title.closest("table").tBodies[0];
    const order = title.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of title.parentElement.cells) other.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", order);
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    const rows = Array.from(body.rows).sort((first, second) => {
      const [a, b] = [value(first), value(second)];
      // What could not be measured comes last in either order.
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return order === "ascending" ? compare(a, b) : compare(b, a);
    });
    body.append(...rows);
  });
}
// Paper shows everything.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
