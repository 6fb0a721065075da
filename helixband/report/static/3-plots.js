"use strict";
// Plots of trials: their learning curves, and each hyperparameter against the reward.

/** A drawing in which each trial has a piece of path; few elements, however many trials there are. */
class Plot {
  /** `pieces`: a trial's path data, or ""; `spots`: its points x, y, x, y…; `mark`: "line" or "dot". */
  constructor(svg, pieces, spots, mark) {
    Object.assign(this, { svg, pieces, spots, mark });
    const kind = TRIALS.length > 300 ? `${mark} many` : mark;
    const path = (name) => drawn("path", { class: `${kind} ${name}` }, svg);
    this.dim = path("dim");
    this.levels = Array.from({ length: DATA.rungs.length || 1 }, (_, k) => path(`level-${k % DATA.colours}`));
    this.halo = path("halo");
    this.hot = path("hot");
    this.name = drawn("text", { class: "hot-name" }, svg);
    this.paint();
    this.heat();
    const point = (event) => setHot(this.nearest(event));
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && setHot(null));
  }

  paint() {
    const level = (trial) => Math.max(0, trial.level);
    const part = (keep) => this.pieces.filter((_, i) => keep(i)).join("");
    this.dim.setAttribute("d", part((i) => !state.chosen[i]));
    this.levels.forEach((path, k) => {
      path.setAttribute("d", part((i) => state.chosen[i] && level(TRIALS[i]) === k));
    });
  }

  heat() {
    const piece = state.hot === null ? "" : this.pieces[state.hot];
    this.halo.setAttribute("d", piece);
    this.hot.setAttribute("d", piece);
    this.name.textContent = piece ? TRIALS[state.hot].id : "";
    if (!piece) return;
    const [x, y] = this.spots[state.hot].slice(-2);
    const left = x > this.svg.width.baseVal.value - 50;
    this.name.setAttribute("x", x + (left ? -8 : 8));
    this.name.setAttribute("y", Math.max(12, y - 6));
    this.name.setAttribute("text-anchor", left ? "end" : "start");
  }

  /** The chosen trial that is drawn nearest to the pointer, or null where none is near. */
  nearest(event) {
    const frame = this.svg.getBoundingClientRect();
    const scale = this.svg.width.baseVal.value / frame.width;
    const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
    let [best, least] = [null, 20 ** 2];
    this.spots.forEach((spots, i) => {
      if (!state.chosen[i] || !spots.length) return;
      const distance = this.mark === "dot" ? toPoint(x, y, spots[0], spots[1]) : toLine(x, y, spots);
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  }
}

const toPoint = (x, y, a, b) => (x - a) ** 2 + (y - b) ** 2;

/** The squared distance to the nearest segment of a line. */
function toLine(x, y, spots) {
  let least = toPoint(x, y, spots[0], spots[1]);
  for (let k = 2; k < spots.length; k += 2) {
    const [a, b, c, d] = [spots[k - 2], spots[k - 1], spots[k], spots[k + 1]];
    const along = ((x - a) * (c - a) + (y - b) * (d - b)) / ((c - a) ** 2 + (d - b) ** 2 || 1);
    const share = Math.min(1, Math.max(0, along));
    least = Math.min(least, toPoint(x, y, a + share * (c - a), b + share * (d - b)));
  }
  return least;
}

/** A panel with a heading and axes; gives the drawing and the place of (0…1, 0…1) in it. */
function panel(parent, heading, x, y, height, names) {
  const figure = element("figure", {}, parent);
  const caption = element("figcaption", {}, figure);
  element("h3", {}, caption).textContent = heading;
  const margin = { left: 66, right: 12, top: 10, bottom: 38 };
  const width = Math.max(160, figure.clientWidth);
  const against = names[0] ? ` against ${names[0]}` : "";
  const svg = drawing(figure, width, height, `${heading}: ${names[1]}${against}`);
  const [w, h] = [width - margin.left - margin.right, height - margin.top - margin.bottom];
  const px = (share) => margin.left + share * w;
  const py = (share) => margin.top + (1 - share) * h;
  for (const tick of apart(y.ticks, h, () => 10)) {
    drawn("path", { class: "grid", d: `M${px(0)} ${py(tick.at)}h${w}` }, svg);
    drawn("text", { x: px(0) - 6, y: py(tick.at) + 4, "text-anchor": "end" }, svg, fitting(tick.label, 46));
  }
  const room = x.band ? Math.max(24, x.band * w - 6) : 70;
  const ticks = x.ticks.map((tick) => ({ at: tick.at, label: fitting(tick.label, room) }));
  for (const tick of apart(ticks, w, (tick) => tick.label.length * CHARACTER)) {
    drawn("path", { class: "tick", d: `M${px(tick.at)} ${py(0)}v4` }, svg);
    const end = px(tick.at) + tick.label.length * CHARACTER / 2 > width;
    const place = end ? { x: width, "text-anchor": "end" } : { x: px(tick.at), "text-anchor": "middle" };
    drawn("text", { ...place, y: py(0) + 16 }, svg, tick.label);
  }
  drawn("path", { class: "axis", d: `M${px(0)} ${py(0)}h${w}` }, svg);
  const said = [x.log && names[0] ? `${names[0]} (log scale)` : x.log ? "log scale" : names[0],
    y.log ? `${names[1]} (log scale)` : names[1]];
  drawn("text", { x: px(0.5), y: height - 4, "text-anchor": "middle", class: "name" }, svg, said[0]);
  const turned = { x: 10, y: py(0.5), transform: `rotate(-90 10 ${py(0.5)})` };
  drawn("text", { ...turned, "text-anchor": "middle", class: "name" }, svg, fitting(said[1], h));
  return { svg, px, py };
}

function drawing(parent, width, height, title) {
  const size = { width, height, viewBox: `0 0 ${width} ${height}` };
  return drawn("svg", { ...size, role: "img", "aria-label": title }, parent);
}

const round = (value) => Math.round(value * 10) / 10;

/** The epochs as an axis, logarithmic where rungs lie along it. */
function epochScale(longest, rungs) {
  if (longest === 1) return { ...linear([0.5, 1.5]), ticks: [{ at: 0.5, label: "1" }] };
  return rungs.length > 1 ? logarithmic([1, longest], [...new Set([longest, ...rungs.reverse(), 1])])
    : linear([1, longest]);
}

/** The curves of all metrics of a training, or of the chosen one by brackets; below, the learning rates. */
function drawCurves() {
  const box = document.getElementById("curve-plots");
  if (!box) return [];
  const select = document.getElementById("metric");
  box.replaceChildren();
  document.getElementById("cut").hidden = true;
  const longest = Math.max(1, ...TRIALS.map((trial) => trial.curves[0] ? trial.curves[0].length : 0));
  const x = epochScale(longest, DATA.rungs.filter((epochs) => epochs <= longest));
  const single = ["reward", ...DATA.metrics.filter((name) => !name.startsWith("train_")
    && !["reward", "lr", "seconds"].includes(name))];
  const shownNames = select ? [select.value] : single;
  const plots = shownNames.flatMap((name) => metricPlots(box, name, x));
  if (!shownNames.includes("lr")) plots.push(...ratePlot(box, x));
  return plots;
}

const curvesOf = (name) => {
  const metric = DATA.metrics.indexOf(name);
  return TRIALS.map((trial) => (metric < 0 ? null : trial.curves[metric]) || []);
};
const defined = (curves) => curves.flat().filter((value) => value !== null);

/** A panel a bracket; of a training one panel, with the metric of the training set beside. */
function metricPlots(box, name, x) {
  const curves = curvesOf(name);
  const beside = DATA.single ? curvesOf(name.replace(/^val_/, "train_")) : [];
  const values = [...defined(curves), ...(name.startsWith("val_") ? defined(beside) : [])];
  const range = name === "reward" && !DATA.single ? rewardRange() : limits(values);
  const y = scaleOf(name, values, range);
  if (values.some((value) => value < range[0] || value > range[1])) document.getElementById("cut").hidden = false;
  return DATA.brackets.map((bracket) => {
    const heading = DATA.single ? name.replace(/^val_/, "") : bracket.label;
    const extra = name.startsWith("val_") ? beside : [];
    return curvePlot(box, heading, bracket.bracket, curves, x, y, name, extra);
  });
}

/** Learning rates span decades, and have a logarithmic axis then. */
function scaleOf(name, values, range) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const logs = name === "lr" && low > 0 && high > 10 * low;
  return logs ? { ...logarithmic([low, high]), log: true } : linear(range);
}

