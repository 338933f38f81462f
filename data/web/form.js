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

function values(recipe) {  // of the settings, by their names, as on the command line
  const values = {}, weights = [...chosen.styles.values()], strokes = $("style_scales").value;
  if ($("max_size").value && !$("width").value) values.max_size = $("max_size").value;
  const times = 10 ** +$("style_weight").value;
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
function choose(takes, key) {
  if (takes == "content") chosen.content = chosen.content == key ? null : key;
  else if (!chosen.styles.delete(key)) {
    if (!$("mix").checked) chosen.styles.clear();
    chosen.styles.set(key, 50);
  }
  showImages();
  changed();
}
function take(takes, keys) {  // own images replace the example
  if (takes == "content") chosen.content = keys.at(-1);
  else {
    const before = $("mix").checked ? [...chosen.styles.keys()].filter(key => images.get(key).own) : [];
    chosen.styles = new Map([...before, ...keys].map(key => [key, chosen.styles.get(key) ?? 50]));
    $("mix").checked ||= chosen.styles.size > 1;
  }
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

const coming = [];
let uploads = Promise.resolve();
function showComing() {
  for (const takes of ["content", "styles"]) {
    const names = coming.filter(one => one.takes == takes).map(one => one.file.name);
    $(`${takes}-coming`).textContent = names.length ? `${names.join(", ")}: on its way` : "";
  }
}
function upload(takes, files) {
  const batch = [...files].map(file => ({takes, file})), problems = [], keys = [];
  if (!coming.length) complain();
  coming.push(...batch);
  showComing();
  uploads = uploads.then(async () => {
    for (const one of batch) {
      const image = await ask(`images?kind=${takes}&name=${encodeURIComponent(one.file.name)}`, one.file);
      coming.splice(coming.indexOf(one), 1);
      showComing();
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
  chosen.content = images.has(old.content) ? old.content : null;
  chosen.styles = new Map(old.styles.map((key, i) => [key, weights[i] ?? 50]).filter(([key]) => images.has(key)));
  $("mix").checked = chosen.styles.size > 1;
  if (data.recipes[old.recipe]) $("recipe").value = old.recipe;
  $("max_size").value = old.values.max_size ?? "";
  for (const [name, value] of Object.entries({...PLAIN, ...controls})) $(name).value = value;
  for (const input of more()) input.value = old.values[input.id] ?? "";
  showImages();
  $("frame").value = old.frame ?? 1;
  await readAreas(areas);
}
$("looks").append(...Object.entries(LOOKS).map(([name, look]) => make("button", {type: "button", textContent: name, onclick: () => {
  for (const [control, value] of Object.entries({...PLAIN, ...look})) $(control).value = value;
  changed();
}})));
$("clear").onclick = () => {
  for (const input of more()) input.value = "";
  for (const [name, value] of Object.entries(PLAIN)) $(name).value = value;
  changed();
};

// A first look, before Paint is pressed, and the time that the picture will take.
let asked = 0, waiting, looking, latest = {};  // looking: the number of the first look that is on its way
function changed() {
  refresh();
  clearTimeout(waiting);
  waiting = setTimeout(lookAhead, 300, true);
}
const untouched = JSON.stringify(form()), isExample = () => JSON.stringify(form()) == untouched;
async function lookAhead(isUsers = true) {  // a result that is shown gives way only to what the user does
  const mine = ++asked;
  if (isUsers) showLook();
  const {seconds: time, film, size} = await ask("estimate", JSON.stringify(form()));
  if (mine != asked) return;
  if (size && !isExample()) sized($("look-picture"), size);
  const here = time ? `about ${seconds(time)} here${isFilm() ? `, the film ${seconds(film)}` : ""}` : "";
  $("time").textContent = $("paint-time").textContent = here;
  if (!size || isExample() || !$("run").hidden || (!isUsers && !$("result").hidden)) return;
  says("look-caption", "A first look is on its way");
  const {recipe, values: few} = data.preview, look = {...values(recipe), ...few};
  if ($("colors").value) look.colors = $("colors").value;
  const {number, error} = await ask("preview", JSON.stringify({...form(), recipe, values: look}));
  if (mine != asked) return;
  if (error) says("look-caption", "");
  looking = number;
  showFirstLook();
}
function showFirstLook(run = latest) {
  latest = run;
  if (run.number != looking || run.status != "done") return;
  looking = null;
  if (run.picture && !run.error) $("look-picture").src = `seen.jpg?${run.picture}`;
  says("look-caption", run.error ? "" : "A first look. Paint makes it finer.");
}
function showLook() {
  if (!$("run").hidden) return;
  const [style] = chosen.styles.keys();
  showResult(null);
  looking = null;
  $("look").hidden = !chosen.content;
  if (!chosen.content) return;
  $("look-picture").src = isExample() ? "page/example.jpg" : `images/${chosen.content}`;
  $("look-photo").src = `images/${chosen.content}`;
  $("look-style").src = style ? `images/${style}` : "";
  $("look-style").hidden = !style;
  says("look-caption", isExample() ? `For example: ${titled(chosen.content)}, painted as ${titled(style)}. Now your own?` : "");
}

const stopLooking = () => { clearTimeout(waiting); asked++; looking = null; };
async function paint(extra) {
  complain();
  stopLooking();
  if (coming.length) says("paint-time", "waits for what is on its way");
  await uploads;
  const wanted = await formWithMasks();
  stopLooking();
  says("paint-time", $("time").textContent);
  if (!chosen.content) complain({error: "choose one first", field: "content"});
  else if (!chosen.styles.size) complain({error: "choose one first", field: "styles"});
  else if (wanted) complain(await ask("paint", JSON.stringify({...wanted, ...extra})));
}
$("look-picture").onload = event => isExample() && sized(event.target, [event.target.naturalWidth, event.target.naturalHeight]);
$("form").oninput = event => event.target.type != "file" && changed();
$("form").onsubmit = event => { event.preventDefault(); paint(); };
$("paint-film").onclick = () => paint({film: true});
$("stop").onclick = () => ask("stop");
