'use strict';
// The tokens of one sequence, layer and KV head under two policies, as squares.

const strips = data.strips;

// What the slider goes through: the replayed budgets, and where policies were decided again, more.
const steps = strips && strips.steps.length ? strips.steps : budgets;
const stepOf = (budget) => steps.indexOf(budgets[budget]);
// The place of the replayed budget nearest to a step, the lower of two.
const budgetNear = (step) => budgets.reduce((best, _, place) =>
  (Math.abs(stepOf(place) - step) < Math.abs(stepOf(best) - step) ? place : best), 0);

// For every token the first step at which a series keeps it, 63 for none; null where only its
// replayed budgets are known.
const firstAt = (() => {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const place = new Map([...digits].map((digit, i) => [digit, i]));
  const cache = new Map();
  return (sequence, head, series) => {
    const key = `${sequence},${head},${series}`;
    if (!cache.has(key)) {
      if (cache.size > 100) cache.clear();
      const first = strips.first[series];
      const text = first && first[sequence][head];
      cache.set(key, text ? Uint8Array.from(text, (digit) => place.get(digit)) : null);
    }
    return cache.get(key);
  };
})();

// What a series keeps: for every token 0 (never evicted) or the code of its eviction, or null.
const codesAt = (() => {
  const cache = new Map();
  return (sequence, head, cell) => {
    const key = `${sequence},${head},${cell}`;
    if (cache.has(key)) return cache.get(key);
    const first = firstAt(sequence, head, data.cells[cell].series);
    if (first) return keptAt(first, steps.indexOf(data.cells[cell].budget));
    const place = strips.cells.indexOf(cell);
    const text = place < 0 ? null : strips.codes[sequence][head][place];
    if (text == null) return null;
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const bits = strips.bits[place];
    const count = Math.min(strips.sequences[sequence].tokens, Math.floor(bytes.length * 8 / bits));
    const codes = new Uint8Array(count);
    for (let i = 0; i < count; ++i) codes[i] = (bytes[(i * bits) >> 3] >> ((i * bits) & 7)) & ((1 << bits) - 1);
    if (cache.size > 400) cache.clear();
    cache.set(key, codes);
    return codes;
  };
})();
const keptAt = (first, step) => first.map((one) => (one <= step ? 0 : 1));
// Evicted before the answer begins; codes from 13 on are of the answer's time.
const isGone = (code) => code > 0 && code < 13;

// Series with decisions in the page, and for each the budgets that were replayed.
const stripSeries = strips
  ? data.series.map((_, series) => series).filter((series) => cellsOf(series).some((cell) => strips.cells.includes(cell.index)))
  : [];
// Where a series lacks the chosen budget, `full` for example, its nearest cell stands for it.
function cellFor(series) {
  const exact = cellAt(series, chosen.budget);
  if (exact >= 0) return exact;
  const cells = cellsOf(series);
  return cells.length ? cells[0].index : -1;
}

// The page opens with the policies and the budget that its answer is about.
{
  const { best, rival } = data.answer || {};
  const shownSeries = strips ? stripSeries : data.series.map((_, series) => series);
  const seriesOf = (cell) => shownSeries.find((series) => cell != null && series === data.cells[cell].series);
  const named = (name) => shownSeries.find((series) => data.series[series] === name);
  const real = shownSeries.filter((series) => !/^(full|random|oracle)/.test(data.series[series]));
  chosen.a = seriesOf(best) ?? real[0] ?? shownSeries[0];
  chosen.b = [seriesOf(rival), named('oracle'), ...real, ...shownSeries].find((series) => series !== undefined && series !== chosen.a) ?? chosen.a;
  const asked = best == null ? -1 : budgets.indexOf(data.cells[best].budget);
  chosen.budget = asked < 0 ? Math.floor(budgets.length / 2) : asked;
  chosen.step = stepOf(chosen.budget);
}
if (strips) {
  const weight = ([layer, head]) => data.weight[layer * data.heads + head];
  strips.heads.forEach((place, head) => { if (weight(place) > weight(strips.heads[chosen.head])) chosen.head = head; });
}

