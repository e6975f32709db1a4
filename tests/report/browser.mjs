// node browser.mjs MODULES CHROMIUM PAGE BLOCKS HOSTILE SCHEDULES [IMAGES]
//
// Uses a report as a reader does, by mouse and by keyboard, at two widths, light and dark. PAGE is a
// report, BLOCKS one of decisions in blocks, HOSTILE one of a recording whose texts try to break it,
// SCHEDULES one of the same policies under two schedules and two kinds of queries. With IMAGES, leaves
// screenshots there. Ends with a list of what was not as expected.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import path from 'node:path';
import { checkAnswer, checkForest, checkLive, checkLongNames, checkManyCurves, checkPalette, checkTables } from './checks.mjs';
import { checkPairs, checkPairsWithoutRows, checkQueries, checkSchedules } from './pairs.mjs';
import { expect, failures, image, kept, optionAt, text } from './support.mjs';

const [modules, executablePath, page, blocks, hostile, schedules, images] = process.argv.slice(2);
const { chromium } = createRequire(path.join(path.resolve(modules), 'x.js'))('playwright-core');

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });

// Opens a page and watches it: nothing may be said on the console, and nothing loaded.
async function opened(file, options) {
  const tab = await browser.newPage({ deviceScaleFactor: 1, ...options });
  const address = pathToFileURL(path.resolve(file)).href;
  tab.on('console', (message) => expect(false, `the console says: ${message.text()}`));
  tab.on('pageerror', (error) => expect(false, `the script fails: ${error.message}`));
  tab.on('dialog', (dialog) => { expect(false, 'a text of the recording runs'); dialog.dismiss(); });
  tab.on('request', (request) => expect(request.url() === address, `a request leaves the page: ${request.url()}`));
  await tab.goto(address);
  await tab.waitForSelector('body[data-ready="1"]', { timeout: 20000 });
  return tab;
}

async function fits(tab, width, place = 'the page') {
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
  expect(wide <= width, `at ${width} pixels ${place} is ${wide} wide`);
}

async function checkCurves(tab) {
  const series = Number(await tab.locator('#curve-plot').getAttribute('data-series'));
  expect(series > 2, `${series} series are drawn`);
  const button = tab.locator('#curve-legend button').first();
  await button.click();
  expect(await button.getAttribute('aria-pressed') === 'false', 'a click on the legend does not hide its series');
  expect(Number(await tab.locator('#curve-plot').getAttribute('data-series')) === series - 1, 'a hidden series is still drawn');
  await button.focus();
  await tab.keyboard.press('Enter');
  expect(await button.getAttribute('aria-pressed') === 'true', 'Enter on the legend does not show its series again');
  const before = await image(tab, '#curve-plot canvas');
  await optionAt(tab, 'curve-controls', 0).selectOption('mass');
  expect(await image(tab, '#curve-plot canvas') !== before, 'another figure draws the same curves');
  await optionAt(tab, 'curve-controls', 0).selectOption('weighted');
  await optionAt(tab, 'curve-controls', 1).selectOption('0');
  expect(await image(tab, '#curve-plot canvas') !== before, 'another task draws the same curves');
  await optionAt(tab, 'curve-controls', 1).selectOption('-1');
  expect(await image(tab, '#curve-plot canvas') === before, 'the first choice does not bring its curves back');
}

async function checkStrip(tab) {
  const first = await text(tab, '#strip-readout');
  expect(/needle/.test(first), `the strip does not begin at the needle: ${first}`);
  await tab.locator('#strip-a').focus();
  await tab.keyboard.press('Home');
  expect(/^Token 0[^0-9]/.test(await text(tab, '#strip-readout')), 'Home does not lead to token 0');
  await tab.keyboard.press('ArrowRight');
  await tab.keyboard.press('ArrowRight');
  await tab.keyboard.press('ArrowLeft');
  expect(/^Token 1[^0-9]/.test(await text(tab, '#strip-readout')), 'arrows do not move by a token');
  await tab.keyboard.press('n');
  expect(/needle/.test(await text(tab, '#strip-readout')), 'n does not lead to a needle token');
  await tab.locator('#strip-b').hover({ position: { x: 35, y: 5 } });
  expect(/^Token 3[^0-9]/.test(await text(tab, '#strip-readout')), 'hovering does not show a token');
  const counts = [];
  await tab.locator('#budget').focus();
  await tab.keyboard.press('Home');
  for (;;) {
    counts.push(await kept(tab, 'b'));
    const before = await tab.locator('#budget').inputValue();
    await tab.keyboard.press('ArrowRight');
    if (await tab.locator('#budget').inputValue() === before) break;
  }
  const ticks = await tab.locator('#replayed option').count();
  expect(counts.length > 2 * ticks, `${counts.length} steps of the slider for ${ticks} replayed budgets`);
  expect(counts.every((count, i) => i === 0 || count > counts[i - 1]), `more budget does not keep more: ${counts}`);
  for (let i = 0; i < counts.length / 5; ++i) await tab.keyboard.press('ArrowLeft');
  const drawn = await image(tab, '#strip-a');
  await optionAt(tab, 'strip-controls', 4).selectOption('budget');
  expect(await image(tab, '#strip-a') !== drawn, 'colouring by budget changes nothing');
  await optionAt(tab, 'strip-controls', 4).selectOption('time');
  await optionAt(tab, 'strip-controls', 3).selectOption('1');
  expect(await image(tab, '#strip-a') !== drawn, 'another head shows the same tokens');
  expect(await tab.evaluate(() => document.activeElement.tagName) !== 'BODY', 'a choice loses the focus');
}

