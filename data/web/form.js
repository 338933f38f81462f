// The form: what is chosen, how it is to be painted, and a first look at it.
"use strict";
const data = JSON.parse($("data").textContent);
const images = new Map(data.images.map(image => [image.key, image]));
const chosen = {content: data.example.content, styles: new Map([[data.example.styles[0], 50]])};
const LOOKS = {  // presets in words, by the controls that they set; the recipe says the rest
  "Like the painting": {},
  "A touch": {style_weight: -.75},
  "Bold strokes": {style_weight: .25, style_scales: 1.75},
  "Keep my colours": {colors: "content"},
  "Portrait": {style_weight: -.5, style_scales: .75},
};
const PLAIN = {style_weight: 0, style_scales: 1, colors: ""};
const setControls = values => Object.entries({...PLAIN, ...values}).forEach(([name, value]) => { $(name).value = value; });
const LARGER = [...$("max_size").options].map(option => +option.value).filter(Boolean);
const more = () => [...document.querySelectorAll(".more")];
const stem = key => key.replace(/\.[^.]*$/, "");
const titled = key => stem(key).replaceAll("_", " ");
const isFilm = () => images.get(chosen.content)?.frames > 1;
const round = number => String(Number(number.toPrecision(3)));

async function ask(path, body) {  // what the program answers; {error} if it is refused
  try {
    return await (await fetch(path, {method: "POST", body})).json();
  } catch {
    return {error: "The program does not answer; is it still running?"};
  }
}
const label = name => document.querySelector(`label[for="${name}"], #h-${name}`)?.textContent ?? name;
const inWords = line => line.replace(/--([a-z][\w-]+)/g, (flag, name) => `“${label(name.replaceAll("-", "_"))}”`);
function complain({error = "", field} = {}) {  // beside the button; the field is marked and gets the focus
  $("error").textContent = (field ? `${label(field)}: ` : "") + inWords(error);
  $("error").hidden = !error;
  for (const marked of document.querySelectorAll("[aria-invalid]")) marked.ariaInvalid = null;
  const at = $(`${field}-file`) ?? $(field);
  if (!error || !at) return;
  for (let group = at.closest("details"); group; group = group.parentElement.closest("details")) group.open = true;
  at.ariaInvalid = "true";
  at.focus();
}
heard.error = () => complain({error: "The program does not answer; is it still running? If it is, load the page again."});
heard.open = () => { if ($("error").textContent.startsWith("The program does not")) complain(); };

function values(recipe, power = 1) {  // of the settings, by their names, as on the command line
  const values = {}, weights = [...chosen.styles.values()], strokes = $("style_scales").value;
  if ($("max_size").value && !$("width").value) values.max_size = $("max_size").value;
  const times = 10 ** (power * $("style_weight").value);
  if (times != 1) values.style_weight = round(+data.recipes[recipe].values.style_weight * times);
  if (+strokes != 1 && weights.length) values.style_scales = weights.map(() => strokes).join(" ");
  if (weights.length > 1) values.style_blend_weights = weights.join(" ");
  return values;
}
const expert = () => Object.fromEntries(more().filter(input => input.value.trim()).map(input => [input.id, input.value.trim()]));
const controls = () => Object.fromEntries(Object.keys(PLAIN).map(name => [name, $(name).value]));
const form = (areas = {}) => ({  // page: what fills the form in again
  content: chosen.content, styles: [...chosen.styles.keys()], recipe: $("recipe").value, frame: +$("frame").value,
  values: {...values($("recipe").value), ...expert()}, page: {weights: [...chosen.styles.values()], controls: controls(), areas},
});

function refresh() {
  const typed = data.recipes[$("recipe").value], now = form().values;
  $("description").textContent = typed.description;
  $("flag-recipe").textContent = `--recipe ${$("recipe").value}`;
  for (const name of ["style_weight", "style_scales"]) $(`flag-${name}`).textContent = `--${name.replaceAll("_", "-")} ${now[name] ?? typed.values[name]}`;
  $("style_weight").disabled = !+typed.values.style_weight;
  for (const input of more()) {
    if (input.tagName == "SELECT") input.options[0].textContent = `as the recipe: ${typed.values[input.id]}`;
    else input.placeholder = typed.values[input.id];
  }
  for (const button of $("looks").children) {
    button.ariaPressed = Object.entries({...PLAIN, ...LOOKS[button.textContent]}).every(([name, value]) => $(name).value == value);
  }
  $("paint-film").hidden = $("frames").hidden = !isFilm();
  $("paint").textContent = isFilm() ? "Paint this frame" : "Paint";
  $("frame").max = images.get(chosen.content)?.frames ?? 1;
  $("frame-number").textContent = `${$("frame").value} of ${$("frame").max}`;
  showAreas();
  try {
    localStorage.form = JSON.stringify(form(areas()));
  } catch { localStorage.clear(); }  // more is drawn than a browser keeps
}

