// Amounts. Everything is a BigInt of whole nano-dollars: no figure that is shown ever was a floating-point number.

const NANO = 1_000_000_000n;

/** Whole numbers with thousands apart: `1,234`. */
export function count(value) {
  return BigInt(value).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Nano-dollars, exact to the last of nine digits: `$1,234.000000005`. */
export function dollars(nano) {
  const sign = nano < 0n ? "-" : "";
  const size = nano < 0n ? -nano : nano;
  return `${sign}$${count(size / NANO)}.${(size % NANO).toString().padStart(9, "0")}`;
}

/** The same, short, for the edge of a chart, where it is a mark and no figure. */
export function mark(nano) {
  const whole = nano / NANO;
  if (whole >= 100n || nano === 0n) return `$${count(whole)}`;
  const digits = (nano % NANO).toString().padStart(9, "0").replace(/0+$/, "");
  return digits === "" ? `$${count(whole)}` : `$${count(whole)}.${digits}`;
}

/** What part of `whole` this is, in thousandths: for the length of a bar. */
export function thousandths(part, whole) {
  return whole <= 0n || part <= 0n ? 0 : Number((part * 1000n) / whole);
}
