// Tables as text (RFC 4180, and what spreadsheets make of it): reading, guessing, writing.

const DELIMITERS = [",", "\t", ";", "|"];

// The bytes of a file as text: UTF-8 or UTF-16 by their marks, else UTF-8, else the Chinese national standard
// (which holds GBK), else Windows-1252, which reads anything.
export function decode(bytes) {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return { text: new TextDecoder("utf-16le").decode(bytes), encoding: "UTF-16" };
  if (first === 0xfe && second === 0xff) return { text: new TextDecoder("utf-16be").decode(bytes), encoding: "UTF-16" };
  for (const encoding of ["utf-8", "gb18030"]) {
    try {
      return { text: new TextDecoder(encoding, { fatal: true }).decode(bytes), encoding: encoding.toUpperCase() };
    } catch {
      // Not this one: the next encoding is tried.
    }
  }
  return { text: new TextDecoder("windows-1252").decode(bytes), encoding: "Windows-1252" };
}

// The delimiter that stands most often outside quotes in the first record; a comma when none does.
export function guessDelimiter(text) {
  const counts = new Map(DELIMITERS.map((delimiter) => [delimiter, 0]));
  let quoted = false;
  for (const character of text.slice(0, 10000)) {
    if (character === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (character === "\n" || character === "\r") {
      if ([...counts.values()].some(Boolean)) break;
    } else if (counts.has(character)) counts.set(character, counts.get(character) + 1);
  }
  return DELIMITERS.reduce((best, next) => (counts.get(next) > counts.get(best) ? next : best));
}

// Rows of fields. Quotes matter at the start of a field only, so that a 5" disk stays what it is; empty lines are no rows.
export function parse(text, delimiter) {
  const rows = [];
  let row = [];
  let quoted = false;
  let at = 0;
  const end = text.length;
  while (at < end) {
    let field = "";
    if (text[at] === '"') {
      quoted = true;
      at += 1;
      for (;;) {
        const close = text.indexOf('"', at);
        field += text.slice(at, close < 0 ? end : close);
        at = close < 0 ? end : close + 1;
        if (text[at] !== '"') break;
        field += '"';
        at += 1;
      }
    }
    const start = at;
    while (at < end && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") at += 1;
    row.push(field + text.slice(start, at));
    if (text[at] === delimiter) {
      at += 1;
      if (at < end && text[at] !== "\n" && text[at] !== "\r") continue;
      row.push("");
    }
    if (text[at] === "\r" && text[at + 1] === "\n") at += 1;
    at += 1;
    if (row.length > 1 || row[0] !== "" || quoted) rows.push(row);
    row = [];
    quoted = false;
  }
  return rows;
}

export function write(rows, delimiter) {
  const special = new RegExp(`["\\r\\n${delimiter === "|" ? "\\|" : delimiter}]|^\\s|\\s$`);
  const field = (value) => (special.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return rows.map((row) => row.map(field).join(delimiter) + "\r\n").join("");
}

const TEXT_NAMES = ["text", "sentence", "content", "message", "title", "body", "review", "question", "文本", "内容", "标题", "句子"];

// Whether the first row names the columns: no number, no repeated or empty name, and shorter than what follows.
export function guessHeader(rows) {
  const [first, ...rest] = rows.slice(0, 50);
  if (!first || !rest.length) return false;
  if (first.some((name) => TEXT_NAMES.includes(name.trim().toLowerCase()))) return true;
  if (first.length === 1 || new Set(first).size < first.length) return false;
  if (first.some((name) => !name.trim() || name.length > 40 || !Number.isNaN(Number(name)))) return false;
  const longest = (row) => Math.max(...row.map((value) => value.length));
  return longest(first) * 2 < rest.reduce((sum, row) => sum + longest(row), 0) / rest.length;
}

// The column that holds the texts: by its name, else the one with the most characters.
export function guessColumn(rows, header) {
  if (header) {
    for (const name of TEXT_NAMES) {
      const found = rows[0].findIndex((value) => value.trim().toLowerCase() === name);
      if (found >= 0) return found;
    }
  }
  const sums = [];
  for (const row of rows.slice(header ? 1 : 0, 200)) row.forEach((value, index) => (sums[index] = (sums[index] ?? 0) + value.length));
  return Math.max(0, sums.indexOf(Math.max(...sums)));
}