function thumbnail(key, attributes, press, remove) {
  const button = make("button", {type: "button", title: key, onclick: press},
    make("img", {src: `images/${key}`, alt: ""}), make("span", {textContent: titled(key)}));
  Object.assign(button, attributes).dataset.key = key;
  const figure = make("figure", {className: "thumb"}, button);
  if (remove) figure.append(make("button", {type: "button", className: "remove", ariaLabel: `Remove ${key}`, textContent: "\u00d7", onclick: remove}));
  return figure;
}
function showImages() {
  const focused = document.activeElement?.dataset?.key;
  for (const takes of ["content", "styles"]) {
    const listed = [...images.values()].filter(image => image.kind == takes).sort((a, b) => b.own - a.own);
    $(takes).replaceChildren(...listed.map(({key, own}) => thumbnail(key,
      {ariaPressed: takes == "content" ? chosen.content == key : chosen.styles.has(key)},
      () => choose(takes, key), own && (() => removeImage(takes, key)))));
  }
  if (focused) document.querySelector(`.thumbs [data-key="${CSS.escape(focused)}"]`)?.focus();
  $("blend").replaceChildren(...(chosen.styles.size > 1 ? [...chosen.styles].map(([key, weight], i) => {
    const change = event => { chosen.styles.set(key, +event.target.value); changed(); };
    return make("div", {className: "field"}, make("label", {htmlFor: `blend-${i}`}, `Share of ${titled(key)}`),
      make("input", {type: "range", id: `blend-${i}`, min: 0, max: 100, value: weight, oninput: change}));
  }) : []));
  refresh();
}
function choose(takes, key) {  // something always is
  if (takes == "content") chosen.content = key;
  else if (!$("mix").checked) chosen.styles = new Map([[key, 50]]);
  else if (!chosen.styles.delete(key) || !chosen.styles.size) chosen.styles.set(key, 50);
  showImages();
  changed();
}
function take(takes, keys) {  // own images replace the example
  if (takes == "content") return choose(takes, keys.at(-1));
  const before = $("mix").checked ? [...chosen.styles.keys()].filter(key => images.get(key).own) : [];
  chosen.styles = new Map([...before, ...keys].map(key => [key, chosen.styles.get(key) ?? 50]));
  $("mix").checked ||= chosen.styles.size > 1;
  showImages();
  changed();
}
async function removeImage(takes, key) {
  complain(await ask(`remove/${key}`));
  images.delete(key);
  if (chosen.content == key) chosen.content = data.example.content;
  if (chosen.styles.delete(key) && !chosen.styles.size) chosen.styles.set(data.example.styles[0], 50);
  showImages();
  $(`${takes}-file`).focus();
  changed();
}

let uploads = Promise.resolve();
const isComing = () => Boolean(document.querySelector(".coming > *"));
function upload(takes, files) {
  const batch = [...files], notes = batch.map(file => make("span", {textContent: `${file.name}: on its way`})), problems = [], keys = [];
  if (!isComing()) complain();
  $(`${takes}-coming`).append(...notes);
  uploads = uploads.then(async () => {
    for (const [i, file] of batch.entries()) {
      const image = await ask(`images?kind=${takes}&name=${encodeURIComponent(file.name)}`, file);
      notes[i].remove();
      if (image.error) problems.push(image.error);
      else keys.push(images.set(image.key, image) && image.key);
    }
    if (keys.length) take(takes, keys);
    if (problems.length) complain({error: [$("error").textContent, ...problems].filter(Boolean).join("\n")});
  });
}
const takesAt = target => target.closest?.("[data-takes]")?.dataset.takes ?? "content";
document.ondragover = event => {
  event.preventDefault();
  if (event.dataTransfer.types.includes("Files")) $("drop").hidden = false;
  for (const half of $("drop").children) half.classList.toggle("over", half == event.target);
};
document.ondragleave = event => { if (!event.relatedTarget) $("drop").hidden = true; };
document.ondrop = event => {
  event.preventDefault();
  $("drop").hidden = true;
  upload(takesAt(event.target), event.dataTransfer.files);
};
document.onpaste = event => {
  if (!event.clipboardData.files.length) return;
  upload(takesAt(document.querySelector("section:hover") ?? document.activeElement), event.clipboardData.files);
};
for (const takes of ["content", "styles"]) {
  $(`${takes}-file`).onchange = event => { upload(takes, event.target.files); event.target.value = ""; };
}

