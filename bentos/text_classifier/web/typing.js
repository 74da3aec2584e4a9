// The card for one text: labels as it is typed, the words that made them, and feedback.

import { explain, feedback, predict } from "./api.js";
import { message, number, percent, points } from "./messages.js";
import { drawBars, find, make, marked, say } from "./view.js";

const TYPING_PAUSE = 120;
const READING_PAUSE = 350;
const SHOWN = 5;
// Weights, and shares of the largest weight, that are not worth a colour.
const LEAST = 0.005;
const FAINT = 0.08;

let problems;
let model = { answer: "label", labels: [] };
let pending = new AbortController();
let timer;
// What is on the screen: { text, prediction, ms, chosen, attributions }.
let shown = null;

export function start(reportProblem) {
  problems = reportProblem;
  find("text").addEventListener("input", () => ask(TYPING_PAUSE));
  find("right").addEventListener("click", () => send(shown.prediction.label));
  find("wrong").addEventListener("click", () => openCorrection(find("correction").hidden));
  find("correction").addEventListener("submit", (event) => {
    event.preventDefault();
    send(find("true-label").value);
  });
}

export function useModel(described) {
  model = described;
  drawChoices();
}

// Asks again for the text on the page, as after a key was given.
export const refresh = () => ask(0);

export function redraw() {
  drawChoices();
  drawLength();
  if (shown) draw();
}

function ask(pause) {
  clearTimeout(timer);
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  const text = find("text").value;
  drawLength();
  find("result").classList.add("stale");
  if (!text.trim()) clear();
  else timer = setTimeout(() => answer(text, signal), pause);
}

async function answer(text, signal) {
  try {
    const began = performance.now();
    const [prediction] = await predict([text], SHOWN, signal);
    shown = { text, prediction, ms: performance.now() - began, chosen: prediction.label };
    say(find("problem"));
    openCorrection(false);
    say(find("thanks"));
    draw();
    timer = setTimeout(() => why(signal), READING_PAUSE);
  } catch (error) {
    failed(error, signal, refresh);
  }
}

async function why(signal) {
  speak();
  if (shown.prediction.spans || !shown.chosen) return;
  try {
    const attributions = await explain(shown.text, shown.chosen, signal);
    shown = { ...shown, attributions };
    drawWhy();
    speak();
  } catch (error) {
    failed(error, signal, () => why(signal));
  }
}

// A stale request is dropped in silence; a busy or unreachable service is asked again.
function failed(error, signal, again) {
  if (signal.aborted) return;
  const wait = problems(error, find("problem"));
  if (wait) timer = setTimeout(again, wait);
}

function clear() {
  shown = null;
  for (const id of ["result", "why"]) find(id).hidden = true;
  for (const id of ["problem", "latency", "spoken"]) find(id).textContent = "";
  find("problem").hidden = true;
  find("waiting").hidden = false;
}

function drawLength() {
  const count = Array.from(find("text").value).length;
  find("length").textContent = count ? message("characters", { count: number(count) }) : "";
}

function draw() {
  const { text, prediction, ms, chosen } = shown;
  find("waiting").hidden = true;
  find("result").hidden = false;
  find("result").classList.remove("stale");
  find("latency").textContent = message("latency", { ms: number(ms, ms < 10 ? 1 : 0) });
  find("scope").hidden = prediction.in_scope !== false;
  find("headline").replaceChildren(...headline(text, prediction));
  const entries = (prediction.labels ?? []).map(({ label, score }) => ({ name: label, share: score }));
  drawBars(find("bars"), entries, { pick: choose, pressed: chosen });
  find("feedback").hidden = !prediction.id || Boolean(prediction.spans);
  drawWhy();
}

function headline(text, { label, score, labels, spans }) {
  const share = (text) => make("span", { className: "share" }, text);
  if (spans) {
    if (!spans.length) return [message("noParts")];
    return marked(cleaned(text), spans, (part, span) => make("span", { className: "mark" }, part, make("sub", {}, ` ${span.label}`)));
  }
  if (model.answer === "labels" && !labels?.length) return [message("noLabel"), share(message("nearest", { label: `${label}, ${percent(score)}` }))];
  if (model.answer === "labels") return labels.flatMap((one) => [make("span", { className: "mark" }, one.label), " "]);
  return [label, share(percent(score))];
}

// The text as the model reads it, in which tagged parts are placed: composed, one space between words, nothing invisible.
function cleaned(text) {
  const visible = text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u00ad]/g, "");
  return visible.normalize("NFC").replace(/\s+/g, " ").trim();
}

function choose(label) {
  shown = { ...shown, chosen: label, attributions: undefined };
  draw();
  why(pending.signal);
}

function drawWhy() {
  const { text, chosen, attributions } = shown;
  find("why").hidden = !attributions?.length;
  if (!attributions?.length) return;
  const largest = Math.max(LEAST, ...attributions.map(({ weight }) => Math.abs(weight)));
  find("why-title").textContent = message("whyTitle", { label: chosen });
  say(find("none"), largest === LEAST ? message("noneMatters") : "");
  find("words").replaceChildren(
    ...marked(text, attributions, (part, { weight }) => {
      const strength = Math.abs(weight) / largest;
      const word = make("span", { className: "word", title: points(weight) }, part);
      if (strength > FAINT) word.classList.add(weight < 0 ? "against" : "for");
      word.style.setProperty("--strength", strength);
      return word;
    }),
  );
  const rows = [...attributions].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  find("weights").tBodies[0].replaceChildren(
    ...rows.map(({ text: word, weight }) =>
      make("tr", {}, make("td", {}, word), make("td", { className: "number" }, points(weight))),
    ),
  );
}

// What a screen reader says once the typing has paused.
function speak() {
  const { prediction, attributions } = shown;
  const sentences = [];
  if (prediction.label != null) sentences.push(message("spoken", { label: prediction.label, share: percent(prediction.score) }));
  if (prediction.in_scope === false) sentences.push(message("spokenScope"));
  const best = (attributions ?? []).filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight).slice(0, 3);
  if (best.length) sentences.push(message("spokenWhy", { words: best.map(({ text }) => text).join(", ") }));
  find("spoken").textContent = sentences.join(" ");
}

function drawChoices() {
  const select = find("true-label");
  const before = select.value;
  select.replaceChildren(make("option", { value: "" }, message("pickLabel")), ...model.labels.map((name) => make("option", { value: name }, name)));
  select.value = model.labels.includes(before) ? before : "";
}

function openCorrection(open) {
  find("correction").hidden = !open;
  find("wrong").setAttribute("aria-expanded", open);
  if (open) find("true-label").focus();
  else find("true-label").value = "";
}

async function send(label) {
  const { text, prediction } = shown;
  try {
    await feedback(prediction.id, text, label);
    openCorrection(false);
    say(find("thanks"), message("thanks"));
  } catch (error) {
    problems(error, find("problem"));
  }
}
