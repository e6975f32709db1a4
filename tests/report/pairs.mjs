// What a report says of one policy against another.
import { expect, optionAt, text } from './support.mjs';

// Chooses A and B by name and returns what is said of them.
async function pairOf(tab, a, b) {
  await optionAt(tab, 'pair-controls', 0).selectOption({ label: a });
  await optionAt(tab, 'pair-controls', 1).selectOption({ label: b });
  return text(tab, '#pair-view');
}

export async function checkPairs(tab) {
  const before = await text(tab, '#pair-view');
  const select = optionAt(tab, 'pair-controls', 1);
  const other = await select.evaluate((one) => [...one.options].find((option) => !option.selected && option.value !== one.form?.value).value);
  await select.selectOption(other);
  expect(await text(tab, '#pair-view') !== before, 'another pair shows the same');
  expect(await optionAt(tab, 'strip-controls', 1).inputValue() === other, 'the strip does not follow the chosen pair');
}

// A pair of which the page has no row of compare.csv is counted, and why is said. Only two that hold
// unequally much are said never to hold equally much.
export async function checkPairsWithoutRows(tab) {
  expect(/paired interval/.test(await text(tab, '#pair-view')), 'a pair has no paired interval');
  const saidWith = async (compare, holds) => {
    await tab.evaluate(([table, tokens]) => {
      window.aside = [data.analysis.compare, data.cells.map((cell) => cell.per_head)];
      data.analysis.compare = table && { ...data.analysis.compare, ...table };
      if (tokens) for (const cell of data.cells) if (cell.series === chosen.a) cell.per_head = tokens;
      choose({ a: chosen.a });
    }, [compare, holds]);
    const said = await text(tab, '#pair-view');
    await tab.evaluate(() => {
      data.analysis.compare = window.aside[0];
      data.cells.forEach((cell, i) => { cell.per_head = window.aside[1][i]; });
      choose({ a: chosen.a });
    });
    return said;
  };
  for (const [compare, why] of [[{ rows: [], left_out: 7 }, /no room in this page/], [{ rows: [], left_out: 0 }, /no row of the two in compare\.csv/], [null, /kvtape analyze compares with paired intervals/]]) {
    const said = await saidWith(compare);
    expect(why.test(said) && /wins \/ ties \/ losses/.test(said) && !/never hold/.test(said), `of a pair without rows it says ${said}`);
  }
  const said = await saidWith({ rows: [], left_out: 0 }, 1e6);
  expect(/they never hold equally much/.test(said) && !/no row of the two/.test(said), `of two that hold unequally much it says ${said}`);
}

// compare.csv pairs results of one schedule: of others, the figures are those of the two named.
export async function checkSchedules(tab) {
  const within = await pairOf(tab, 'snapkv, prefill, agnostic', 'h2o, prefill, agnostic');
  expect(/95 % paired interval/.test(within) && !/one schedule only/.test(within), `of two of one schedule it says ${within}`);
  for (const other of ['h2o, prompt, agnostic', 'snapkv, prompt, agnostic', 'snapkv, prompt, question']) {
    const said = await pairOf(tab, 'snapkv, prefill, agnostic', other);
    expect(/compares within one schedule only/.test(said), `of two schedules it says ${said}`);
    const means = await tab.evaluate(() => ['a', 'b'].map((side) => Object.fromEntries(data.cells.filter((cell) => cell.series === chosen[side]).map((cell) => [cell.budget, cell.all.weighted[0]]))));
    const rows = await tab.locator('#pair-view tbody tr').evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
    const isOfBoth = ([budgets, , , difference]) => {
      const [a, b] = budgets.split(' / ');
      return Math.abs(Number(difference) - (means[0][a] - means[1][b])) < 0.0075;
    };
    expect(rows.length > 0 && rows.every(isOfBoth), `differences to ${other} are ${rows}, the means ${JSON.stringify(means)}`);
  }
}

// What the question gives is said for each schedule, and with intervals.
export async function checkQueries(tab) {
  const rows = await tab.locator('#pairs details tbody tr').evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
  const named = rows.map((row) => row.slice(0, 3).join());
  expect(rows.length >= 8 && new Set(named).size === rows.length, `rows of the question are named ${named}`);
  expect(named.some((name) => name.startsWith('snapkv, prompt,')), `no row names a schedule: ${named}`);
  const interval = /^-?\d\.\d\d \[-?\d\.\d\d,\s-?\d\.\d\d\]$/;
  expect(rows.every((row) => interval.test(row[3]) && interval.test(row[4])), `figures of the question without intervals: ${rows}`);
  const pages = await tab.locator('#bytes-view details tbody tr').evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
  expect(pages.length > 8 && pages.every((row) => interval.test(row[5]) && interval.test(row[6])), `figures of pages without intervals: ${pages}`);
}
