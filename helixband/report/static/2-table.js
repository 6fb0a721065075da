"use strict";
// The table of all trials, and the line at the foot of the window.

function makeTable() {
  const box = document.getElementById("table");
  const columns = tableColumns();
  const table = element("table", {}, box);
  element("caption", {}, table).textContent = "All trials. A click on a heading sorts.";
  const head = element("tr", {}, element("thead", {}, table));
  const body = element("tbody", {}, table);
  const rows = TRIALS.map((trial, i) => tableRow(trial, i, columns, body));
  columns.forEach((column) => {
    column.cell = element("th", { scope: "col", class: column.text ? "" : "number" }, head);
    const button = element("button", { type: "button" }, column.cell);
    button.textContent = column.name;
    button.addEventListener("click", () => sortTable(columns, column, rows, body));
  });
  sortTable(columns, columns.find((column) => column.name === "reward"), rows, body);
  box.style.minHeight = `${box.offsetHeight}px`; // so that nothing moves when rows are hidden
  followTable(box, rows, body);
}

function tableColumns() {
  const places = new Map(TRIALS.map((trial, i) => [trial.id, i]));
  const own = [
    { name: "trial", text: true, value: (trial) => trial.id, rank: (id) => places.get(id) },
    { name: "reward", value: (trial) => trial.reward, digits: 5, down: true },
    { name: "epochs", value: (trial) => trial.epochs, down: true },
    { name: "best epoch", value: (trial) => trial.best },
  ];
  if (DATA.rungs.length) own.splice(2, 0, { name: "rung", value: (trial) => trial.rung, down: true });
  if (DATA.brackets.length > 1) own.push({ name: "bracket", value: (trial) => trial.bracket + 1 });
  if (TRIALS.some((trial) => trial.round)) own.push({ name: "round", value: (trial) => trial.round + 1 });
  const last = DATA.scores.map((name, k) => ({ name, value: (trial) => trial.scores[k] }));
  if (TRIALS.some((trial) => trial.seconds !== null)) {
    last.push({ name: "duration", value: (trial) => trial.seconds, write: duration });
  }
  if (TRIALS.some((trial) => trial.written)) {
    last.push({ name: "last epoch (UTC)", text: true, value: (trial) => trial.written, write: minute });
  }
  const configured = DATA.columns.map((column, k) => {
    const order = column.categories && new Map(column.categories.map((label, place) => [label, place]));
    const rank = order && ((value) => order.get(value));
    return { name: column.name, text: !!order, rank, value: (trial) => trial.values[k] };
  });
  const failed = TRIALS.some((trial) => trial.error);
  const error = failed ? [{ name: "error", text: true, value: (trial) => trial.error }] : [];
  return [...own, ...configured, ...last, ...error];
}

/** Seconds as hours, minutes and seconds. */
function duration(seconds) {
  if (seconds < 59.5) return `${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const [minutes, hours] = [Math.round(seconds / 60), Math.floor(Math.round(seconds / 60) / 60)];
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

/** A time in ISO 8601 to the minute, as it is read. */
const minute = (written) => written.slice(0, 16).replace("T", " ");

function tableRow(trial, i, columns, body) {
  const row = element("tr", { "data-trial": i }, body);
  columns.forEach((column, k) => {
    const value = column.value(trial);
    const cell = element(k ? "td" : "th", k ? {} : { scope: "row" }, row);
    if (!column.text) cell.className = "number";
    cell.textContent = column.write && value !== null ? column.write(value) : shown(value, column.digits);
    if (value !== null && (!column.text || cell.textContent.length > 30)) cell.title = value;
  });
  if (trial.id === DATA.best) row.classList.add("best");
  return row;
}

/** Sort by a column, the other way round where it is sorted by it already; what is missing comes last. */
function sortTable(columns, column, rows, body) {
  const sorted = column.cell.getAttribute("aria-sort");
  const down = sorted ? sorted === "ascending" : !!column.down;
  columns.forEach((other) => other.cell.removeAttribute("aria-sort"));
  column.cell.setAttribute("aria-sort", down ? "descending" : "ascending");
  const keys = TRIALS.map((trial) => {
    const value = column.value(trial);
    return value === null ? null : column.rank ? column.rank(value) : value;
  });
  const order = TRIALS.map((_, i) => i).sort((a, b) => {
    if (keys[a] === keys[b]) return a - b;
    if (keys[a] === null || keys[b] === null) return keys[a] === null ? 1 : -1;
    return keys[a] < keys[b] === down ? 1 : -1;
  });
  body.append(...order.map((i) => rows[i]));
}

/** Let what is wider than its box fade towards the side on which there is more. */
function showMore(box) {
  const show = () => {
    box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  };
  box.addEventListener("scroll", show, { passive: true });
  new ResizeObserver(show).observe(box);
  show();
}

/** Point at trials in the table, by pointer or the arrow keys; hide those that are not chosen. */
function followTable(box, rows, body) {
  body.addEventListener("pointerover", (event) => {
    const row = event.target.closest("tr");
    if (row) setHot(Number(row.dataset.trial));
  });
  body.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && setHot(null));
  box.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.target !== box || !step) return;
    event.preventDefault();
    const seen = [...body.rows].filter((row) => !row.hidden);
    const place = state.hot === null ? -1 : seen.indexOf(rows[state.hot]);
    const row = seen[Math.min(seen.length - 1, Math.max(0, place + step))];
    if (!row) return;
    setHot(Number(row.dataset.trial));
    row.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  let hot = null;
  views.push({
    paint: () => rows.forEach((row, i) => row.hidden = !state.chosen[i]),
    heat: () => {
      if (hot) hot.classList.remove("hot");
      hot = state.hot === null ? null : rows[state.hot];
      if (hot) hot.classList.add("hot");
    },
  });
}

/** The foot tells of the trial that is pointed at, and how many are chosen. */
function makeFoot() {
  const [foot, count, hot] = ["foot", "count", "hot"].map((id) => document.getElementById(id));
  const clear = document.getElementById("clear");
  clear.addEventListener("click", clearFilters);
  const show = () => foot.classList.toggle("on", state.hot !== null || state.filters.size > 0);
  views.push({
    paint: () => {
      const chosen = state.chosen.filter(Boolean).length;
      count.textContent = state.filters.size ? `${chosen} of ${TRIALS.length} trials chosen` : "";
      clear.hidden = !state.filters.size;
      show();
    },
    heat: () => {
      hot.textContent = state.hot === null ? "" : told(TRIALS[state.hot]);
      show();
    },
  });
}

function told(trial) {
  const values = DATA.columns.map((column, k) => [column.name, trial.values[k]]);
  const has = values.filter(([, value]) => value !== null).map(([name, value]) => `${name} ${shown(value)}`);
  const reward = trial.reward === null ? "no reward" : `reward ${shown(trial.reward, 5)}`;
  const failed = trial.error ? [`failed: ${trial.error}`] : [];
  const epochs = `${trial.epochs} epoch${trial.epochs === 1 ? "" : "s"}`;
  return [`Trial ${trial.id}`, reward, epochs, ...failed, ...has].join(" · ");
}
