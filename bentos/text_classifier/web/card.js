// The model card: what the model is, what it was measured at, what it was made from.

import { render } from "./markdown.js";
import { message, metricName, number, percent } from "./messages.js";
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
  if (model.card) find("card").append(make("details", { className: "prose" }, make("summary", {}, message("wholeCard")), ...render(model.card)));
}

const chips = (contents) => make("ul", { className: "chips" }, ...contents.map((content) => make("li", {}, ...content)));

// Figures that are no shares.
const PLAIN = new Set(["log_loss", "matthews"]);

function measured(name, figure) {
  const written = (value) => (PLAIN.has(name) ? number(value, 3) : percent(value));
  if (typeof figure === "number") return [[`${metricName(name)} ${written(figure)}`]];
  if (typeof figure?.value !== "number") return [];
  const interval = message("interval", { value: written(figure.value), low: written(figure.low), high: written(figure.high) });
  return [[`${metricName(name)} ${interval}`]];
}
