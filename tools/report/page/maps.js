'use strict';
// Heat maps of layers and KV heads, and the keep profile by position.

// Dark to light, evenly in lightness, told apart by all eyes (after Nuñez, Anderton and Renslow, cividis).
const ramp = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
function rampColour(share) {
  const at = Math.min(1, Math.max(0, share)) * (ramp.length - 1);
  const low = Math.min(ramp.length - 2, Math.floor(at));
  const parts = ramp[low].map((part, i) => Math.round(part + (ramp[low + 1][i] - part) * (at - low)));
  return { fill: `rgb(${parts.join()})`, text: share > 0.5 ? '#111' : '#fff' };
}

{
  const damages = data.analysis.damage || [];
  const damageNames = { error: 'output error, median', question: 'output error of the question', answer: 'output error of the answer', single: 'worst single eviction' };
  const figures = {
    weighted: ['needle recall', (cell) => cell.heads.weighted],
    jaccard: ['redundancy: Jaccard of kept sets with the other heads of the layer', (cell, index) => data.analysis.heads && data.analysis.heads[index] && data.analysis.heads[index].jaccard],
    damage: ['damage', (cell, index) => (chosen.damage === 'error' ? cell.heads.error : (damages[index] || {})[chosen.damage])],
    mass: ['attention mass kept', (cell) => cell.heads.mass],
  };
  const places = data.layers * data.heads;

  // The values of a map as tables of at most twelve heads, which fit on paper.
  function valueTables(caption, values, digits) {
    const most = 12, tables = [];
    for (let first = 0; first < data.heads; first += most) {
      const heads = [...Array(Math.min(most, data.heads - first)).keys()].map((head) => first + head);
      tables.push(table(['layer', ...heads.map((head) => `head ${head}`)],
        [...Array(data.layers).keys()].map((layer) => [String(layer), ...heads.map((head) => decimal(values[layer * data.heads + head], digits))]), caption));
    }
    return tables;
  }

  // One map: `values` by layer and head; `top` is the value of the lightest colour.
  function heatMap(caption, values, top, id, digits = 2) {
    const canvas = element('canvas', { tabIndex: 0, id });
    const text = element('figcaption', {}, caption);
    const value = element('div', { className: 'small', role: 'status' });
    let cursor = 0;
    const left = 30, above = 18;
    let cell = 20;
    const name = (at) => `layer ${Math.floor(at / data.heads)}, head ${at % data.heads}`;
    function draw() {
      const wide = Math.min(420, canvas.parentElement.clientWidth || 300);
      cell = Math.max(6, Math.min(38, Math.floor((wide - left) / data.heads)));
      const context = sized(canvas, left + cell * data.heads, above + cell * data.layers);
      context.font = `${Math.min(11, cell)}px system-ui, sans-serif`;
      context.textAlign = 'center';
      context.textBaseline = 'middle';
      for (let at = 0; at < places; ++at) {
        const x = left + (at % data.heads) * cell, y = above + Math.floor(at / data.heads) * cell;
        const { fill, text: on } = values[at] == null ? { fill: ink('gone'), text: ink('soft') } : rampColour(values[at] / top);
        context.fillStyle = fill;
        context.fillRect(x, y, cell - 1, cell - 1);
        if (cell < 28) continue;
        context.fillStyle = on;
        context.fillText(values[at] == null ? '–' : decimal(values[at], digits), x + cell / 2, y + cell / 2);
      }
      context.fillStyle = ink('soft');
      const step = Math.ceil(12 / cell);
      for (let head = 0; head < data.heads; head += step) context.fillText(head, left + head * cell + cell / 2, above / 2);
      for (let layer = 0; layer < data.layers; layer += step) context.fillText(layer, left / 2, above + layer * cell + cell / 2);
      const current = strips ? strips.heads[chosen.head] : null;
      const outline = (at, colour, width) => {
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.strokeRect(left + (at % data.heads) * cell, above + Math.floor(at / data.heads) * cell, cell - 1, cell - 1);
      };
      if (current) outline(current[0] * data.heads + current[1], ink('needle'), 3);
      if (document.activeElement === canvas) outline(cursor, ink('ink'), 3);
    }
    const say = () => { value.textContent = `${name(cursor)}: ${decimal(values[cursor], 4) || 'none'}`; };
    function pick() {
      const head = strips ? strips.heads.findIndex(([layer, one]) => layer * data.heads + one === cursor) : -1;
      if (head < 0) { value.textContent = `${name(cursor)}: its tokens are not in this page`; return; }
      choose({ head });
      byId('tokens').scrollIntoView();
      byId('strip-a').focus({ preventScroll: true });
    }
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      const head = Math.floor((event.clientX - box.left - left) / cell), layer = Math.floor((event.clientY - box.top - above) / cell);
      return head < 0 || layer < 0 || head >= data.heads || layer >= data.layers ? -1 : layer * data.heads + head;
    };
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `${caption}. Arrow keys move, Enter shows the head's tokens.`);
    canvas.addEventListener('pointermove', (event) => { if (at(event) >= 0) { cursor = at(event); say(); } });
    canvas.addEventListener('click', (event) => { if (at(event) >= 0) { cursor = at(event); pick(); } });
    canvas.addEventListener('focus', () => { say(); draw(); });
    canvas.addEventListener('blur', draw);
    canvas.addEventListener('keydown', (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -data.heads, ArrowDown: data.heads };
      if (event.key === 'Enter' || event.key === ' ') pick();
      else if (event.key in steps) {
        const next = cursor + steps[event.key];
        if (next >= 0 && next < places) cursor = next;
        say();
        draw();
      } else return;
      event.preventDefault();
    });
    const asTable = foldedAs(id, 'As a table', ...valueTables(caption, values, digits));
    const figure = element('figure', {}, text, canvas, value, asTable);
    return { figure, draw, id };
  }

  let maps = [];
  const largest = (lists) => Math.max(1e-9, ...lists.flat().filter((one) => one != null));
  function build() {
    const view = byId('map-view');
    maps = [];
    if (data.weight.some((one) => one > 0))
      maps.push(heatMap('who reads the needle: probability the answer gives it', data.weight, largest([data.weight]), 'map-weight'));
    for (const [figure, [label, valuesOf]] of Object.entries(figures)) {
      const sides = ['a', 'b'].map((side) => ({ side, index: cellFor(chosen[side]) })).filter(({ index }) => index >= 0)
        .map(({ side, index }) => ({ side, index, values: valuesOf(data.cells[index], index) }))
        .filter(({ values }) => values && values.some((one) => one != null));
      const name = figure === 'damage' ? `damage: ${damageNames[chosen.damage]}` : label;
      const top = figure === 'damage' ? largest(sides.map(({ values }) => values)) : 1;
      for (const { side, index, values } of sides)
        maps.push(heatMap(`${name}, ${side.toUpperCase()}: ${data.series[chosen[side]]} at ${data.cells[index].budget}`, values, top, `map-${figure}-${side}`, figure === 'damage' && top < 0.1 ? 3 : 2));
    }
    // The map that is of no policy, and the table beside it, come first; then A stands beside B.
    const alone = maps.filter(({ id }) => id === 'map-weight').map(({ figure }) => figure);
    const effective = effectiveTable();
    if (effective) {
      effective.className = alone.length ? 'rest' : 'wide';
      alone.push(effective);
    } else {
      alone.forEach((figure) => { figure.className = 'wide'; });
    }
    view.classList.toggle('few', data.heads <= 4);
    view.replaceChildren(...alone, ...maps.filter(({ id }) => id !== 'map-weight').map(({ figure }) => figure));
    if (!data.analysis.heads) view.append(remark('Redundancy is missing: kvtape analyze writes heads.csv.'));
    if (!data.analysis.damage) view.append(remark('Damage to question and answer alone is missing: kvtape analyze writes damage.csv.'));
    maps.forEach(({ draw }) => draw());
  }

  function effectiveTable() {
    const index = cellFor(chosen.a);
    const one = data.analysis.heads && data.analysis.heads[index];
    if (!one) return null;
    return element('figure', {}, table(['layer', 'by kept sets', 'by keys', 'by values'],
      one.effective.map((row, layer) => [String(layer), ...(row || [null, null, null]).map((value) => decimal(value))]),
      `Effective heads of ${data.heads}: A, ${data.series[chosen.a]} at ${data.cells[index].budget}`));
  }

  if (data.analysis.damage)
    byId('map-controls').append(selector('damage', Object.entries(damageNames), chosen.damage, (damage) => choose({ damage })));
  byId('map-controls').append(remark('A, B and the budget are those chosen above. Outlined: the head shown there. Bright is much, dark is little.'));
  whenChosen((changes) => { if (!('step' in changes) || 'budget' in changes) build(); });
  drawn(build);
}

