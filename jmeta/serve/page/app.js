// Classes and their drawings go to the server; what it answers is shown as text and bars.

import { Pad } from "./pad.js";
import { $, button, chooser, droppable, fail, make } from "./parts.js";
import { described } from "./words.js";

const SOON = 250; // milliseconds without a change before the server is asked

const classes = [];
let model = null;
let query = null;
let made = 0;

function addClass() {
  made += 1;
  const input = make("input", { type: "text", maxlength: "100", value: nameOf(made) });
  const each = { input, pads: [] };
  const label = make("label", { class: "unseen", text: `Name of class ${made}` });
  input.id = `class-${made}`;
  label.htmlFor = input.id;
  each.holder = make("div", { class: "pads" });
  const take = async (files) => {
    for (const file of files) await (each.pads.find((pad) => pad.empty) || addPad(each)).load(file);
  };
  const tools = make("div", { class: "row" }, button("Draw another", () => addPad(each).canvas.focus()));
  tools.append(chooser("Pictures…", true, take));
  const remove = button("Remove", () => removeClass(each));
  remove.setAttribute("aria-label", `Remove class ${made}`);
  each.element = make("section", { class: "card", "aria-label": `Class ${made}` });
  each.element.append(make("div", { class: "row" }, label, input, remove), each.holder, tools);
  droppable(each.element, take);
  input.addEventListener("input", () => {
    each.pads.forEach((pad, i) => pad.rename(padName(each, i)));
    changedExamples();
  });
  classes.push(each);
  addPad(each);
  $("classes").append(each.element);
  changedExamples();
  return each;
}

const nameOf = (number) => (number <= 26 ? String.fromCharCode(64 + number) : `class ${number}`);
const padName = (each, i) => `example ${i + 1} of ${each.input.value || "a class"}`;

function addPad(each) {
  const removed = () => {
    each.pads.splice(each.pads.indexOf(pad), 1);
    pad.element.remove();
    changedExamples();
  };
  const place = each.pads.length;
  const remove = place ? removed : null; // the first is only cleared
  const pad = new Pad(model.example.shape, padName(each, place), changedExamples, remove);
  each.pads.push(pad);
  each.holder.append(pad.element);
  return pad;
}

function removeClass(each) {
  classes.splice(classes.indexOf(each), 1);
  each.element.remove();
  changedExamples();
  $("add-class").focus();
}

// ---- the server

let session = null;
let timer = null;
let busy = false;
let again = false;

function changedExamples() {
  session = null;
  changed();
}

function changed() {
  clearTimeout(timer);
  timer = setTimeout(update, SOON);
}

async function ask(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer; is it still running?");
  }
  const found = await answer.json();
  if (answer.ok) return found;
  throw Object.assign(new Error(`The server says: ${found.error}`), { status: answer.status });
}

// What stands in the way of learning, in words; nothing where it can begin.
function missing() {
  const names = classes.map((each) => each.input.value.trim());
  if (names.some((name) => !name)) return "Give every class a name.";
  if (new Set(names).size < names.length) return "Two classes have the same name.";
  const drawn = classes.filter((each) => each.pads.some((pad) => !pad.empty));
  return drawn.length < 2 ? "Draw an example of at least two classes." : "";
}

async function predictions() {
  if (session === null) {
    const examples = classes.flatMap((each) =>
      each.pads
        .filter((pad) => !pad.empty)
        .map((pad) => ({ label: each.input.value.trim(), image: pad.png() })));
    say("Learning…");
    session = ""; // a change from here on makes it null again
    const found = (await ask("adapt", { examples })).session;
    if (session === null) return null;
    session = found;
  }
  if (query.empty) return null;
  return (await ask("predict", { session, examples: [{ image: query.png() }] })).predictions[0];
}

async function update() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    await answerNow();
  } catch (error) {
    const forgotten = error.status === 404 && session;
    session = null;
    again ||= Boolean(forgotten);
    if (!forgotten) {
      fail(error.message);
      say("");
      show(null);
    }
  } finally {
    busy = false;
  }
  if (again) {
    again = false;
    changed();
  }
}

async function answerNow() {
  const words = missing();
  if (words) {
    say(words);
    show(null);
    return;
  }
  const found = await predictions();
  fail("");
  show(found);
  if (found) {
    say(`This is ${found.label} (${percent(found.probabilities[found.label])}).`);
  } else if (session !== null) {
    say("It has learned. Draw what it shall name.");
  }
}

const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`;

function say(words) {
  if ($("status").textContent !== words) $("status").textContent = words;
}

function show(found) {
  const shares = found ? Object.entries(found.probabilities) : [];
  const order = classes.map((each) => each.input.value.trim());
  shares.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  const kept = [...$("bars").children];
  kept.slice(shares.length).forEach((each) => each.remove());
  shares.forEach(([name, share], i) => {
    const item = kept[i] || $("bars").appendChild(barOf());
    item.classList.toggle("best", name === found.label);
    item.querySelector(".name").textContent = name;
    item.querySelector(".share").textContent = percent(share);
    item.querySelector(".bar").style.width = `${100 * share}%`;
  });
}

function barOf() {
  const [name, share] = ["name", "share"].map((each) => make("span", { class: each }));
  const words = make("div", { class: "row" }, name, share);
  return make("li", {}, words, make("div", { class: "track" }, make("div", { class: "bar" })));
}

async function begin() {
  try {
    model = await ask("health");
  } catch (error) {
    $("model").textContent = "";
    fail(error.message);
    return;
  }
  $("model").textContent = `${model.model}: it learns from a few examples`;
  const { commands, takes } = described(model);
  $("commands").textContent = commands;
  $("takes").textContent = takes;
  const pictures = model.example.image && model.kind === "classes";
  $("play").hidden = !pictures;
  $("words").hidden = pictures;
  $("interface").open = !pictures;
  if (!pictures) return;
  query = new Pad(model.example.shape, "What is it", changed);
  $("query").append(query.element);
  const take = ([file]) => file && query.load(file);
  query.element.append(chooser("Choose a picture", false, take));
  droppable($("asking"), take);
  for (let i = 0; i < (model.ways || 2); i += 1) addClass();
  $("add-class").addEventListener("click", () => addClass().input.select());
}

begin();
