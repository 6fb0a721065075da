"use strict";
// What all parts of the report share: the data, which trials are chosen, which one is pointed at, and scales.

const DATA = JSON.parse(document.getElementById("data").textContent);
const TRIALS = DATA.trials;
const state = { filters: new Map(), chosen: TRIALS.map(() => true), hot: null };
const views = []; // each has paint(), for what is chosen, and heat(), for what is pointed at

function setFilter(name, filter) {
  if (filter) state.filters.set(name, filter);
  else state.filters.delete(name);
  const filters = [...state.filters.values()];
  state.chosen = TRIALS.map((_, i) => filters.every((f) => f.at[i] >= f.low && f.at[i] <= f.high));
  soon(() => views.forEach((view) => view.paint()));
}

function clearFilters() {
  state.filters.clear();
  setFilter(null, null);
}

function setHot(trial) {
  if (trial === state.hot) return;
  state.hot = trial;
  views.forEach((view) => view.heat());
}

let waiting = null;
/** Do it before the next frame, in the place of what waited for it. */
function soon(work) {
  if (waiting === null) {
    requestAnimationFrame(() => {
      const last = waiting;
      waiting = null;
      last();
    });
  }
  waiting = work;
}

function element(tag, attributes, parent) {
  const node = document.createElement(tag);
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  if (parent) parent.append(node);
  return node;
}

function drawn(tag, attributes, parent, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

/** A number with four significant digits, a label as it is. */
function shown(value, digits = 4) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return value;
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return String(value).replace("-", "−");
  const text = size !== 0 && (size < 1e-3 || size >= 1e6)
    ? value.toExponential(digits - 1).replace(/\.?0*e\+?/, "e")
    : String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}

const CHARACTER = 6.4; // pixels of a character in a plot, about

/** The text, its end left out where it has no room. */
function fitting(text, room) {
  const most = Math.max(2, Math.floor(room / CHARACTER));
  return text.length > most ? text.slice(0, most - 1) + "…" : text;
}

/** Of ticks {at, label} those that do not touch an earlier one; `size(tick)` is the room it takes. */
function apart(ticks, length, size) {
  const kept = [];
  for (const tick of ticks) {
    if (kept.every((other) => Math.abs(other.at - tick.at) * length > (size(other) + size(tick)) / 2 + 4)) {
      kept.push(tick);
    }
  }
  return kept;
}

function quantile(sorted, share) {
  return sorted[Math.round(share * (sorted.length - 1))];
}

/** Limits of values: of all, but far-off ones, which would leave no room for the others. */
function limits(values) {
  const sorted = ascending(values);
  if (!sorted.length) return [0, 1];
  const [q1, q3] = [quantile(sorted, 0.25), quantile(sorted, 0.75)];
  const far = 3 * (q3 - q1) || Infinity;
  return widened(Math.max(sorted[0], q1 - far), Math.min(sorted.at(-1), q3 + far));
}

/** Limits of rewards: the better half of them has a quarter of the room at least. */
function rewardLimits(values) {
  const sorted = ascending(values);
  if (!sorted.length) return [0, 1];
  const high = sorted.at(-1);
  const far = 4 * (high - quantile(sorted, 0.5)) || Infinity;
  return widened(Math.max(sorted[0], high - far), high);
}

const ascending = (values) => Float64Array.from(values.filter((value) => value !== null)).sort();

function widened(low, high) {
  return low < high ? [low, high] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
}

/** A scale to 0…1: at(value), or null where there is none, and ticks {at, label}. */
function linear([low, high]) {
  const at = (v) => (v === null ? null : Math.min(1.02, Math.max(-0.02, (v - low) / (high - low))));
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-12); k++) {
    ticks.push({ at: at(k * step), label: shown(k * step, 6) });
  }
  return { at, ticks };
}

function logarithmic([low, high], values) {
  const at = (v) => (v === null ? null : Math.log(v / low) / Math.log(high / low));
  const decades = [];
  for (let k = Math.floor(Math.log10(low)); 10 ** k <= high * 10; k++) decades.push(k);
  const every = (n) => decades.map((k) => n * Number(`1e${k}`));
  const few = Math.log10(high / low) < 2 ? [...every(2), ...every(5)] : [];
  const marks = (values || [...every(1), ...few]).filter((v) => v >= low * 0.999 && v <= high * 1.001);
  return { at, log: true, ticks: marks.map((v) => ({ at: at(v), label: shown(v) })) };
}

function categorical(labels) {
  const places = new Map(labels.map((label, k) => [label, (k + 0.5) / labels.length]));
  const ticks = labels.map((label) => ({ at: places.get(label), label }));
  return { at: (v) => (v === null ? null : places.get(v)), ticks, band: 1 / labels.length };
}

/** How far to move a trial along a categorical scale, so that equal ones lie apart. */
const spread = (i, scale) => (scale.band ? (((i * 0.618) % 1) - 0.5) * scale.band * 0.6 : 0);

/** The scale of the hyperparameter in column `k`. */
function columnScale(k) {
  const column = DATA.columns[k];
  if (column.categories) return categorical(column.categories);
  const values = TRIALS.map((trial) => trial.values[k]).filter((value) => value !== null);
  const ends = [Math.min(...values), Math.max(...values)];
  const scale = column.log ? logarithmic(ends) : linear(ends[0] < ends[1] ? ends : limits(values));
  const distinct = [...new Set(values)];
  if (distinct.length <= 6) scale.ticks = distinct.map((v) => ({ at: scale.at(v), label: shown(v) }));
  return scale;
}

const rewardRange = () => rewardLimits(TRIALS.map((trial) => trial.reward));
