"""What a page has to be for everyone, looked up in a browser: names, contrast, width, calm."""

from typing import Any

from playwright.sync_api import Page

TEXT, GRAPHIC = 4.5, 3.0
"""Of WCAG 2.2 AA; large text may have 3, and is held to 4.5 here."""

_CONTRASTS = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const light = (rgb) => rgb.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const grounds = (node) => node
    ? [...grounds(node.parentElement), getComputedStyle(node).backgroundColor] : ["Canvas"];
  const found = [];
  for (const node of document.body.querySelectorAll("*")) {
    if (!node.checkVisibility({ visibilityProperty: true }) || node.closest("svg")) continue;
    if (node.matches(":disabled, option, script, noscript")) continue;
    const style = getComputedStyle(node);
    const own = grounds(node);
    if (node.matches("input, select, textarea") && style.appearance !== "none"
        && !node.matches("[type=checkbox], [type=radio]")) {
      found.push({ what: "edge", ratio: ratio(over([...own, style.borderTopColor]), over(own)) });
    }
    const says = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!says && !node.matches("input, textarea, select")) continue;
    const pair = [over([...own, style.color]), over(own)];
    found.push({ what: "text", text: node.textContent.slice(0, 40), ratio: ratio(...pair) });
  }
  return found;
}"""

_NAMELESS = """() => [
  ...document.querySelectorAll("input, select, textarea, button, a[href], progress")]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.ariaLabel || node.textContent.trim()
    || [...(node.labels ?? [])].some((label) => label.innerText.trim())))
  .map((node) => node.outerHTML.slice(0, 120))"""

_SHIFTS = """() => new Promise((done) => {
  const found = [];
  const seen = (source) => `${source.node?.outerHTML.slice(0, 80)} from `
    + `${source.previousRect.x},${source.previousRect.y} to `
    + `${source.currentRect.x},${source.currentRect.y}`;
  new PerformanceObserver((list) => {
    const shifts = list.getEntries().filter((one) => !one.hadRecentInput);
    found.push(...shifts.flatMap((one) => one.sources.map(seen)));
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(found), 100);
})"""


def faint(page: Page) -> list[Any]:
    """What is shown with less contrast than it needs."""
    found = page.evaluate(_CONTRASTS)
    assert any(one["what"] == "text" for one in found)
    return [one for one in found if one["ratio"] < (TEXT if one["what"] == "text" else GRAPHIC)]


def nameless(page: Page) -> list[str]:
    """What can be pressed or filled in, and has no name for who does not see it."""
    return list(page.evaluate(_NAMELESS))


def too_wide(page: Page) -> int:
    """Pixels that are to be reached by scrolling sideways only."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def shifted(page: Page) -> list[str]:
    """What has moved since the page was opened, without what follows an input."""
    return list(page.evaluate(_SHIFTS))
