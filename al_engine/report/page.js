"use strict";
// Sorting: each header of a sortable table becomes a button.
const numberOf = (text) => (/^[-–]?$/.test(text) ? -Infinity : Number(text));
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const rows = [...body.rows].map((row) => [row.cells[column].textContent.trim(), row]);
      const numeric = rows.every(([text]) => !Number.isNaN(numberOf(text)));
      const compare = (a, b) => (numeric ? numberOf(a) - numberOf(b) || 0 : a < b ? -1 : a > b ? 1 : 0);
      rows.sort(([a], [b]) => (order === "ascending" ? compare(a, b) : compare(b, a)));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
// Turning: points are rotated about the middle of a picture and drawn again, the farthest atom first.
for (const svg of document.querySelectorAll("svg.structure")) {
  const pointsOf = (part) => part.dataset.p.split(",").map(Number);
  const lines = [...svg.querySelectorAll("line")].map((part) => ({ part, p: pointsOf(part) }));
  const atoms = [...svg.querySelectorAll("g.atom")].map((part) => ({ part, p: pointsOf(part) }));
  const draw = () => {
    for (const { part, p } of lines)
      ["x1", "y1", , "x2", "y2"].forEach((name, k) => part.setAttribute(name, p[k].toFixed(1)));
    for (const { part, p } of atoms)
      part.setAttribute("transform", `translate(${p[0].toFixed(1)} ${p[1].toFixed(1)})`);
    atoms.sort((a, b) => a.p[2] - b.p[2]);
    svg.append(...atoms.map(({ part }) => part));
  };
  const turn = (right, down) => {
    const [c, s, d, t] = [Math.cos(right), Math.sin(right), Math.cos(down), Math.sin(down)];
    for (const { p } of [...lines, ...atoms])
      for (let k = 0; k < p.length; k += 3) {
        const [x, y, z] = [c * p[k] + s * p[k + 2], p[k + 1], c * p[k + 2] - s * p[k]];
        [p[k], p[k + 1], p[k + 2]] = [x, d * y + t * z, d * z - t * y];
      }
    draw();
  };
  const reset = () => {
    [...lines, ...atoms].forEach((item) => (item.p = pointsOf(item.part)));
    draw();
  };
  const keys = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
  svg.tabIndex = 0;
  svg.addEventListener("keydown", (event) => {
    if (event.key in keys) turn(...keys[event.key]);
    else if (event.key === "Home") reset();
    else return;
    event.preventDefault();
  });
  let last;
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    last = event;
  });
  svg.addEventListener("pointermove", (event) => {
    if (!svg.hasPointerCapture(event.pointerId)) return;
    turn((event.clientX - last.clientX) / 80, (event.clientY - last.clientY) / 80);
    last = event;
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => (d.open = true)));
