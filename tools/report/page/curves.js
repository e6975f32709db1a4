'use strict';
// Recall, or another figure, against what is really held: a line and a mark for every series.

{
  const hidden = new Set();
  let pointed = null;  // the series whose name is pointed at, or has the focus
  const plotted = byId('curve-plot');
  let chart = null;

  const hasMetric = (metric) => data.cells.some((cell) => cell.all[metric]);
  const options = Object.keys(metrics).filter(hasMetric).map((metric) => [metric, metrics[metric]]);
  if (data.accuracy) options.push(['accuracy', 'right answers of the running model']);
  if (options.length && !options.some(([metric]) => metric === chosen.metric)) chosen.metric = options[0][0];

  // Points [kept, mean, low, high] of a series that were replayed, or answered live.
  function pointsOf(series) {
    const points = [];
    for (const cell of cellsOf(series)) {
      let mean = null;
      if (chosen.metric === 'accuracy') {
        const live = data.accuracy.find((one) =>
          one.policy === cell.policy && one.schedule === cell.schedule &&
          (cell.policy === 'full' || (one.budget === cell.budget && one.source === cell.source)));
        if (live) mean = chosen.task < 0 ? live.all : live.tasks[chosen.task];
      } else {
        mean = meanOf(cell, chosen.metric, chosen.task);
      }
      if (mean) points.push([cell.kept, ...mean]);
    }
    return points;
  }

  // The line of a series: the exact curve where there is one, else through its points.
  function lineOf(series) {
    const curves = data.curves && data.curves[series];
    const curve = curves && curves[chosen.task < 0 ? '' : data.tasks[chosen.task]];
    if (!curve || !curve[chosen.metric]) return pointsOf(series).map(([x, y]) => [x, y]);
    return curve.kept.map((x, i) => [x, curve[chosen.metric][i]]).filter(([, y]) => y != null);
  }

  const corners = {
    square: [[-1, -1], [1, -1], [1, 1], [-1, 1]],
    triangle: [[0, -1.2], [1.2, 1], [-1.2, 1]],
    down: [[0, 1.2], [1.2, -1], [-1.2, -1]],
    diamond: [[0, -1.4], [1.4, 0], [0, 1.4], [-1.4, 0]],
  };
  const strokes = { plus: [[0, -1.3, 0, 1.3], [-1.3, 0, 1.3, 0]], cross: [[-1, -1, 1, 1], [-1, 1, 1, -1]] };
  function drawMark(context, mark, x, y, size) {
    context.save();
    context.setLineDash([]);
    context.lineWidth = size * 0.6;
    context.beginPath();
    if (strokes[mark]) {
      for (const [fromX, fromY, toX, toY] of strokes[mark]) {
        context.moveTo(x + size * fromX, y + size * fromY);
        context.lineTo(x + size * toX, y + size * toY);
      }
      context.stroke();
    } else {
      if (corners[mark]) corners[mark].forEach(([dx, dy], i) => (i ? context.lineTo(x + size * dx, y + size * dy) : context.moveTo(x + size * dx, y + size * dy)));
      else context.arc(x, y, size, 0, 2 * Math.PI);
      context.closePath();
      if (mark === 'ring') { context.fillStyle = ink('page'); context.fill(); context.stroke(); } else context.fill();
    }
    context.restore();
  }

  const faint = 0.13;
  // Intervals and marks, over uPlot's lines.
  function drawPoints(plot) {
    const context = plot.ctx;
    const scale = window.devicePixelRatio || 1;
    const { left, top, width, height } = plot.bbox;
    context.save();
    context.beginPath();
    context.rect(left - 9, top - 9, width + 18, height + 18);
    context.clip();
    context.setLineDash([]);
    data.series.forEach((_, series) => {
      if (hidden.has(series)) return;
      context.strokeStyle = context.fillStyle = colourOf(series);
      context.lineWidth = 1.2 * scale;
      const strength = pointed == null || pointed === series ? 1 : faint;
      context.globalAlpha = strength;
      for (const [kept, mean, low, high] of pointsOf(series)) {
        const x = plot.valToPos(kept, 'x', true);
        if (low != null) {
          context.globalAlpha = 0.55 * strength;
          context.beginPath();
          context.moveTo(x, plot.valToPos(low, 'y', true));
          context.lineTo(x, plot.valToPos(high, 'y', true));
          context.stroke();
          context.globalAlpha = strength;
        }
        drawMark(context, markOf(series), x, plot.valToPos(mean, 'y', true), 3.6 * scale);
      }
    });
    context.restore();
  }

  // Shares to name on the axis, from the right as many as have room.
  function ticks(low, high, width) {
    const at = (share) => width * Math.log(share / low) / Math.log(high / low);
    let last = Infinity;
    return [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001].filter((share) => {
      if (share < low || share > high || at(share) > last - 48) return false;
      last = at(share);
      return true;
    }).reverse();
  }

  function joined() {
    const lines = data.series.map((_, series) => lineOf(series));
    const xs = [...new Set(lines.flat().map(([x]) => x))].sort((a, b) => a - b);
    const columns = lines.map((line) => {
      const at = new Map(line);
      return xs.map((x) => (at.has(x) ? at.get(x) : null));
    });
    return [xs, ...columns];
  }

  function draw() {
    if (chart) chart.destroy();
    chart = null;
    plotted.replaceChildren();
    const columns = joined();
    if (columns[0].length === 0) {
      plotted.append(remark('There is nothing to draw: no result has this figure.'));
      return;
    }
    const width = plotted.clientWidth || 320;
    const axis = (more) => ({ stroke: ink('soft'), grid: { stroke: ink('line'), width: 1 }, ticks: { stroke: ink('line') }, ...more });
    chart = new uPlot({
      width,
      height: Math.min(460, Math.max(320, Math.round(width * 0.45))),
      cursor: { show: false },
      legend: { show: false },
      focus: { alpha: faint },
      padding: [12, 24, 0, 0],
      scales: {
        x: { time: false, distr: 3, range: (_, low, high) => [low * 0.9, Math.max(1.05, high * 1.05)] },
        y: { range: (_, low, high) => (chosen.metric === 'error' ? [0, high * 1.05 || 1] : [0, 1.03]) },
      },
      axes: [
        axis({ label: 'share of the tokens held (log)', labelSize: 22,
          splits: (_, place, low, high) => ticks(low, high, width - 70),
          filter: (_, splits) => splits,
          values: (_, splits) => splits.map(percent) }),
        axis({ label: (metrics[chosen.metric] || 'right answers').split(',')[0], labelSize: 22, size: 46 }),
      ],
      series: [{}, ...data.series.map((label, series) => ({
        label, show: !hidden.has(series), stroke: colourOf(series), width: 2, dash: dashOf(series),
        spanGaps: true, points: { show: false } }))],
      hooks: { draw: [drawPoints] },
    }, columns, plotted);
    const canvas = plotted.querySelector('canvas');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `${metrics[chosen.metric] || 'right answers'} by share of the tokens held; the table below says the same`);
    if (pointed != null) point(pointed);
    byId('curve-plot').dataset.series = String(data.series.length - hidden.size);
  }

  function swatch(series) {
    const canvas = element('canvas', {});
    const context = sized(canvas, 34, 14);
    context.strokeStyle = context.fillStyle = colourOf(series);
    context.lineWidth = 2;
    context.setLineDash(dashOf(series));
    context.beginPath();
    context.moveTo(0, 7);
    context.lineTo(34, 7);
    context.stroke();
    context.setLineDash([]);
    drawMark(context, markOf(series), 17, 7, 4);
    return canvas;
  }

  // Where many lines cross, the one whose name is pointed at stands out.
  function point(series) {
    pointed = series;
    if (chart) chart.setSeries(series == null ? null : series + 1, { focus: true });
  }
  function show(isShown) {
    hidden.clear();
    data.series.forEach((_, series) => { if (!isShown(series)) hidden.add(series); });
    legend();
    draw();
  }

  function legend() {
    pointed = null;
    byId('curve-legend').replaceChildren(...data.series.map((name, series) => {
      const button = element('button', { type: 'button' }, swatch(series), name);
      button.setAttribute('aria-pressed', String(!hidden.has(series)));
      button.onclick = () => {
        if (!hidden.delete(series)) hidden.add(series);
        button.setAttribute('aria-pressed', String(!hidden.has(series)));
        pointed = hidden.has(series) ? null : series;
        draw();
      };
      button.onpointerenter = button.onfocus = () => { if (!hidden.has(series)) point(series); };
      button.onpointerleave = button.onblur = () => point(null);
      return button;
    }));
  }

  // The series that keep most at the budget of the answer, and the two that others are held against.
  const controls = /^(full|random$|oracle)/;
  function best(count) {
    const budget = data.answer ? budgets.indexOf(data.cells[data.answer.best].budget) : Math.floor(budgets.length / 2);
    const asked = data.answer ? data.cells[data.answer.best].kept : 1;
    const score = (series) => {
      const cell = data.cells[cellAt(series, budget)];
      const mean = cell && cell.kept <= 1.1 * asked && (cell.all.weighted || cell.all.mass);
      return mean ? mean[0] : -1;
    };
    const ranked = data.series.map((_, series) => series).filter((series) => !controls.test(data.series[series]) && score(series) >= 0);
    return new Set(ranked.sort((x, y) => score(y) - score(x) || x - y).slice(0, count));
  }
  function choiceButtons() {
    const button = (text, isShown) => element('button', { type: 'button', onclick: () => show(isShown) }, text);
    const buttons = [button('all', () => true), button('none', () => false)];
    if (data.series.length > 8) {
      const few = best(5);
      buttons.splice(1, 0, button('the best five', (series) => few.has(series) || /^(random|oracle)$/.test(data.series[series])));
    }
    return element('div', { className: 'group', role: 'group', ariaLabel: 'Policies that are drawn' }, element('span', {}, 'drawn'), element('div', {}, ...buttons));
  }

  byId('curve-controls').append(
    selector('figure', options, chosen.metric, (metric) => { chosen.metric = metric; draw(); }),
    selector('task', [[-1, 'all'], ...data.tasks.map((task, i) => [i, task])], -1, (task) => { chosen.task = Number(task); draw(); }),
    choiceButtons());
  drawn(() => { legend(); draw(); });
}
