// The model card: what the model is, what it was measured at, what it was made from.

import { message, percent } from "./messages.js";
import { find, make } from "./view.js";

export function drawCard(model) {
  const facts = make("dl", { className: "facts" });
  const add = (name, ...content) => facts.append(make("dt", {}, name), make("dd", {}, ...content));
  add(message("version"), model.version || "–");
  if (model.architecture) add(message("architecture"), model.architecture);
  add(`${message("classes")} (${model.classes.length})`, make("ul", { className: "chips" }, ...model.classes.map((name) => make("li", {}, name))));
  const metrics = Object.entries(model.metrics ?? {}).flatMap(([name, figure]) => measured(name, figure));
  if (metrics.length) add(message("metrics"), make("ul", { className: "chips" }, ...metrics));
  const lineage = Object.entries(model.lineage ?? {});
  if (lineage.length)
    add(message("lineage"), make("ul", { className: "chips" }, ...lineage.map(([name, hash]) => make("li", { title: hash }, `${name} `, make("code", {}, hash.slice(0, 12))))));
  find("card").replaceChildren(facts);
  if (model.card) find("card").append(make("div", { className: "prose" }, model.card));
}

function measured(name, figure) {
  const words = name.replaceAll("_", " ");
  if (typeof figure === "number") return [make("li", {}, `${words} ${percent(figure)}`)];
  if (typeof figure?.value !== "number") return [];
  const interval = message("interval", { value: percent(figure.value), low: percent(figure.low), high: percent(figure.high) });
  return [make("li", {}, `${words} ${interval}`)];
}
