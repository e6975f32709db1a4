'use strict';
// Pairs of policies, replay against live, and what pages, questions and bytes make of it.

// Rows of a table as objects.
const records = (one) => (one ? one.rows.map((row) => Object.fromEntries(row.map((field, i) => [one.columns[i], field]))) : []);
const leftOut = (one) => (one && one.left_out ? [remark(`${one.left_out} further rows are in the directory's table.`)] : []);
const ratio = (value) => (value == null ? '' : percent(value));
const span = (row, name) => withBounds(row[name] == null ? null : [row[name], row[`${name}_low`], row[`${name}_high`]]);

{
  const view = byId('pair-view');
  const controls = byId('pair-controls');
  const all = data.series.map((name, series) => [series, name]);
  const names = (series) => { const [cell] = cellsOf(series); return cell ? [cell.policy, cell.source, cell.schedule] : []; };
  const areOfOneSchedule = () => names(chosen.a)[2] === names(chosen.b)[2];

  // Rows of compare.csv about A and B, turned round where they are about B and A. It compares within
  // a schedule alone.
  function compared() {
    const [policyA, sourceA, schedule] = names(chosen.a), [policyB, sourceB] = names(chosen.b);
    const rows = [];
    if (!areOfOneSchedule()) return rows;
    for (const row of records(data.analysis.compare)) {
      if (row.schedule !== schedule) continue;
      const straight = row.policy_a === policyA && row.query_source_a === sourceA && row.policy_b === policyB && row.query_source_b === sourceB;
      const turned = row.policy_a === policyB && row.query_source_a === sourceB && row.policy_b === policyA && row.query_source_b === sourceA;
      if (straight) rows.push(row);
      else if (turned) {
        const negative = (value) => (value == null ? null : -value);
        rows.push({ ...row, budget_a: row.budget_b, budget_b: row.budget_a, kept_ratio_a: row.kept_ratio_b, kept_ratio_b: row.kept_ratio_a,
          mean_a: row.mean_b, mean_b: row.mean_a, difference: negative(row.difference), difference_low: negative(row.difference_high), difference_high: negative(row.difference_low),
          wins: row.losses, losses: row.wins });
      }
    }
    return rows;
  }

  // The results of A, each with the result of B that holds most nearly as much, where both hold the
  // same: as compare.csv pairs them.
  function pairs() {
    const others = cellsOf(chosen.b);
    return cellsOf(chosen.a).map((a) => {
      const apart = (b) => Math.abs(a.per_head - b.per_head);
      const b = others.reduce((best, one) => (apart(one) < apart(best) ? one : best));
      return apart(b) <= Math.max(1, 0.02 * Math.max(a.per_head, b.per_head)) ? [a, b] : null;
    }).filter((pair) => pair);
  }

  // Where compare.csv has nothing of A and B: these pairs, sequence by sequence.
  function counted() {
    const rows = [];
    for (const [a, b] of pairs()) {
      const other = new Map(b.sequences);
      const differences = a.sequences.filter(([sequence, value]) => value != null && other.get(sequence) != null).map(([sequence, value]) => value - other.get(sequence));
      if (differences.length === 0) continue;
      const count = (test) => differences.filter(test).length;
      rows.push([`${a.budget} / ${b.budget}`, percent(a.kept), percent(b.kept), decimal(differences.reduce((x, y) => x + y, 0) / differences.length),
        `${count((d) => d > 1e-9)} / ${count((d) => Math.abs(d) <= 1e-9)} / ${count((d) => d < -1e-9)}`]);
    }
    return rows;
  }

  // Why compare.csv has nothing of A and B, though they hold equally much.
  function absence() {
    const compare = data.analysis.compare;
    if (!compare) return 'kvtape analyze compares with paired intervals.';
    if (!areOfOneSchedule()) return 'compare.csv compares within one schedule only.';
    if (compare.left_out) return 'There is no room in this page for every pair; compare.csv in the directory has paired intervals.';
    return 'There is no row of the two in compare.csv; kvtape analyze writes it anew.';
  }

  // Differences with their intervals around a line at zero.
  function forest(rows) {
    const canvas = element('canvas', { role: 'img', ariaLabel: 'Differences of A and B with intervals; the table says the same' });
    const width = Math.min(640, view.clientWidth || 320), line = 24, left = 96, right = 24;
    const context = sized(canvas, width, line * (rows.length + 1.7));
    const reach = Math.max(0.05, ...rows.flatMap((row) => [row.difference, row.difference_low, row.difference_high]).map((value) => Math.abs(value || 0)));
    const x = (value) => left + (width - left - right) * (value + reach) / (2 * reach);
    context.font = '12px system-ui, sans-serif';
    context.textBaseline = 'middle';
    context.textAlign = 'center';
    context.fillStyle = ink('soft');
    const step = [0.02, 0.05, 0.1, 0.2, 0.5, 1].find((one) => reach / one < 4) || 1;
    for (let at = -Math.floor(reach / step); at <= reach / step; ++at) {
      context.strokeStyle = ink(at === 0 ? 'soft' : 'line');
      context.beginPath();
      context.moveTo(x(at * step), 0);
      context.lineTo(x(at * step), line * rows.length);
      context.stroke();
      context.fillText(decimal(at * step), x(at * step), line * (rows.length + 0.4));
    }
    context.textAlign = 'left';
    rows.forEach((row, i) => {
      const y = line * (i + 0.5);
      const colour = ink(row.difference >= 0 ? 'kept-a' : 'kept-b');
      context.fillStyle = ink('soft');
      context.fillText(`${row.budget_a} / ${row.budget_b}`, 0, y);
      context.strokeStyle = context.fillStyle = colour;
      context.lineWidth = 2;
      if (row.difference_low != null) {
        context.beginPath();
        context.moveTo(x(row.difference_low), y);
        context.lineTo(x(row.difference_high), y);
        context.stroke();
      }
      context.beginPath();
      context.arc(x(row.difference), y, 4, 0, 2 * Math.PI);
      context.fill();
    });
    context.fillStyle = ink('soft');
    const below = line * (rows.length + 1.2);
    context.fillText('B keeps more', left, below);
    context.textAlign = 'right';
    context.fillText('A keeps more', width - 4, below);
    return canvas;
  }

  const selects = {
    a: selector('A', all, chosen.a, (value) => choose({ a: Number(value) })),
    b: selector('B', all, chosen.b, (value) => choose({ b: Number(value) })),
  };
  controls.append(selects.a, selects.b);

  function draw() {
    for (const side of ['a', 'b']) selects[side].lastChild.value = String(chosen[side]);
    view.replaceChildren();
    if (chosen.a === chosen.b) { view.append(remark('A and B are the same; choose two.')); return; }
    const title = `A: ${data.series[chosen.a]}, B: ${data.series[chosen.b]}`;
    const rows = compared();
    if (rows.length === 0) {
      const found = counted();
      if (pairs().length === 0) view.append(remark(`${title}: they never hold equally much.`));
      else if (found.length === 0) view.append(remark(`${title}: no sequence has a weighted needle recall of both. ${absence()}`));
      else
        view.append(table(['budget A / B', 'A holds', 'B holds', 'mean difference A − B', 'wins / ties / losses of A'], found, `${title}; weighted needle recall by sequence, where both hold equally much`),
          remark(`Without intervals. ${absence()}`));
      return;
    }
    const recall = rows.filter((row) => row.metric === 'needle_recall_weighted');
    if (recall.length) view.append(element('p', { className: 'small' }, `${title}: difference of weighted needle recall at equal realised budget, 95 % paired interval`), forest(recall));
    view.append(table(['budget A / B', 'figure', 'A holds', 'B holds', 'A', 'B', 'difference', 'wins / ties / losses of A'],
      rows.map((row) => [`${row.budget_a} / ${row.budget_b}`, metrics[row.metric === 'mass_kept' ? 'mass' : 'weighted'].split(',')[0], ratio(row.kept_ratio_a), ratio(row.kept_ratio_b),
        decimal(row.mean_a), decimal(row.mean_b), span(row, 'difference'), `${row.wins} / ${row.ties} / ${row.losses}`]), title));
    view.append(...leftOut(data.analysis.compare));
  }
  whenChosen((changes) => { if ('a' in changes || 'b' in changes) draw(); });
  drawn(draw);
  const queries = records(data.analysis.queries);
  const severalSchedules = new Set(queries.map((row) => row.schedule)).size > 1;
  if (queries.length)
    view.after(folded('How much of a success comes from seeing the question',
      table(['policy', 'budget', 'figure', 'agnostic', 'question', 'oracle', 'gained by the question', 'share of it'],
        queries.map((row) => [severalSchedules ? `${row.policy}, ${row.schedule}` : row.policy, row.budget, row.metric, span(row, 'agnostic'), span(row, 'question'), span(row, 'oracle'), span(row, 'question_gain'), decimal(row.question_share)]), 'The same policy with other queries'),
      ...leftOut(data.analysis.queries)));
}

