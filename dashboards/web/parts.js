// Pieces of the page. Text goes in as text, never as markup.

/** An element with attributes and children; a child that is null or false is left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for drawings. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

/** A message in the place of figures. */
export function notice(text, isFault = false) {
  return el("p", { class: isFault ? "notice fault" : "notice", role: isFault ? "alert" : null }, text);
}

/** Tells those who don't see the page what happened. */
export function say(text) {
  document.getElementById("status").textContent = text;
}
