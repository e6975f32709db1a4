'use strict';
// What the other scripts share: the data, what is chosen, small helpers. Text of a file reaches the
// page through textContent alone.

const data = JSON.parse(document.getElementById('data').textContent);

const byId = (id) => document.getElementById(id);

// An element with properties, and children that are elements or text.
function element(name, properties, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const decimal = (number, digits = 2) => (number == null ? '' : number.toFixed(digits).replace(/^-(?=[0.]*$)/, ''));
const percent = (ratio) => `${(100 * ratio).toFixed(ratio < 0.0995 ? 1 : 0)} %`;
const withBounds = (mean) =>
  mean == null ? '' : mean[1] == null ? decimal(mean[0]) : `${decimal(mean[0])} [${decimal(mean[1])},\u00a0${decimal(mean[2])}]`;

// Sixteen colours, the first of them of Okabe and Ito, chosen to be told apart by eyes that lack one
// kind of cone too. No two of 48 series have both dash and mark alike, so none needs its colour.
const lightColours = ['#0072b2', '#d55e00', '#009e73', '#24292f', '#1e2d96', '#873c00', '#a578ff', '#694b78',
  '#004bc3', '#690069', '#875a5a', '#4b3c3c', '#c378c3', '#965ae1', '#b44b1e', '#780f00'];
const darkColours = ['#56b4e9', '#ff8c3a', '#e6edf3', '#c31e3c', '#874bd2', '#87ff87', '#d26900', '#9678ff',
  '#0f7878', '#d2c3b4', '#3c9687', '#96d2ff', '#a569c3', '#c3a587', '#f0c300', '#69a5b4'];
const dashes = [[], [7, 3], [2, 3], [9, 3, 2, 3], [14, 4], [5, 2, 2, 2, 2, 2]];
const marks = ['circle', 'square', 'triangle', 'diamond', 'ring', 'plus', 'down', 'cross'];

let printing = false;
const dark = () => !printing && matchMedia('(prefers-color-scheme: dark)').matches;
const colourOf = (series) => (dark() ? darkColours : lightColours)[series % lightColours.length];
const dashOf = (series) => dashes[(series + 5 * Math.floor(series / marks.length)) % dashes.length];
const markOf = (series) => marks[series % marks.length];
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// What is chosen, for all sections. Budgets are places in the list of a series' cells.
const chosen = { metric: 'weighted', task: -1, sequence: 0, head: 0, a: 0, b: 0, budget: 0, step: 0, colour: 'time', damage: 'error' };
const listeners = [];
const whenChosen = (listener) => listeners.push(listener);
function choose(changes) {
  Object.assign(chosen, changes);
  for (const listener of listeners) listener(changes);
}

const metrics = {
  weighted: 'needle recall, weighted by who reads it',
  recall: 'needle recall, all heads alike',
  mass: 'attention mass kept',
  error: 'output error, median',
};

// Cells of a series, the smallest first.
const cellsOf = (series) =>
  data.cells.map((cell, index) => ({ ...cell, index })).filter((cell) => cell.series === series)
    .sort((a, b) => a.kept - b.kept || a.index - b.index);
// What a row of a table is about, by the name in the legend.
const nameOf = (row) => {
  const cell = data.cells.find((one) => one.policy === row.policy && one.schedule === row.schedule && one.source === row.query_source);
  return cell ? data.series[cell.series] : row.policy;
};
const meanOf = (cell, metric, task) => (task < 0 ? cell.all : cell.tasks[task])[metric];

// The budgets of the directory in the order of what they keep on average, and the cell of each.
const budgets = (() => {
  const sums = new Map();
  for (const cell of data.cells) {
    if (cell.policy === 'full') continue;
    const [sum, count] = sums.get(cell.budget) || [0, 0];
    sums.set(cell.budget, [sum + cell.kept, count + 1]);
  }
  if (sums.size === 0) for (const cell of data.cells) sums.set(cell.budget, [cell.kept, 1]);
  return [...sums].sort((x, y) => x[1][0] / x[1][1] - y[1][0] / y[1][1]).map(([budget]) => budget);
})();
const cellAt = (series, budget) =>
  data.cells.findIndex((cell) => cell.series === series && cell.budget === budgets[budget]);

// A name as a list of choices can show it. Policies that differ in one parameter differ at the end.
const shortened = (text) => {
  const characters = [...text];
  return characters.length <= 100 ? text : `${characters.slice(0, 60).join('')}…${characters.slice(-38).join('')}`;
};

// A labelled choice. `options` are [value, text] pairs.
function selector(label, options, value, changed) {
  const select = element('select', { onchange: () => changed(select.value) });
  for (const [key, text] of options) select.append(element('option', { value: String(key), title: text === shortened(text) ? '' : text }, shortened(text)));
  select.value = String(value);
  return element('label', {}, label, select);
}

// Rows as a table; the first cell of each is its head. Cells are text, or [text, onclick].
function table(columns, rows, caption) {
  const cell = (name, text, properties) => element(name, { ...properties, className: String(text).length > 40 ? 'long' : '' }, text);
  const head = element('tr', {}, ...columns.map((column) => cell('th', column, { scope: 'col' })));
  const body = element('tbody', {}, ...rows.map((row) => element('tr', {},
    ...row.map((text, i) => (i === 0 ? cell('th', text, { scope: 'row' }) : cell('td', text))))));
  const made = element('table', {}, element('thead', {}, head), body);
  if (caption) made.prepend(element('caption', {}, caption));
  const box = element('div', { className: 'scroll', tabIndex: 0, role: 'region', ariaLabel: caption || columns[0] }, made);
  watchWidth(box);
  return box;
}

const folded = (summary, ...children) =>
  element('details', {}, element('summary', {}, summary), ...children);
// The same for what is made anew with every choice: what was opened under this key stays open.
const unfolded = new Set();
function foldedAs(key, summary, ...children) {
  const details = folded(summary, ...children);
  details.open = printing || unfolded.has(key);
  details.ontoggle = () => {
    if (printing || !details.isConnected) return;
    if (details.open) unfolded.add(key);
    else unfolded.delete(key);
  };
  return details;
}
const remark = (text) => element('p', { className: 'small' }, text);

// Says of every table that is wider than its box that it scrolls.
const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const box = target.closest('.scroll');
    box.classList.toggle('wide', box.scrollWidth > box.clientWidth + 1);
  }
});
function watchWidth(box) {
  widths.observe(box);
  widths.observe(box.querySelector('table'));
}

// A canvas of so many CSS pixels, sharp on any screen; returns its drawing context.
function sized(canvas, width, height) {
  const scale = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d');
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// Draws now, and again when width, colours or the medium change.
const drawings = [];
function drawn(draw) {
  drawings.push(draw);
  draw();
}
const redraw = () => drawings.forEach((draw) => draw());
{
  let width = document.documentElement.clientWidth;
  window.addEventListener('resize', () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    redraw();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  // Paper is white and narrow, and canvases have to be drawn for it before it is laid out. Nobody
  // can unfold anything on it.
  let opened = [];
  const print = (on) => {
    printing = on;
    document.documentElement.classList.toggle('printing', on);
    redraw();
    if (on) opened = [...document.querySelectorAll('details:not([open])')];
    for (const details of opened) details.open = on;
  };
  window.addEventListener('beforeprint', () => print(true));
  window.addEventListener('afterprint', () => print(false));
}
