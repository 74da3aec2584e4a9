// The card for a file: choose the column, label every row in batches, download the same rows with the answers.

import { ServiceError, predict } from "./api.js";
import { decode, guessColumn, guessDelimiter, guessHeader, parse, write } from "./csv.js";
import { message, number, percent } from "./messages.js";
import { drawBars, find, make, say } from "./view.js";

const LARGEST_MB = 200;
const BATCH_CHARACTERS = 200_000;
const AT_ONCE = 2;
const PREVIEWED = 4;

let problems;
let batchTexts = 128;
// The file on the page: { name, encoding, delimiter, rows }.
let table = null;
// What became of it: { answers, done, seconds, cancelled }.
let outcome = null;
let running = null;

export function start(reportProblem) {
  problems = reportProblem;
  const drop = find("drop");
  find("file").addEventListener("change", ({ target }) => target.files[0] && open(target.files[0]));
  // A file dropped beside the field would replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  for (const name of ["dragover", "dragleave", "drop"])
    drop.addEventListener(name, () => drop.classList.toggle("over", name === "dragover"));
  drop.addEventListener("drop", ({ dataTransfer }) => dataTransfer.files[0] && open(dataTransfer.files[0]));
  find("column").addEventListener("change", drawPreview);
  find("header").addEventListener("change", () => (drawColumns(), drawPreview()));
  find("file-form").addEventListener("submit", (event) => (event.preventDefault(), run()));
  find("cancel").addEventListener("click", () => running?.abort());
  find("another").addEventListener("click", close);
}

export function useLimits({ texts }) {
  batchTexts = Math.min(batchTexts, texts);
}

export function redraw() {
  if (!table) return;
  drawColumns();
  drawPreview();
  if (outcome) drawOutcome();
}

async function open(file) {
  close();
  if (file.size > LARGEST_MB * 2 ** 20) return refuse("fileLarge", file.name);
  const { text, encoding } = decode(new Uint8Array(await file.arrayBuffer()));
  const delimiter = /\.txt$/i.test(file.name) ? "\0" : guessDelimiter(text);
  const rows = parse(text, delimiter);
  if (!rows.length) return refuse("fileEmpty", file.name);
  table = { name: file.name, encoding, delimiter: delimiter === "\0" ? "," : delimiter, rows };
  find("header").checked = guessHeader(rows);
  find("drop").hidden = true;
  find("file-form").hidden = false;
  drawColumns(guessColumn(rows, find("header").checked));
  drawPreview();
  find("start").focus();
}

function refuse(name, file) {
  find("file-form").hidden = false;
  for (const id of ["file-name", "start", "run"]) find(id).hidden = true;
  say(find("file-problem"), message(name, { name: file, mb: LARGEST_MB }));
}

function close() {
  running?.abort();
  table = outcome = null;
  find("file").value = "";
  find("drop").hidden = false;
  for (const id of ["file-form", "run", "cancel", "download", "summary", "file-problem"]) find(id).hidden = true;
  for (const id of ["start", "file-name"]) find(id).hidden = false;
  for (const id of ["column", "header", "start"]) find(id).disabled = false;
  find("preview").replaceChildren();
}

const hasHeader = () => find("header").checked;
const body = () => table.rows.slice(hasHeader() ? 1 : 0);
const columnNames = () => {
  const width = Math.max(...table.rows.slice(0, 100).map((row) => row.length));
  return Array.from({ length: width }, (_, index) => (hasHeader() && table.rows[0][index]) || message("columnNumber", { number: index + 1 }));
};

function drawColumns(chosen = Number(find("column").value)) {
  find("file-name").textContent = message("fileFacts", { name: table.name, rows: number(body().length), encoding: table.encoding });
  find("column").replaceChildren(...columnNames().map((name, index) => make("option", { value: index }, name)));
  find("column").value = chosen;
}

function drawPreview() {
  const chosen = Number(find("column").value);
  const cell = (tag, value, index) => make(tag, { className: index === chosen ? "chosen" : "" }, value.length > 300 ? `${value.slice(0, 300)}…` : value);
  const names = columnNames();
  const rows = body().slice(0, PREVIEWED);
  find("preview").replaceChildren(
    make("thead", {}, make("tr", {}, ...names.map((name, index) => cell("th", name, index)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...names.map((_, index) => cell("td", row[index] ?? "", index))))),
  );
}

async function run() {
  running = new AbortController();
  const { signal } = running;
  for (const id of ["column", "header", "start"]) find(id).disabled = true;
  for (const id of ["cancel", "run"]) find(id).hidden = false;
  find("cancel").focus();
  const chosen = Number(find("column").value);
  const texts = body().map((row) => row[chosen] ?? "");
  const began = performance.now();
  outcome = { answers: new Array(texts.length).fill(null), done: 0, rows: texts.length };
  const batches = split(texts);
  // Workers draw from one iterator, so that at most AT_ONCE requests are open.
  const work = batches[Symbol.iterator]();
  const worker = async () => {
    for (const [from, to] of work) {
      await label(texts, from, to, outcome.answers, signal);
      outcome.done += to - from;
      outcome.seconds = (performance.now() - began) / 1000;
      drawProgress();
    }
  };
  try {
    drawProgress();
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  } catch (error) {
    if (!signal.aborted) problems(error, find("file-problem"));
    running.abort();
    if (!table) return;
    outcome.cancelled = true;
  }
  drawOutcome();
}

