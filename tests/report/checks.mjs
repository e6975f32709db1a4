// What a report answers, how its curves are told apart, and whether its tables fit.
import { expect, image, optionAt, text } from './support.mjs';

// With many policies lines stay apart: which are drawn can be chosen, and one be pointed at.
export async function checkManyCurves(tab) {
  const drawn = async () => Number(await tab.locator('#curve-plot').getAttribute('data-series'));
  const button = (name) => tab.locator('#curve-controls button', { hasText: name });
  const all = await drawn();
  if (all <= 8) return;
  await button('none').click();
  expect(await drawn() === 0, `after "none" ${await drawn()} series are drawn`);
  await button('best five').focus();
  await tab.keyboard.press('Enter');
  const pressed = await tab.locator('#curve-legend button[aria-pressed=true]').allInnerTexts();
  const named = await tab.locator('.answer b').allInnerTexts();
  expect(pressed.length === 7 && ['random', 'oracle', named[1], named[3]].every((name) => pressed.includes(name)), `the best five are ${pressed}`);
  await button('all').click();
  expect(await drawn() === all, 'after "all" not all are drawn');
  const before = await image(tab, '#curve-plot canvas');
  await tab.locator('#curve-legend button').nth(3).focus();
  await tab.waitForTimeout(50);
  expect(await image(tab, '#curve-plot canvas') !== before, 'a name with the focus does not stand out');
  await optionAt(tab, 'curve-controls', 0).focus();
  await tab.waitForTimeout(50);
  expect(await image(tab, '#curve-plot canvas') === before, 'lines stay faint');
}

