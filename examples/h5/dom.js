// What the page makes its elements with.

/**
 * The element with an ID.
 * @param {string} id
 */
export const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * Makes an element: attributes, and functions for events.
 * @param {string} tag
 * @param {Record<string, unknown> | null} [attributes]
 * @param {...(Node | string | number | null | undefined | false)} children
 */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, /** @type {EventListener} */ (value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child || child === 0) element.append(typeof child === "object" ? child : String(child));
  return element;
}

/**
 * Replaces what is in an element. The focus stays on what has the same ID, or else goes to
 * the element.
 * @param {HTMLElement} element
 * @param {...(Node | string)} children
 */
export function replace(element, ...children) {
  const focused = document.activeElement;
  const within = element.contains(focused);
  element.replaceChildren(...children);
  if (within) (document.getElementById(focused?.id ?? "") ?? element).focus({ preventScroll: true });
}

/**
 * JSON with its keys and literals in colour.
 * @param {object} json
 */
export function colour(json) {
  const text = JSON.stringify(json, null, 2);
  /** @type {(Node | string)[]} */
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(/("(?:[^"\\]|\\.)*")(:?)|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?/g)) {
    parts.push(text.slice(at, match.index), h("span", { class: match[2] ? "key" : match[1] ? "string" : "literal" }, match[1] ?? match[0]), match[2] ?? "");
    at = match.index + match[0].length;
  }
  return [...parts, text.slice(at)];
}