{
  const bins = 20;
  const tokensOf = (sequence, codes) => strips.sequences[sequence].context || codes.length;

  // From bias.csv, or else counted over the heads and sequences of the strips.
  function profileOf(index) {
    const bias = data.analysis.bias && data.analysis.bias[index];
    if (bias) return bias.profile;
    if (!strips || !strips.cells.includes(index)) return null;
    const kept = Array(bins).fill(0), all = Array(bins).fill(0);
    strips.sequences.forEach((_, sequence) => strips.heads.forEach((_, head) => {
      const codes = codesAt(sequence, head, index);
      if (!codes) return;
      const count = tokensOf(sequence, codes);
      for (let token = 0; token < count; ++token) {
        const bin = Math.floor(token * bins / count);
        all[bin] += 1;
        kept[bin] += isGone(codes[token]) ? 0 : 1;
      }
    }));
    return kept.map((count, bin) => (all[bin] ? count / all[bin] : null));
  }

  let chart = null;
  const view = byId('profile-view');
  const plot = element('div', { className: 'plot' });
  const below = element('div', {});
  view.append(plot, below);

  function draw() {
    const sides = [['A', chosen.a, 'kept-a', []], ['B', chosen.b, 'kept-b', [7, 3]]];
    const oracle = data.series.indexOf('oracle');
    if (oracle >= 0 && oracle !== chosen.a && oracle !== chosen.b) sides.push(['oracle', oracle, 'soft', [2, 3]]);
    const lines = sides.map(([label, series, colour, dash]) => {
      const index = cellFor(series);
      return { label: `${label === 'oracle' ? '' : label + ': '}${data.series[series]}${index >= 0 ? ' at ' + data.cells[index].budget : ''}`, index, colour, dash, profile: index >= 0 ? profileOf(index) : null };
    }).filter(({ profile }) => profile);
    if (chart) chart.destroy();
    chart = null;
    plot.replaceChildren();
    below.replaceChildren();
    if (lines.length === 0) { below.append(remark('Nothing to show: neither bias.csv nor decisions are there.')); return; }
    const xs = [...Array(bins).keys()].map((bin) => (bin + 0.5) / bins);
    const axis = (more) => ({ stroke: ink('soft'), grid: { stroke: ink('line'), width: 1 }, ticks: { stroke: ink('line') }, ...more });
    chart = new uPlot({
      width: plot.clientWidth || 320, height: 300, cursor: { show: false }, legend: { show: false },
      scales: { x: { time: false, range: [0, 1] }, y: { range: (_, low, high) => [0, Math.min(1.03, high * 1.1 || 1)] } },
      axes: [axis({ label: 'position in the context', labelSize: 22, values: (_, splits) => splits.map(percent) }),
        axis({ label: 'share of tokens kept', labelSize: 22, size: 50 })],
      series: [{}, ...lines.map(({ label, colour, dash }) => ({ label, stroke: ink(colour), width: 2, dash, points: { show: true, size: 5, fill: ink(colour) } }))],
    }, [xs, ...lines.map(({ profile }) => profile)], plot);
    const canvas = plot.querySelector('canvas');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', 'Share of tokens kept by position; the table below says the same');
    const key = element('div', { className: 'key' }, ...lines.map(({ label, colour, dash }) => {
      const swatch = element('canvas', {});
      const context = sized(swatch, 34, 10);
      context.strokeStyle = ink(colour);
      context.lineWidth = 2;
      context.setLineDash(dash);
      context.beginPath();
      context.moveTo(0, 5);
      context.lineTo(34, 5);
      context.stroke();
      return element('span', {}, swatch, label);
    }));
    below.append(key);
    below.append(remark(data.analysis.bias ? 'Over all sequences, layers and heads; where scores were stored, tokens that a rule keeps are left out.'
      : `Over the ${strips.sequences.length} sequences and ${strips.heads.length} heads of this page, tokens kept by rule included. kvtape analyze counts them all.`));
    if (data.analysis.bias) {
      const rows = lines.filter(({ index }) => data.analysis.bias[index]).map(({ label, index }) => {
        const { correlation, slope, distance, error } = data.analysis.bias[index];
        return [label, withBounds(correlation[0] == null ? null : correlation), withBounds(slope[0] == null ? null : slope), withBounds(distance[0] == null ? null : distance), error];
      });
      below.append(table(['policy', 'score ~ position', 'slope of kept share', 'distance from the oracle', ''], rows, 'Bias by position, mean and 95 % interval'));
    }
    below.append(foldedAs('profile', 'The profile as a table', table(['position', ...lines.map(({ label }) => label)],
      xs.map((_, bin) => [`${5 * bin} to ${5 * bin + 5} %`, ...lines.map(({ profile }) => decimal(profile[bin]))]), 'Share of tokens kept by position')));
  }
  whenChosen((changes) => { if (!('step' in changes) || 'budget' in changes) draw(); });
  drawn(draw);
}