{
  const view = byId('live-view');
  const live = data.live || {};
  if (data.accuracy && data.accuracy.length) {
    const several = (rows, column) => new Set(rows.map((one) => one[column])).size > 1;
    const own = (policy) => data.accuracy.filter((one) => one.policy === policy);
    const name = (one) => [one.policy, ...several(data.accuracy, 'schedule') ? [one.schedule] : [], ...several(own(one.policy), 'source') ? [one.source] : []].join(', ');
    const rows = [...new Set(data.accuracy.map(name))], columns = [...new Set(data.accuracy.map((one) => one.budget))];
    const judged = [...new Set(data.accuracy.map((one) => one.judged))].sort((x, y) => x - y);
    view.append(table(['policy', ...columns],
      rows.map((row) => [row, ...columns.map((budget) => { const one = data.accuracy.find((each) => name(each) === row && each.budget === budget); return one ? withBounds(one.all) : ''; })]),
      `Share of right answers of the running model, ${judged.join(' or ')} judged, with Wilson’s 95 % intervals`));
  }
  if (live.agreement)
    view.append(folded('Kept sets of replay and live', table(live.agreement.columns, live.agreement.rows.map((row) => row.map((field, i) => (i < 4 ? field : decimal(field, 3)))), 'Agreement of kept sets; 1 means the same tokens')));
  if (live.calibration) {
    const isAll = (row) => row.task === 'all' || !records(live.calibration).some((one) => one.task === 'all');
    const of = (isChosen, caption) => table(['replayed figure', 'task', 'cells', 'Spearman', 'Kendall'],
      records(live.calibration).filter(isChosen).map((row) => [row.metric.replaceAll('_', ' '), row.task, String(row.cells), span(row, 'spearman'), span(row, 'kendall')]), caption);
    view.append(of(isAll, 'Does the replayed figure foretell right answers?'));
    if (!records(live.calibration).every(isAll)) view.append(folded('The same by task', of((row) => !isAll(row), 'Rank correlations within a task')));
  }
  if (live.drift)
    view.append(folded('Drift over blocks', table(['policy', 'budget', 'block', 'Jaccard'],
      records(live.drift).map((row) => [nameOf(row), row.budget, String(row.block), span(row, 'jaccard')]), 'Agreement after each block'), ...leftOut(live.drift)));
  if (!view.childNodes.length)
    view.append(remark('Nothing here yet. kvtape live runs the same policies inside the model, kvtape verify compares; kvtape report --live shows both.'));
}