async function checkMaps(tab) {
  const before = await image(tab, '#map-damage-a');
  await optionAt(tab, 'map-controls', 0).selectOption('single');
  expect(await image(tab, '#map-damage-a') !== before, 'the worst single eviction looks like the output error');
  await optionAt(tab, 'map-controls', 0).selectOption('error');
  expect(await image(tab, '#map-damage-a') === before, 'the first choice does not bring its map back');
  const asTable = tab.locator('#map-view figure:has(#map-mass-a) details');
  await asTable.locator('summary').focus();
  await tab.keyboard.press('Enter');
  await tab.waitForTimeout(50);
  await optionAt(tab, 'strip-controls', 3).selectOption('2');
  expect(await asTable.getAttribute('open') !== null, 'another head closes the table of a map');
  await asTable.locator('summary').click();
  const map = tab.locator('#map-weighted-a');
  await map.scrollIntoViewIfNeeded();
  await map.click({ position: { x: 40, y: 30 } });
  expect(await optionAt(tab, 'strip-controls', 3).inputValue() === '0', 'a click on a map does not choose its head');
  expect(await tab.evaluate(() => document.activeElement.id) === 'strip-a', 'a click on a map does not lead to the strip');
  await tab.locator('#map-damage-b').focus();
  await tab.keyboard.press('ArrowRight');
  await tab.keyboard.press('ArrowDown');
  await tab.keyboard.press('Enter');
  const chosen = await optionAt(tab, 'strip-controls', 3).evaluate((select) => select.selectedOptions[0].textContent);
  expect(chosen === 'layer 1, head 1', `Enter on a map chooses ${chosen}`);
}

// Everything that can be used can be reached and seen to be reached.
async function checkFocus(tab) {
  await tab.locator('nav a').first().focus();
  const reached = new Set();
  for (let i = 0; i < 150; ++i) {
    await tab.keyboard.press('Tab');
    const [name, outlined] = await tab.evaluate(() => {
      const one = document.activeElement;
      return [one.id || one.tagName, getComputedStyle(one).outlineStyle !== 'none'];
    });
    if (name === 'BODY') break;
    expect(outlined, `${name} has the focus and does not show it`);
    reached.add(name);
  }
  for (const name of ['strip-a', 'strip-b', 'budget', 'map-weighted-a', 'SELECT', 'SUMMARY', 'BUTTON', 'A'])
    expect(reached.has(name), `Tab does not reach ${name}`);
}

// On paper everything is dark on white, as wide as the page, and unfolded.
async function checkPrint(tab) {
  const folded = () => tab.locator('details:not([open])').count();
  const beforehand = await folded();
  expect(beforehand > 2, `before printing ${beforehand} tables are folded`);
  await tab.evaluate(() => addEventListener('beforeprint', () => {
    const style = getComputedStyle(document.documentElement);
    window.printed = { ink: style.getPropertyValue('--ink').trim(), width: document.querySelector('#curve-plot canvas').clientWidth,
      folded: document.querySelectorAll('details:not([open])').length };
  }));
  await tab.pdf({ format: 'A4' });
  const { ink, width, folded: hidden } = await tab.evaluate(() => window.printed);
  expect(ink === '#000' && width > 300 && width < 720, `printed in ${ink}, ${width} pixels wide`);
  expect(hidden === 0, `${hidden} tables are folded on paper`);
  await tab.waitForTimeout(100);
  expect(await folded() === beforehand, `after printing ${await folded()} tables are folded, before it ${beforehand}`);
  const again = await tab.evaluate(() => document.documentElement.className);
  expect(again === '', 'after printing the page stays as for paper');
}