async function fill(old) {  // the form as it was
  const {weights = [], controls = {}, areas} = old.page ?? {};
  if (images.has(old.content)) chosen.content = old.content;
  const styles = old.styles.map((key, i) => [key, weights[i] ?? 50]).filter(([key]) => images.has(key));
  if (styles.length) chosen.styles = new Map(styles);
  $("mix").checked = chosen.styles.size > 1;
  if (data.recipes[old.recipe]) $("recipe").value = old.recipe;
  $("max_size").value = old.values.max_size ?? "";
  setControls(controls);
  for (const input of more()) input.value = old.values[input.id] ?? "";
  showImages();
  $("frame").value = old.frame ?? 1;
  await readAreas(areas);
}
$("looks").append(...Object.entries(LOOKS).map(([name, look]) => make("button", {type: "button", textContent: name, onclick: () => {
  setControls(look);
  changed();
}})));
$("mix").onchange = () => $("mix").checked || choose("styles", [...chosen.styles.keys()].at(-1));
$("clear").onclick = () => {
  for (const input of more()) input.value = "";
  setControls();
  changed();
};

// A first look, before Paint is pressed, and the time that the picture will take.
let asked = 0, waiting;  // asked: the number of the first look that is wanted
const untouched = JSON.stringify(form()), isExample = () => JSON.stringify(form()) == untouched;
const stopLooking = () => { clearTimeout(waiting); asked = 0; };
function changed() {
  refresh();
  clearTimeout(waiting);
  waiting = setTimeout(lookAhead, 300);
}
async function lookAhead(isUsers = true) {  // a result that is shown gives way only to what the user does
  const mine = asked = Math.random();
  if (isUsers) showLook();
  await showTime();
  if (mine != asked || isExample() || !$("run").hidden || !$("result").hidden) return;
  says("look-caption", "A first look is on its way");
  const {recipe, values: few} = data.look, look = {...values(recipe, 1.2), ...few};  // one pass is bolder, by eye
  if ($("colors").value) look.colors = $("colors").value;
  const {error} = await ask("look", JSON.stringify({...form(), recipe, values: look, number: mine}));
  if (mine == asked && error) says("look-caption", "");
}
async function showTime() {
  const {seconds: time, film, size} = await ask("estimate", JSON.stringify(form()));
  if (size && !isExample()) sized($("look-picture"), size);
  says("time", time ? `about ${seconds(time)} here${film ? `, the film ${seconds(film)}` : ""}` : "");
  if (!isComing()) says("paint-time", $("time").textContent);
}
function showFirstLook(run) {
  if (run.number != asked || run.status != "done") return;
  asked = 0;
  if (run.picture && !run.error) $("look-picture").src = `seen.jpg?${run.picture}`;
  says("look-caption", run.error ? "" : "A first look. Paint makes it finer.");
}
function showLook() {
  if (!$("run").hidden) return;
  const [style] = chosen.styles.keys();
  showResult(null);
  $("look").hidden = false;
  const before = isExample() ? "page/example.jpg" : `images/${chosen.content}`;
  if ($("look").dataset.before != before) $("look-picture").src = $("look").dataset.before = before;
  $("look-photo").src = `images/${chosen.content}`;
  $("look-style").src = `images/${style}`;
  says("look-caption", isExample() ? `For example: ${titled(chosen.content)}, painted as ${titled(style)}. Now your own?` : "");
}

async function paint(extra) {
  complain();
  stopLooking();
  if (isComing()) says("paint-time", "waits for what is on its way");
  await uploads;
  const wanted = await formWithMasks();
  stopLooking();
  says("paint-time", $("time").textContent);
  if (wanted) complain(await ask("paint", JSON.stringify({...wanted, ...extra})));
}
$("look-picture").onload = event => isExample() && sized(event.target, [event.target.naturalWidth, event.target.naturalHeight]);
$("form").oninput = event => event.target.type != "file" && changed();
$("form").onsubmit = event => { event.preventDefault(); paint(); };
$("paint-film").onclick = () => paint({film: true});
$("stop").onclick = () => ask("stop");
