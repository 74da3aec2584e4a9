// Starts the page: its language, the model it talks about, the key, the two cards.

import { ServiceError, model, useKey } from "./api.js";
import { drawCard } from "./card.js";
import * as files from "./files.js";
import { chooseLanguage, chosenLanguage, message, translatePage } from "./messages.js";
import * as typing from "./typing.js";
import { find, readable, say } from "./view.js";

const RETRY = 2000;

let described = null;
let keyGiven = false;

// Shows what went wrong at `place`; gives the milliseconds after which trying again makes sense, if it does.
function reportProblem(error, place) {
  if (error.status === 401) {
    find("key-form").hidden = false;
    if (keyGiven) say(place, message("keyWrong"));
    else find("key").focus();
    return 0;
  }
  if (error.status === 429 || error.status === 503) {
    say(place, message("busy"));
    return error.retryAfter * 1000;
  }
  if (error instanceof ServiceError) {
    say(place, error.message);
    return 0;
  }
  say(place, message("unreachable"));
  return RETRY;
}

async function describe() {
  try {
    described = await model();
    find("key-form").hidden = true;
    drawModel();
    typing.useModel(described);
    files.useLimits(described.limits);
  } catch (error) {
    const wait = reportProblem(error, find("problem"));
    if (wait) setTimeout(describe, wait);
  }
}

function drawModel() {
  find("model-name").textContent = document.title = readable(described.name);
  find("model-version").textContent = described.version;
  drawCard(described);
}

find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keyGiven = true;
  useKey(find("key").value);
  say(find("problem"));
  describe();
  typing.refresh();
});

find("language").value = chosenLanguage();
find("language").addEventListener("change", ({ target }) => {
  chooseLanguage(target.value);
  translatePage();
  typing.redraw();
  files.redraw();
  if (described) drawModel();
});

translatePage();
typing.start(reportProblem);
files.start(reportProblem);
describe();
if (find("text").value) typing.refresh();
find("text").focus();
