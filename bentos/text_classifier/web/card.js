// The model card: what the model is, what it was measured at, what it was made from.

import { message, percent } from "./messages.js";
import { find, make, readable } from "./view.js";

export function drawCard(model) {
  const facts = make("dl", { className: "facts" });
  const add = (name, ...content) => facts.append(make("dt", {}, name), make("dd", {}, ...content));
  if (model.version) add(message("version"), model.version);
  if (model.architecture) add(message("architecture"), readable(model.architecture));
  add(`${message("classes")} (${model.labels.length})`, chips(model.labels.map((name) => [name])));
  const metrics = Object.entries(model.metrics).flatMap(([name, figure]) => measured(name, figure));
  if (metrics.length) add(message("metrics"), chips(metrics));
  if (model.scope) add(message("scope"), message("falseAlarms", { share: percent(model.scope.false_alarm_rate) }));
  const lineage = Object.entries(model.lineage);
  if (lineage.length) add(message("lineage"), chips(lineage.map(([name, hash]) => [`${name} `, make("code", { title: hash }, hash.slice(0, 12))])));
  if (model.bento) add("Bento", make("code", {}, model.bento));
  find("card").replaceChildren(facts);
}

const chips = (contents) => make("ul", { className: "chips" }, ...contents.map((content) => make("li", {}, ...content)));

function measured(name, figure) {
  if (typeof figure === "number") return [[`${readable(name)} ${percent(figure)}`]];
  if (typeof figure?.value !== "number") return [];
  const interval = message("interval", { value: percent(figure.value), low: percent(figure.low), high: percent(figure.high) });
  return [[`${readable(name)} ${interval}`]];
}