if (!strips) {
  byId('strip-view').append(remark('Nothing to show: no decision file could be read.'));
} else {
  const cell = 10; // pixels of a token, its border included
  let cursor = 0;
  let needles = new Set();
  const readout = element('div', { className: 'readout', role: 'status', ariaLive: 'polite', id: 'strip-readout' });
  const canvases = ['a', 'b'].map((side) => ({
    side, title: element('h3', {}), canvas: element('canvas', { tabIndex: 0, id: `strip-${side}` }) }));

  const about = () => strips.sequences[chosen.sequence];
  const headName = () => { const [layer, head] = strips.heads[chosen.head]; return `layer ${layer}, KV head ${head}`; };
  const firstOf = (side) => firstAt(chosen.sequence, chosen.head, chosen[side]);
  const codes = (side) => {
    const first = firstOf(side);
    return first ? keptAt(first, chosen.step) : codesAt(chosen.sequence, chosen.head, cellFor(chosen[side]));
  };
  const length = () => about().tokens;
  const columns = () => Math.max(16, Math.floor(byId('strip-view').clientWidth / cell));

  // Eviction time, early to late, on a scale whose lightness alone tells it; evicted tokens are
  // smaller than kept ones, so that no colour has to tell the two apart.
  const timeColour = (code) => {
    const [early, late] = dark() ? [[255, 224, 60], [133, 96, 235]] : [[224, 172, 0], [59, 28, 140]];
    const share = Math.min(1, (code - 1) / 11);
    return `rgb(${early.map((part, i) => Math.round(part + (late[i] - part) * share)).join()})`;
  };

  // The first step that keeps the token, of those that are known; or their number.
  function firstStep(side, token) {
    const first = firstOf(side);
    if (first) return Math.min(steps.length, first[token]);
    for (let i = 0; i < budgets.length; ++i) {
      const at = cellAt(chosen[side], i);
      const found = at < 0 ? null : codesAt(chosen.sequence, chosen.head, at);
      if (found && !isGone(found[token])) return stepOf(i);
    }
    return steps.length;
  }
  function budgetColour(place, base) {
    return place >= steps.length ? ink('gone') : mix(base, ink('page'), 0.75 * place / steps.length);
  }
  function mix(from, to, share) {
    const parts = (hex) => [1, 3, 5].map((i) => parseInt((hex.length === 4 ? hex.replace(/[^#]/g, '$&$&') : hex).slice(i, i + 2), 16));
    const other = parts(to);
    return `rgb(${parts(from).map((part, i) => Math.round(part + (other[i] - part) * share)).join()})`;
  }

  const isTimed = (side) => chosen.colour === 'time' && strips.bits[strips.cells.indexOf(cellFor(chosen[side]))] > 1;
  function drawToken(context, x, y, side, found, token, base) {
    const small = isGone(found[token]) && isTimed(side) ? 2 : 0;
    if (chosen.colour === 'budget') context.fillStyle = budgetColour(firstStep(side, token), base);
    else if (!isGone(found[token])) context.fillStyle = base;
    else context.fillStyle = isTimed(side) ? timeColour(found[token]) : ink('gone');
    context.fillRect(x + 1 + small, y + 1 + small, cell - 2 - 2 * small, cell - 2 - 2 * small);
  }

  function drawStrip({ side, canvas, title }) {
    const at = data.cells[cellFor(chosen[side])];
    const found = codes(side);
    const wide = columns(), count = length();
    const isReplayed = steps[chosen.step] === budgets[chosen.budget];
    title.textContent = `${side.toUpperCase()}: ${data.series[chosen[side]]} at ` +
      (isReplayed || !firstOf(side) ? `${at.budget}${isReplayed ? '' : ', the nearest replayed'}${found ? `, holds ${percent(at.kept)}` : ''}` : steps[chosen.step]);
    const context = sized(canvas, wide * cell, Math.max(1, Math.ceil(count / wide)) * cell);
    if (!found) { title.textContent += ': not in this page'; return; }
    const base = ink(side === 'a' ? 'kept-a' : 'kept-b');
    for (let token = 0; token < Math.min(count, found.length); ++token)
      drawToken(context, (token % wide) * cell, Math.floor(token / wide) * cell, side, found, token, base);
    context.lineWidth = 2;
    context.strokeStyle = ink('needle');
    for (const token of needles) context.strokeRect((token % wide) * cell + 0.5, Math.floor(token / wide) * cell + 0.5, cell - 1, cell - 1);
    context.strokeStyle = ink('ink');
    context.lineWidth = 3;
    context.strokeRect((cursor % wide) * cell, Math.floor(cursor / wide) * cell, cell, cell);
    const kept = [...needles].filter((token) => !isGone(found[token])).length;
    canvas.dataset.kept = String(found.reduce((sum, code) => sum + (isGone(code) ? 0 : 1), 0));
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `${title.textContent}. ${headName()}. ${count} tokens; of the needle ${kept} of ${needles.size} kept. Arrow keys move.`);
  }

  const fate = (side) => {
    const found = codes(side);
    if (!found || found[cursor] === undefined) return '';
    return isGone(found[cursor]) ? 'evicted' : 'kept';
  };
  function describe() {
    const sequence = about();
    const first = Math.max(0, cursor - 8), last = Math.min(sequence.words.length, cursor + 9);
    const words = element('div', { className: 'word', dir: 'auto' });
    for (let token = first; token < last; ++token) {
      const word = element('bdi', {}, sequence.words[token]);
      if (token === cursor) word.className = 'here';
      words.append(word);
    }
    const part = needles.has(cursor) ? ', needle' : cursor >= sequence.prompt ? ', answer' : cursor >= sequence.context ? ', question' : '';
    readout.replaceChildren(element('div', {},
      `Token ${cursor}${part}. A: ${fate('a')}. B: ${fate('b')}. First kept at: A ${steps[firstStep('a', cursor)] || 'none'}, B ${steps[firstStep('b', cursor)] || 'none'}.`));
    if (words.childNodes.length) readout.append(words);
  }

  function drawAll() {
    needles = new Set();
    for (const [begin, end] of about().needles || []) for (let token = begin; token < end; ++token) needles.add(token);
    cursor = Math.min(cursor, Math.max(0, length() - 1));
    canvases.forEach(drawStrip);
    describe();
    fillNeedleTable();
  }

  const needleTable = element('div', {});
  function fillNeedleTable() {
    const a = codes('a'), b = codes('b');
    const state = (found, token) => (!found ? '' : isGone(found[token]) ? 'lost' : 'kept');
    needleTable.replaceChildren(table(['token', 'text', 'A', 'B'],
      [...needles].map((token) => [String(token), about().words[token] || '', state(a, token), state(b, token)]),
      `Needle tokens of sequence ${about().name}, ${headName()}`));
  }

  function move(to) {
    const count = length();
    if (count === 0) return;
    cursor = Math.min(count - 1, Math.max(0, to));
    canvases.forEach(drawStrip);
    describe();
  }
  const nextNeedle = (step) => {
    const ordered = [...needles].sort((x, y) => x - y);
    const next = step > 0 ? ordered.find((token) => token > cursor) : ordered.reverse().find((token) => token < cursor);
    return next ?? ordered[0] ?? cursor;
  };

  for (const { canvas } of canvases) {
    const tokenAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const wide = columns();
      const column = Math.min(wide - 1, Math.floor((event.clientX - box.left) * (wide * cell / box.width) / cell));
      return Math.floor((event.clientY - box.top) / cell) * wide + column;
    };
    canvas.addEventListener('pointermove', (event) => { const token = tokenAt(event); if (token !== cursor && token < length()) move(token); });
    canvas.addEventListener('pointerdown', (event) => move(tokenAt(event)));
    canvas.addEventListener('keydown', (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns(), Home: -cursor, End: length() };
      if (event.key in steps) move(cursor + steps[event.key]);
      else if (event.key === 'n' || event.key === 'N') move(nextNeedle(event.key === 'n' ? 1 : -1));
      else return;
      event.preventDefault();
    });
  }

  const controls = byId('strip-controls');
  const series = stripSeries.map((one) => [one, data.series[one]]);
  const slider = element('input', { type: 'range', min: 0, max: steps.length - 1, step: 1, value: chosen.step, id: 'budget' });
  slider.setAttribute('list', 'replayed');
  const sliderName = element('span', {});
  slider.oninput = () => {
    const step = Number(slider.value), budget = budgetNear(step);
    choose(budget === chosen.budget ? { step } : { step, budget });
  };
  const selects = {
    a: selector('A', series, chosen.a, (value) => choose({ a: Number(value) })),
    b: selector('B', series, chosen.b, (value) => choose({ b: Number(value) })),
    sequence: selector('sequence', strips.sequences.map((one, i) => [i, `${one.name} ${data.tasks[one.task]}`]), chosen.sequence, (value) => choose({ sequence: Number(value) })),
    head: selector('layer and KV head', strips.heads.map(([layer, head], i) => [i, `layer ${layer}, head ${head}`]), chosen.head, (value) => choose({ head: Number(value) })),
    colour: selector('colour', [['time', 'kept; when evicted'], ['budget', 'smallest budget that keeps it']], chosen.colour, (value) => choose({ colour: value })),
  };
  controls.append(...Object.values(selects), element('label', {}, sliderName, slider),
    element('datalist', { id: 'replayed' }, ...budgets.map((_, place) => element('option', { value: stepOf(place) }))));
  function fillControls() {
    const isReplayed = steps[chosen.step] === budgets[chosen.budget];
    sliderName.textContent = `budget: ${steps[chosen.step]}${isReplayed ? '' : ` (near ${budgets[chosen.budget]})`}`;
    slider.value = String(chosen.step);
    slider.setAttribute('aria-valuetext', steps[chosen.step]);
    for (const [name, label] of Object.entries(selects)) label.lastChild.value = String(chosen[name]);
  }

  const swatch = (colour, text, outline, size = 12) => {
    const canvas = element('canvas', {});
    const context = sized(canvas, 14, 14);
    if (colour) { context.fillStyle = colour; context.fillRect(7 - size / 2, 7 - size / 2, size, size); }
    if (outline) { context.strokeStyle = outline; context.lineWidth = 2; context.strokeRect(1, 1, 12, 12); }
    return element('span', {}, canvas, text);
  };
  const key = element('div', { className: 'key' });
  function fillKey() {
    const timed = ['a', 'b'].map(isTimed);
    key.replaceChildren(swatch(ink('kept-a'), 'kept by A'), swatch(ink('kept-b'), 'kept by B'), swatch('', 'needle', ink('needle')));
    if (timed.includes(false)) key.append(swatch(ink('gone'), 'evicted'));
    if (timed.includes(true)) key.append(swatch(timeColour(1), 'evicted early', '', 7), swatch(timeColour(12), 'evicted late, at the end of the prompt', '', 7));
    if (chosen.colour === 'budget') key.append(element('span', {}, 'the paler, the larger the budget it takes to stay'));
  }

  byId('strip-view').append(key, readout,
    ...canvases.map(({ title, canvas }) => element('div', { className: 'strip' }, title, canvas)),
    folded('Needle tokens as a table', needleTable));
  whenChosen(() => { fillControls(); fillKey(); drawAll(); });
  drawn(() => { fillControls(); fillKey(); drawAll(); });
  cursor = nextNeedle(1);
  drawAll();
}