/** The learning rates of all trials; nothing where none was stored, or the rates never change. */
function ratePlot(box, x) {
  const curves = curvesOf("lr");
  const values = defined(curves);
  const changes = curves.some((curve) => curve.some((value) => value !== null && value !== curve[0]));
  if (!values.length || !(changes || DATA.single)) return [];
  const y = scaleOf("lr", values, limits(values));
  return [curvePlot(box, "Learning rate", null, curves, x, y, "learning rate", [])];
}

/** A panel of the curves of a bracket, of null all brackets; `beside` has other curves to show with them. */
function curvePlot(box, heading, bracket, curves, x, y, name, beside) {
  const { svg, px, py } = panel(box, heading, x, y, 240, ["epoch", name]);
  const points = (curve) => curve.flatMap((v, k) => v === null ? []
    : [round(px(x.at(k + 1))), round(py(y.at(v)))]);
  for (const curve of beside) {
    if (curve.length > 1) drawn("path", { class: "chance", d: "M" + points(curve).join(" ") }, svg);
  }
  const spots = curves.map((curve, i) => {
    return bracket === null || TRIALS[i].bracket === bracket ? points(curve) : [];
  });
  const pieces = spots.map((points) => {
    if (points.length === 2) return `M${points[0] - 3} ${points[1]}h6`;
    return points.length ? "M" + points.join(" ") : "";
  });
  return new Plot(svg, pieces, spots, "line");
}