// Pairs [from, to) of rows that make a request each.
function* split(texts) {
  let from = 0;
  let size = 0;
  for (let at = 0; at < texts.length; at += 1) {
    if (at > from && (at - from === batchTexts || size + texts[at].length > BATCH_CHARACTERS)) {
      yield [from, at];
      from = at;
      size = 0;
    }
    size += texts[at].length;
  }
  if (from < texts.length) yield [from, texts.length];
}

// Fills answers[from..to). A refused batch is divided until the refused row stands alone, with its reason.
async function label(texts, from, to, answers, signal) {
  for (;;) {
    try {
      const predictions = await predict(texts.slice(from, to), 1, signal);
      predictions.forEach((prediction, index) => (answers[from + index] = prediction));
      return;
    } catch (error) {
      if (!(error instanceof ServiceError) || ![400, 413, 422, 429, 503].includes(error.status)) throw error;
      if (error.status === 429 || error.status === 503) {
        await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
      } else if (to - from === 1) {
        answers[from] = { error: error.message };
        return;
      } else {
        const middle = (from + to) >> 1;
        await label(texts, from, middle, answers, signal);
        return label(texts, middle, to, answers, signal);
      }
    }
  }
}

function drawProgress() {
  const { done, rows, seconds } = outcome;
  find("progress").value = rows ? done / rows : 1;
  find("progress-text").textContent = message("progress", { done: number(done), rows: number(rows), rate: number(done / (seconds || 1)) });
}

function drawOutcome() {
  const { answers, done, rows, seconds, cancelled } = outcome;
  const answered = answers.filter(Boolean);
  const count = (test) => answered.filter(test).length;
  const sentences = [
    cancelled
      ? message("cancelled", { done: number(done), rows: number(rows) })
      : message("finished", { rows: number(rows), seconds: number(seconds ?? 0, 1) }),
  ];
  const refused = count((answer) => answer.error);
  if (refused) sentences.push(message("refused", { count: number(refused) }));
  const outside = count((answer) => answer.in_scope === false);
  if (outside) sentences.push(message("outside", { count: number(outside) }));
  for (const id of ["progress-text", "file-spoken"]) find(id).textContent = sentences.join(" ");
  for (const id of ["start", "cancel"]) find(id).hidden = true;
  offerDownload(answers);
  drawSummary(answered);
}

function offerDownload(answers) {
  const link = find("download");
  if (link.href) URL.revokeObjectURL(link.href);
  // The mark lets spreadsheets read the file as UTF-8.
  const parts = ["\ufeff", write(withAnswers(answers), table.delimiter)];
  link.href = URL.createObjectURL(new Blob(parts, { type: "text/csv;charset=utf-8" }));
  link.download = table.name.replace(/(\.\w+)?$/, ".labelled.csv");
  link.hidden = false;
  link.focus();
}

// Every row with its answer at the end, under names that no column has yet.
function withAnswers(answers) {
  const width = Math.max(...table.rows.map((row) => row.length));
  const full = (row) => [...row, ...new Array(width - row.length).fill("")];
  const fields = [["predicted_label", labelOf], ["predicted_score", ({ score }) => score?.toFixed(4) ?? ""]];
  if (answers.some((answer) => answer?.in_scope !== undefined)) fields.push(["in_scope", ({ in_scope }) => String(in_scope ?? "")]);
  if (answers.some((answer) => answer?.error)) fields.push(["error", ({ error }) => error ?? ""]);
  const rows = body().map((row, index) => [...full(row), ...fields.map(([, value]) => value(answers[index] ?? {}))]);
  if (!hasHeader()) return rows;
  const taken = new Set(table.rows[0]);
  const free = (name) => (taken.has(name) ? free(`${name}_`) : name);
  return [[...full(table.rows[0]), ...fields.map(([name]) => free(name))], ...rows];
}

// One label, several joined by a bar, or the tagged parts as start-end:label.
function labelOf({ label, labels, spans, error }) {
  if (error) return "";
  if (spans) return spans.map((span) => `${span.start}-${span.end}:${span.label}`).join("|");
  if (label != null && (labels ?? []).length < 2) return label;
  return (labels ?? []).map((one) => one.label).join("|");
}

function drawSummary(answered) {
  const counts = new Map();
  for (const answer of answered) {
    const name = labelOf(answer);
    if (name) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const entries = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 10).map(([name, count]) => ({ name, count, share: count / answered.length }));
  drawBars(find("summary"), entries, { caption: ({ count, share }) => `${number(count)} · ${percent(share)}` });
  find("summary").hidden = !entries.length;
}
