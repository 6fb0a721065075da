"use strict";
// Parallel coordinates: a line a trial over an axis a hyperparameter and one of the reward; a drag on an axis
// chooses the trials that pass there, a click on it lets go. Then all is put together.

const NONE = -0.1; // where on an axis a line passes that has no value there
const PARALLEL = { height: 340, top: 44, bottom: 44, step: 92 };

function drawParallel() {
  const box = document.getElementById("parallel-plot");
  if (!box) return [];
  box.replaceChildren();
  const axes = DATA.columns.flatMap((column, k) => column.varies
    ? [{ name: column.name, log: columnScale(k).log, scale: columnScale(k), value: (trial) => trial.values[k] }] : []);
  if (!axes.length) return [];
  axes.push({ name: "reward", scale: linear(rewardRange()), value: (trial) => trial.reward });
  const { height, top, bottom, step } = PARALLEL;
  const width = Math.max(box.clientWidth, axes.length * step);
  const svg = drawing(box, width, height, "Parallel coordinates of the hyperparameters and the reward");
  const py = (share) => top + (1 - share) * (height - top - bottom);
  const each = width / axes.length;
  axes.forEach((axis, k) => {
    axis.x = round((k + 0.5) * each);
    axis.at = TRIALS.map((trial, i) => {
      const at = axis.scale.at(axis.value(trial));
      return at === null ? NONE : at + spread(i, axis.scale);
    });
  });
  const spots = TRIALS.map((_, i) => axes.flatMap((axis) => [axis.x, round(py(axis.at[i]))]));
  const plot = new Plot(svg, spots.map((points) => "M" + points.join(" ")), spots, "line");
  drawings.brushes = axes.map((axis, k) => drawAxis(svg, axis, py, each, k));
  return [plot];
}

/** Draw an axis; gives what shows its brush. */
function drawAxis(svg, axis, py, each, k) {
  const group = drawn("g", { class: "parallel-axis" }, svg);
  drawn("path", { class: "axis", d: `M${axis.x} ${py(0)}V${py(1)}` }, group);
  const name = { x: axis.x, y: k % 2 ? 30 : 14, class: "name", "text-anchor": "middle" };
  const title = drawn("text", name, group, fitting(axis.name, 2 * each - 16));
  if (axis.log) {
    const below = { x: axis.x, y: PARALLEL.height - 8, class: "name", "text-anchor": "middle" };
    drawn("text", below, group, "log scale");
  }
  drawn("title", {}, title, axis.name);
  const ticks = apart(axis.scale.ticks, py(0) - py(1), () => 10);
  if (axis.at.includes(NONE)) ticks.push({ at: NONE, label: "absent" });
  for (const tick of ticks) {
    const place = { x: axis.x - 6, y: py(tick.at) + 4, "text-anchor": "end" };
    drawn("path", { class: "tick", d: `M${axis.x - 4} ${py(tick.at)}h4` }, group);
    drawn("text", place, group, fitting(tick.label, each - 14));
  }
  return brushable(group, axis, py);
}

function brushable(group, axis, py) {
  const [low, high] = [NONE - 0.04, 1.04];
  const brush = drawn("rect", { class: "brush", x: axis.x - 8, width: 16, y: 0, height: 0 }, group);
  const area = { class: "grip", "data-axis": axis.name, x: axis.x - 14, width: 28 };
  const grip = drawn("rect", { ...area, y: py(high), height: py(low) - py(high) }, group);
  const show = () => {
    const filter = state.filters.get(axis.name);
    brush.setAttribute("y", filter ? py(filter.high) : 0);
    brush.setAttribute("height", filter ? py(filter.low) - py(filter.high) : 0);
  };
  const share = (event) => {
    const frame = grip.getBoundingClientRect();
    const down = (event.clientY - frame.top) / frame.height;
    return high - Math.min(1, Math.max(0, down)) * (high - low);
  };
  // A finger that drags here does not scroll; browsers heed touch-action inside a drawing in different ways.
  grip.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  let start = null;
  grip.addEventListener("pointerdown", (event) => {
    grip.setPointerCapture(event.pointerId);
    start = share(event);
  });
  grip.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const now = share(event);
    const ends = [Math.min(start, now), Math.max(start, now)];
    setFilter(axis.name, ends[1] - ends[0] > 0.01 ? { at: axis.at, low: ends[0], high: ends[1] } : null);
    show();
  });
  grip.addEventListener("pointerup", (event) => {
    if (start !== null && Math.abs(share(event) - start) <= 0.01) setFilter(axis.name, null);
    start = null;
    show();
  });
  grip.addEventListener("pointercancel", () => start = null);
  show();
  return show;
}

/** Draw everything anew for the width that there is. */
function drawAll() {
  drawings.curves = drawCurves();
  drawings.others = [...drawParallel(), ...drawScatter()];
}

const drawings = { curves: [], others: [], brushes: [] };
const allDrawings = () => [...drawings.curves, ...drawings.others];

function begin() {
  makeTable();
  makeFoot();
  makeLegends();
  drawAll();
  views.push({
    paint: () => {
      allDrawings().forEach((plot) => plot.paint());
      drawings.brushes.forEach((show) => show());
    },
    heat: () => allDrawings().forEach((plot) => plot.heat()),
  });
  const select = document.getElementById("metric");
  if (select) select.addEventListener("change", () => drawings.curves = drawCurves());
  document.addEventListener("keydown", (event) => event.key === "Escape" && clearFilters());
  let width = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    drawAll();
  }).observe(document.body);
}

if (TRIALS.length) begin();
document.querySelectorAll(".box, #parallel-plot").forEach(showMore);
