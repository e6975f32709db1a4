// node browser.mjs MODULES CHROMIUM PAGE BLOCKS HOSTILE [IMAGES]
//
// Uses a report as a reader does, by mouse and by keyboard, at two widths, light and dark. PAGE is a
// report, BLOCKS one of decisions in blocks, HOSTILE one of a recording whose texts try to break it.
// With IMAGES, leaves screenshots there. Ends with a list of what was not as expected.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const [modules, executablePath, page, blocks, hostile, images] = process.argv.slice(2);
const { chromium } = createRequire(path.join(path.resolve(modules), 'x.js'))('playwright-core');

let failures = 0;
function expect(holds, what) {
  if (holds) return;
  console.log(`FAILED: ${what}`);
  failures += 1;
}

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

const text = (tab, selector) => tab.locator(selector).innerText();
const image = (tab, selector) => tab.locator(selector).evaluate((canvas) => canvas.toDataURL());
const optionAt = (tab, controls, place) => tab.locator(`#${controls} select`).nth(place);
const kept = (tab, side) => tab.locator(`#strip-${side}`).getAttribute('data-kept').then(Number);

async function fits(tab, width) {
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
  expect(wide <= width, `at ${width} pixels the page is ${wide} wide`);
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

// With many policies lines stay apart: which are drawn can be chosen, and one be pointed at.
async function checkManyCurves(tab) {
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
async function checkPalette(tab) {
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
async function checkAnswer(tab) {
  const named = await tab.locator('.answer b').allInnerTexts();
  const shown = await tab.locator('#strip-controls select').evaluateAll((all) => all.slice(0, 2).map((one) => one.selectedOptions[0].textContent));
  expect(shown[0] === named[1] && shown[1] === named[3], `the answer names ${named}, the strips show ${shown}`);
  const pair = await tab.locator('#pair-controls select').evaluateAll((all) => all.map((one) => one.selectedOptions[0].textContent));
  expect(pair.join() === shown.join(), `the strips show ${shown}, the pairs ${pair}`);
  expect((await text(tab, '#strip-controls label:last-of-type')).includes(`budget: ${named[0]}`), 'the slider is not at the budget of the answer');
  expect(/answers \d+ of \d+ \[0\.\d\d, [01]\.\d\d\] questions right with/.test(await text(tab, '.answer')), 'the answer says nothing of live answers');
  const cells = await tab.locator('#live-view table').first().locator('td').allInnerTexts();
  expect(cells.length >= 4 && cells.every((cell) => /^[01]\.\d\d \[0\.\d\d, [01]\.\d\d\]$/.test(cell)), `shares of right answers are ${cells}`);
  expect(!cells.some((cell) => /\[(.*), \1\]/.test(cell)), `an interval without a width: ${cells}`);
}

// Tables wider than their box say so on the screen, and fit on paper.
async function checkTables(tab) {
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
  expect(clipped.length === 0, `on paper these tables are clipped: ${clipped}`);
  await tab.emulateMedia({ media: 'screen' });
  await tab.evaluate((open) => document.querySelectorAll('details').forEach((one, i) => { one.open = open[i]; }), beforehand);
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

async function checkPairs(tab) {
  const before = await text(tab, '#pair-view');
  const select = optionAt(tab, 'pair-controls', 1);
  const other = await select.evaluate((one) => [...one.options].find((option) => !option.selected && option.value !== one.form?.value).value);
  await select.selectOption(other);
  expect(await text(tab, '#pair-view') !== before, 'another pair shows the same');
  expect(await optionAt(tab, 'strip-controls', 1).inputValue() === other, 'the strip does not follow the chosen pair');
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

// On paper everything is dark on white, and as wide as the page.
async function checkPrint(tab) {
  await tab.evaluate(() => addEventListener('beforeprint', () => {
    const style = getComputedStyle(document.documentElement);
    window.printed = { ink: style.getPropertyValue('--ink').trim(), width: document.querySelector('#curve-plot canvas').clientWidth };
  }));
  await tab.pdf({ format: 'A4' });
  const { ink, width } = await tab.evaluate(() => window.printed);
  expect(ink === '#000' && width > 300 && width < 720, `printed in ${ink}, ${width} pixels wide`);
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
  await checkPairs(tab);
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

// Texts of a recording neither run nor break the layout.
for (const width of [1280, 390]) {
  const tab = await opened(hostile, { viewport: { width, height: 900 } });
  await fits(tab, width);
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