// For docs/img: what a reader sees first, and every section below it.
async function pictures(tab, width, colorScheme) {
  if (!images) return;
  const name = (part) => path.join(images, ['report', part, width, colorScheme === 'dark' ? 'dark' : ''].filter(Boolean).join('-') + '.png');
  const place = (section) => tab.locator(`#${section}`).evaluate((one) => {
    const box = one.getBoundingClientRect();
    return { top: Math.floor(box.top + window.scrollY), height: Math.ceil(box.height) };
  });
  const take = (part, y, height) => tab.screenshot({ path: name(part), fullPage: true, clip: { x: 0, y, width, height } });
  await take('', 0, (await place('profile')).top);
  for (const section of ['tokens', 'heads', 'pairs', 'live', 'bytes']) {
    const { top, height } = await place(section);
    await take(section, top, height + 12);
  }
}

for (const [width, colorScheme] of [[1280, 'light'], [390, 'light'], [1280, 'dark']]) {
  const tab = await opened(page, { viewport: { width, height: 900 }, colorScheme });
  const paint = await tab.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime);
  console.log(`${width} ${colorScheme}: first paint after ${Math.round(paint)} ms`);
  await fits(tab, width);
  await pictures(tab, width, colorScheme);
  await checkAnswer(tab);
  await checkPalette(tab);
  await checkCurves(tab);
  await checkManyCurves(tab);
  await checkStrip(tab);
  await checkMaps(tab);
  await checkPairsWithoutRows(tab);
  await checkPairs(tab);
  await checkForest(tab);
  await checkLive(tab);
  await checkFocus(tab);
  await fits(tab, width);
  await checkPrint(tab);
  await checkTables(tab);
  await tab.emulateMedia({ media: 'print' });
  await tab.setViewportSize({ width, height: 900 });
  await fits(tab, width);
  await tab.close();
}

// Without its script the page still answers.
{
  const tab = await browser.newPage({ javaScriptEnabled: false });
  await tab.goto(pathToFileURL(path.resolve(page)).href);
  expect(await tab.locator('.answer').count() === 1, 'without a script there is no answer');
  expect(await tab.locator('#recall table tbody tr').count() > 2, 'without a script there is no table');
  await tab.close();
}

// Decisions in blocks: what was evicted when is seen as colour, and only replayed budgets are there.
{
  const tab = await opened(blocks, { viewport: { width: 1280, height: 900 } });
  await optionAt(tab, 'strip-controls', 0).selectOption({ label: 'knorm' });
  const colours = () => tab.locator('#strip-a').evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const found = new Map();
    for (let i = 0; i < data.length; i += 4) {
      const colour = data.slice(i, i + 4).join();
      found.set(colour, (found.get(colour) || 0) + 1);
    }
    return [...found.values()].filter((count) => count > 64).length;
  });
  const inTime = await colours();
  expect(inTime > 4, `evictions of several blocks have ${inTime} colours`);
  expect(/evicted early.*evicted late/s.test(await text(tab, '#strip-view .key')), 'the key does not tell early from late');
  await tab.locator('#strip-a').focus();
  await tab.keyboard.press('Home');
  const seen = new Set();
  for (let i = 0; i < 60; ++i) {
    seen.add((await text(tab, '#strip-readout')).match(/A: ([a-z]+)/)[1]);
    await tab.keyboard.press('ArrowRight');
  }
  expect(seen.has('kept') && seen.has('evicted'), `tokens are said to be ${[...seen]}`);
  expect(await tab.locator('#budget').getAttribute('max') === '1', 'there are steps between the budgets of decisions in blocks');
  await fits(tab, 1280);
  await tab.close();
}

// Policies under two schedules: what is said of a pair is of the two that it names.
{
  const tab = await opened(schedules, { viewport: { width: 1280, height: 900 } });
  await checkSchedules(tab);
  await checkQueries(tab);
  await checkTables(tab);
  await fits(tab, 1280);
  await tab.close();
}

// Texts of a recording neither run nor break the layout.
for (const width of [1280, 390]) {
  const tab = await opened(hostile, { viewport: { width, height: 900 } });
  await fits(tab, width);
  await checkLongNames(tab, (place) => fits(tab, width, place));
  await tab.locator('#strip-a').focus();
  await tab.keyboard.press('Home');
  for (let i = 0; i < 12; ++i) {
    await tab.keyboard.press('ArrowRight');
    await fits(tab, width);
  }
  const found = await tab.evaluate(() => [document.querySelectorAll('script').length, document.querySelectorAll('img, iframe, object, b[id]').length, window.ran]);
  expect(found[1] === 0 && found[2] === undefined, `texts became elements: ${found}`);
  await tab.close();
}

await browser.close();
if (failures) console.log(`${failures} expectations failed`);
process.exit(failures ? 1 : 0);
