"""What is looked for in a page: text that is cut, and contrasts that are too low."""

CUT = """[...document.querySelectorAll('main *')].filter(e => !e.closest('svg') && e.clientWidth
    && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != 'inline').map(e => e.outerHTML)"""
"""What is wider inside than outside."""

CONTRASTS = """
() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const over = (front, back) => front.slice(0, 3).map((v, i) => v * (front[3] ?? 1) + back[i] * (1 - (front[3] ?? 1)));
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)];
    return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
  const back = e => { const up = [];
    for (; e; e = e.parentElement) up.unshift(parts(getComputedStyle(e).backgroundColor));
    return up.reduce((below, c) => over(c.length == 3 ? [...c, 1] : c, below), [255, 255, 255]); };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || e.closest('script')) continue;
    const style = getComputedStyle(e), svg = e.closest('svg');
    const text = [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && e.tagName != 'title';
    const say = (colour, least) => { const r = ratio(over(parts(colour), back(e)), back(e));
      if (r < least) found.push([e.outerHTML.slice(0, 80), colour, r.toFixed(2)]); };
    if (text) say(svg ? style.fill : style.color, 4.5);
    else if (svg && e.matches('.line, circle, rect:not(.box), polygon:not(.band)')) say(style.stroke, 3);
  }
  return found;
}
"""
