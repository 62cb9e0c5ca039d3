// Stacked bars, one for each day. A drawing only: the table beside it has the figures.

import { dollars, mark, thousandths } from "./money.js";
import { el, svg } from "./parts.js";

const WIDTH = 1000;
const HEIGHT = 240;
const LEFT = 70;
const BELOW = 22;
/** Groups with a colour of their own; the others share one. */
export const COLOURED = 8;

/** The class of the colour of the group of this rank. */
export function colour(rank) {
  return rank < COLOURED ? `s${rank}` : "rest";
}

/** A round amount that is at least this, if only just. */
function above(nano) {
  let step = 1n;
  while (step * 10n <= nano) step *= 10n;
  return [10n, 15n, 20n, 30n, 40n, 50n, 60n, 80n, 100n].map((tenths) => (tenths * step) / 10n).find((round) => round >= nano) ?? nano;
}

/**
 * `stacks`: one for each day, `{day, parts: [{rank, name, nano}]}`, largest group first.
 */
export function bars(stacks, caption) {
  const totals = stacks.map((stack) => stack.parts.reduce((sum, part) => sum + part.nano, 0n));
  const highest = totals.reduce((most, total) => (total > most ? total : most), 0n);
  const top = above(highest > 0n ? highest : 1n);
  const room = HEIGHT - BELOW - 10;
  const y = (nano) => HEIGHT - BELOW - (room * thousandths(nano, top)) / 1000;
  const slot = (WIDTH - LEFT) / Math.max(stacks.length, 1);
  const wide = Math.max(Math.min(slot * 0.75, 60), 1);
  const chart = svg("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": caption });
  for (const part of [0n, top / 2n, top]) {
    chart.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(part), y2: y(part) }));
    if (part === 0n || part * 2n === top || part === top) {
      chart.append(svg("text", { x: LEFT - 6, y: y(part) + 4, "text-anchor": "end" }, mark(part)));
    }
  }
  const every = Math.max(Math.ceil(stacks.length / 12), 1);
  stacks.forEach((stack, at) => {
    const x = LEFT + slot * at + (slot - wide) / 2;
    if (at % every === 0) {
      chart.append(svg("text", { x: x + wide / 2, y: HEIGHT - 6, "text-anchor": "middle" }, stack.day.slice(5)));
    }
    let below = 0n;
    for (const part of stack.parts.filter((part) => part.nano > 0n)) {
      const above = y(below + part.nano);
      const title = svg("title", {}, `${stack.day}, ${part.name}: ${dollars(part.nano)}`);
      const size = { x, y: above, width: wide, height: Math.max(y(below) - above, 0.5) };
      chart.append(svg("rect", { class: colour(part.rank), ...size }, title));
      below += part.nano;
    }
  });
  return el("figure", { class: "wide" }, chart);
}