{
  const view = byId('bytes-view');
  const front = records(data.analysis.pareto);
  if (front.length)
    view.append(table(['policy', 'budget', 'bytes held', 'weighted recall'],
      front.filter((row, i) => row.on_front === 1 && front.findIndex((other) => nameOf(other) === nameOf(row) && other.kept_bytes_ratio === row.kept_bytes_ratio) === i).sort((x, y) => x.kept_bytes_ratio - y.kept_bytes_ratio)
        .map((row) => [nameOf(row), row.budget, ratio(row.kept_bytes_ratio), span(row, 'needle_recall_weighted')]),
      'The front: nothing else holds as little and keeps as much'));
  const paged = records(data.analysis.paged);
  if (paged.length)
    view.append(folded('What an engine with pages makes of it',
      table(['policy', 'budget', 'page', 'tokens kept', 'held in pages', 'recall', 'whole pages: recall', 'lost'],
        paged.map((row) => [nameOf(row), row.budget, String(row.block), ratio(row.kept_ratio), ratio(row.held_ratio), span(row, 'needle_recall_weighted'), span(row, 'paged_recall_weighted'), span(row, 'recall_lost')]),
        'Pages of 16 and 64 tokens'), ...leftOut(data.analysis.paged)));
}
document.querySelectorAll('.scroll').forEach(watchWidth);
document.body.dataset.ready = '1';