function drawScatter() {
  const box = document.getElementById("scatter-plots");
  if (!box) return [];
  box.replaceChildren();
  const reward = linear(rewardRange());
  const above = (share) => 0.1 + 0.9 * share; // the failed trials are below
  const y = { ticks: reward.ticks.map((tick) => ({ at: above(tick.at), label: tick.label })) };
  const failed = TRIALS.some((trial) => trial.error && trial.reward === null);
  if (failed) y.ticks.push({ at: 0, label: "failed" });
  const varying = DATA.columns.map((column, k) => k).filter((k) => DATA.columns[k].varies);
  return varying.map((k) => {
    const x = columnScale(k);
    const name = DATA.columns[k].name;
    const { svg, px, py } = panel(box, name, x, y, 210, ["", "reward"]);
    const spots = TRIALS.map((trial, i) => {
      const place = x.at(trial.values[k]);
      if (place === null || (trial.reward === null && !trial.error)) return [];
      const height = trial.reward === null ? 0 : above(reward.at(trial.reward));
      return [round(px(place + spread(i, x))), round(py(height))];
    });
    const pieces = spots.map((spot) => (spot.length ? `M${spot.join(" ")}h0` : ""));
    return new Plot(svg, pieces, spots, "dot");
  });
}

/** What the colours of trials say; the plots of the test set come with legends of their own. */
function makeLegends() {
  const labels = DATA.rungs.map((epochs) => `${epochs} epoch${epochs === 1 ? "" : "s"}`);
  for (const legend of document.querySelectorAll(".legend.of-epochs")) {
    labels.forEach((label, k) => {
      const item = element("li", { class: `level-${k % DATA.colours}` }, legend);
      item.textContent = label;
    });
  }
}
