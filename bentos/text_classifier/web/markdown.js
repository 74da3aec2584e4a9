// The Markdown that model cards use: headings, paragraphs, lists, tables, code and strong words. All text stays text.

import { make } from "./view.js";

export function render(markdown) {
  const blocks = markdown.replaceAll("\r\n", "\n").split(/\n{2,}/);
  return blocks.flatMap((block) => parts(block.trim().split("\n"))).filter(Boolean);
}

// A heading or a list may stand right above or below a paragraph.
function parts(lines) {
  const nodes = [];
  while (lines.length) {
    const heading = /^(#+) (.*)/.exec(lines[0]);
    if (heading) {
      lines.shift();
      nodes.push(make(heading[1].length === 1 ? "h3" : "h4", {}, ...inline(heading[2])));
    } else if (lines[0].startsWith("|")) nodes.push(table(take(lines, /^\|/)));
    else if (/^[-*] /.test(lines[0])) {
      const items = take(lines, /^[-*] /);
      nodes.push(make("ul", {}, ...items.map((item) => make("li", {}, ...inline(item.slice(2))))));
    } else nodes.push(make("p", {}, ...inline(take(lines, /^(?!#+ |\||[-*] )/).join(" "))));
  }
  return nodes;
}

function take(lines, pattern) {
  const end = lines.findIndex((line) => !pattern.test(line));
  return lines.splice(0, end < 0 ? lines.length : end);
}

function table(lines) {
  const [head, , ...body] = lines.map((line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim()));
  const row = (cells, tag) => make("tr", {}, ...cells.map((cell) => make(tag, {}, ...inline(cell))));
  const rows = make("tbody", {}, ...body.map((cells) => row(cells, "td")));
  const named = head.some(Boolean) ? [make("thead", {}, row(head, "th"))] : [];
  return make("div", { className: "scroll" }, make("table", {}, ...named, rows));
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((piece) => {
    if (/^`.+`$/.test(piece)) return make("code", {}, piece.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(piece)) return make("strong", {}, piece.slice(2, -2));
    return piece;
  });
}
