// What the checks of a report share.
export let failures = 0;
export function expect(holds, what) {
  if (holds) return;
  console.log(`FAILED: ${what}`);
  failures += 1;
}

export const text = (tab, selector) => tab.locator(selector).innerText();
export const image = (tab, selector) => tab.locator(selector).evaluate((canvas) => canvas.toDataURL());
export const optionAt = (tab, controls, place) => tab.locator(`#${controls} select`).nth(place);
export const kept = (tab, side) => tab.locator(`#strip-${side}`).getAttribute('data-kept').then(Number);
