// The page of xds-bridge: one view at a time, by the part of the address behind the #. Text from the API is only ever
// set as text, never as HTML.
import { views } from "./views.js";

const main = document.getElementById("main");
const state = document.getElementById("state");
const nav = document.getElementById("nav");
/** Each view asks again after this time while it is looked at, milliseconds. */
const AGAIN = 3000;
let shown = 0;

/** An element: `el("a.good", { href: "#/" }, "text", child)`. */
export function el(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    made.append(child instanceof Node ? child : String(child));
  }
  return made;
}

/** The answer of the API; `null`: this bridge has no such thing. */
export async function api(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 404) return null;
  const text = await answer.text();
  if (!answer.ok) throw new Error(text.trim() || `HTTP ${answer.status}`);
  return (answer.headers.get("content-type") || "").includes("json") ? JSON.parse(text) : text;
}

/** A table; `columns`: title, and the cell of a row; a title that ends with # is of numbers. */
export function table(columns, rows, empty) {
  if (!rows.length) return el("p.dim", null, empty || "Nothing.");
  const head = columns.map(([title]) => el(title.endsWith("#") ? "th.n" : "th", { scope: "col" }, title.replace(/#$/, "")));
  const body = rows.map((row) =>
    el("tr", null, columns.map(([title, cell]) => el(title.endsWith("#") ? "td.n" : "td", null, cell(row)))));
  return el("div.scroll", null, el("table", null, el("thead", null, el("tr", null, head)), el("tbody", null, body)));
}

function route() {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  const [name, ...rest] = path.split("/").slice(1);
  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  return { name: name || "overview", rest: rest.map(decoded), query: new URLSearchParams(query || "") };
}

async function show(fresh) {
  const at = route();
  const view = views.find((view) => view.name === at.name) || views[0];
  const number = fresh ? ++shown : shown;
  for (const link of nav.children) {
    if (link.dataset.name === (view.under || view.name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (fresh) {
    document.title = `${view.title} · xds-bridge`;
    main.setAttribute("aria-busy", "true");
  }
  let wait = AGAIN;
  try {
    const made = await view.show(at);
    if (number !== shown) return;
    // Whoever types or reads must not lose the place.
    const active = document.activeElement;
    const typed = active instanceof HTMLInputElement && active.id && main.contains(active) ? active : null;
    const kept = typed && { id: typed.id, value: typed.value, from: typed.selectionStart, to: typed.selectionEnd };
    main.replaceChildren(...[made].flat(Infinity).filter((part) => part instanceof Node));
    const again = kept && document.getElementById(kept.id);
    if (again) {
      again.value = kept.value;
      again.focus();
      if (typeof kept.from === "number") again.setSelectionRange(kept.from, kept.to);
    }
    state.textContent = "live";
    state.className = "good";
  } catch (error) {
    if (number !== shown) return;
    state.textContent = `no answer: ${error.message}`;
    state.className = "bad";
    if (fresh) main.replaceChildren(el("p.bad", null, error.message));
    wait = AGAIN * 2;
  }
  main.removeAttribute("aria-busy");
  if (view.still) return;
  setTimeout(() => {
    if (number !== shown) return;
    if (document.hidden) document.addEventListener("visibilitychange", () => number === shown && show(false), { once: true });
    else show(false);
  }, wait);
}

for (const view of views) {
  if (!view.under) nav.append(el("a", { href: `#/${view.name === "overview" ? "" : view.name}`, "data-name": view.name }, view.title));
}
let last = route().name;
addEventListener("hashchange", () => {
  const { name } = route();
  // Who searches stays in the field.
  if (name !== last) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  last = name;
  show(true);
});
show(true);
