// Small pieces of the page.

import { percent } from "./messages.js";

export const find = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Shows `text` in `element`, or hides it when there is none.
export function say(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

// "text_classifier" as a person writes it: "Text classifier".
export function readable(name) {
  const words = name.replaceAll("_", " ");
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}

// A list of names with bars as long as their shares (0 to 1). With `pick` every bar is a button.
// Bars that stay are reused, so that their lengths glide and a focused button keeps its focus.
export function drawBars(list, entries, { pick, pressed, caption = (entry) => percent(entry.share) } = {}) {
  entries.forEach((entry, index) => {
    const item = list.children[index] ?? list.appendChild(make("li", {}, bar(pick)));
    const element = item.firstElementChild;
    element.style.setProperty("--share", entry.share);
    element.querySelector(".name").textContent = entry.name;
    element.querySelector(".share").textContent = caption(entry);
    if (!pick) return;
    element.onclick = () => pick(entry.name);
    element.setAttribute("aria-pressed", entry.name === pressed);
  });
  while (list.children.length > entries.length) list.lastElementChild.remove();
}

function bar(pick) {
  const element = make(pick ? "button" : "div", { className: "bar" });
  if (pick) element.type = "button";
  element.append(make("span", { className: "name" }), make("span", { className: "share" }));
  return element;
}

// The text with its parts marked: `parts` have start and end in code points, in order, and `draw` makes each one's element.
export function marked(text, parts, draw) {
  const characters = Array.from(text);
  const nodes = [];
  let end = 0;
  for (const part of parts) {
    nodes.push(characters.slice(end, part.start).join(""), draw(characters.slice(part.start, part.end).join(""), part));
    end = part.end;
  }
  nodes.push(characters.slice(end).join(""));
  return nodes;
}