// Any two of 48 series differ in dash or mark, and every colour stands out from the page.
export async function checkPalette(tab) {
  const [looks, contrasts] = await tab.evaluate(() => {
    const luminance = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
      .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
    const full = (hex) => (hex.length === 4 ? hex.replace(/[^#]/g, '$&$&') : hex);
    const page = luminance(full(ink('page')));
    const many = [...Array(48).keys()];
    return [new Set(many.map((series) => `${dashOf(series)} ${markOf(series)}`)).size,
      [...new Set(many.map(colourOf))].map((hex) => {
        const [low, high] = [luminance(hex), page].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
      })];
  });
  expect(looks === 48, `48 series have ${looks} pairs of dash and mark`);
  expect(contrasts.length === 16 && Math.min(...contrasts) >= 3, `${contrasts.length} colours, the faintest ${Math.min(...contrasts)}`);
}

// What the answer names is what the strips and pairs open with.
export async function checkAnswer(tab) {
  const named = await tab.locator('.answer b').allInnerTexts();
  const shown = await tab.locator('#strip-controls select').evaluateAll((all) => all.slice(0, 2).map((one) => one.selectedOptions[0].textContent));
  expect(shown[0] === named[1] && shown[1] === named[3], `the answer names ${named}, the strips show ${shown}`);
  const pair = await tab.locator('#pair-controls select').evaluateAll((all) => all.map((one) => one.selectedOptions[0].textContent));
  expect(pair.join() === shown.join(), `the strips show ${shown}, the pairs ${pair}`);
  expect((await text(tab, '#strip-controls label:last-of-type')).includes(`budget: ${named[0]}`), 'the slider is not at the budget of the answer');
  expect(/answers \d+ of \d+ \[0\.\d\d, [01]\.\d\d\] questions right with/.test(await text(tab, '.answer')), 'the answer says nothing of live answers');
  const cells = await tab.locator('#live-view table').first().locator('td').allInnerTexts();
  expect(cells.length >= 4 && cells.every((cell) => /^[01]\.\d\d \[0\.\d\d,\s[01]\.\d\d\]$/.test(cell)), `shares of right answers are ${cells}`);
  expect(!cells.some((cell) => /\[(.*),\s\1\]/.test(cell)), `an interval without a width: ${cells}`);
}

// Tables wider than their box say so on the screen, and fit on paper.
export async function checkTables(tab) {
  const details = (open) => tab.evaluate((isOpen) => document.querySelectorAll('details').forEach((one) => { one.open = isOpen; }), open);
  const beforehand = await tab.evaluate(() => [...document.querySelectorAll('details')].map((one) => one.open));
  const boxes = () => tab.locator('.scroll').evaluateAll((all) => all.filter((box) => box.scrollWidth > box.clientWidth + 1)
    .map((box) => [box.getAttribute('aria-label'), box.classList.contains('wide'), getComputedStyle(box).overflowX]));
  await details(true);
  await tab.waitForTimeout(100);
  const wide = await boxes();
  expect(wide.every(([, said, overflow]) => said && overflow === 'auto'), `wide tables that do not say so: ${wide}`);
  await tab.emulateMedia({ media: 'print' });
  await tab.setViewportSize({ width: 688, height: 900 }); // A4 less its margins
  await tab.waitForTimeout(100);
  const clipped = await boxes();
  const tables = await tab.locator('#map-view details[open] table').count();
  expect(tables >= 9, `of the maps ${tables} tables are on paper`);
  expect(clipped.length === 0, `on paper these tables are clipped: ${clipped}`);
  await tab.emulateMedia({ media: 'screen' });
  await tab.evaluate((open) => document.querySelectorAll('details').forEach((one, i) => { one.open = open[i]; }), beforehand);
}

// A task of 3,000 characters and a spec of many parameters, wherever they are shown or chosen, with
// every table open: neither makes the page wider, and none of their characters is raw.
export async function checkLongNames(tab, fits) {
  const spec = 'adakv(snapkv:window=32,kernel=7,pool=max,group=before):alpha=0.2';
  const beforehand = await tab.evaluate(() => [...document.querySelectorAll('details')].map((one) => one.open));
  await tab.evaluate(() => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
  for (const [controls, place] of [['strip-controls', 0], ['pair-controls', 1]]) {
    await optionAt(tab, controls, place).selectOption({ label: spec });
    await fits(`with ${spec} chosen in ${controls}, the page`);
  }
  const task = optionAt(tab, 'curve-controls', 1);
  await task.selectOption('0');
  await fits('with the long task chosen, the page');
  const [shown, whole] = await task.evaluate((select) => [select.selectedOptions[0].textContent, select.selectedOptions[0].title]);
  expect(/^\[U\+202E\]task\u240aT+…T+$/.test(shown) && shown.length < 120, `the long task is shown as ${shown}`);
  expect(whole.length > 3000, `the whole name of the long task has ${whole.length} characters`);
  const raw = await tab.evaluate(() => [...document.querySelectorAll('main *')].filter((one) => !one.children.length && /[\u202e\n]/.test(one.textContent) && /TTT/.test(one.textContent)).length);
  expect(raw === 0, `${raw} elements hold the long task as it is in the file`);
  const wide = await tab.locator('.scroll').evaluateAll((all) => Math.max(...all.map((box) => box.scrollWidth)));
  expect(wide < 3000, `a table is ${wide} pixels wide`);
  await task.selectOption('-1');
  await tab.evaluate((open) => document.querySelectorAll('details').forEach((one, i) => { one.open = open[i]; }), beforehand);
}

// Where every policy was run with one kind of queries, its name alone says which row is which.
export async function checkLive(tab) {
  const rows = await tab.locator('#live-view table').first().locator('tbody th').allTextContents();
  expect(rows.includes('oracle') && rows.includes('snapkv'), `rows of the running model are named ${rows.join(' | ')}`);
}

// The outermost labels of the axis of differences are whole, also where they stand at its very end.
export async function checkForest(tab) {
  const inked = await tab.evaluate(() => {
    const { rows, columns } = data.analysis.compare;
    const places = ['difference', 'difference_low', 'difference_high'].map((name) => columns.indexOf(name));
    const drawn = () => document.querySelector('#pair-view canvas');
    for (let b = 0; !drawn() && b < data.series.length; ++b) choose({ a: chosen.a, b });
    data.analysis.compare.rows = rows.map((row) => row.map((field, i) => (places.includes(i) ? [0, -0.4, 0.4][places.indexOf(i)] : field)));
    choose({ a: chosen.a });
    const canvas = drawn();
    const edge = canvas.getContext('2d').getImageData(canvas.width - 3, 0, 3, canvas.height).data;
    data.analysis.compare.rows = rows;
    choose({ a: chosen.a });
    return edge.some((value) => value > 0);
  });
  expect(!inked, 'a label of the differences is cut at the right edge');
}
