// The form, and the results.
"use strict";
const data = JSON.parse($("data").textContent);
heard.error = () => complain("the program does not answer; is it still running? If it is, load the page anew");
heard.open = () => { if (!$("error").hidden && $("error").textContent.startsWith("the program does not")) complain(""); };
const images = new Map(data.images.map(image => [image.key, image]));
const chosen = {content: "harbour", styles: new Map([["woodcut", 50]])};
const own = id => [...document.querySelectorAll(".more")].filter(input => input.id == id || !id);
const settings = () => data.recipes[$("recipe").value];
const round = number => String(Number(number.toPrecision(3)));

async function send(path, body) {
  complain("");
  let answer, said;
  try {
    answer = await fetch(path, {method: "POST", body});
    said = await answer.json();
  } catch (problem) {
    said = {error: "the program does not answer; is it still running?"};
  }
  if (said.error) complain(said.error);
  mark(said.error ?? "");
  return said.error ? null : said;
}

function values() {  // of the settings, by their names, as on the command line
  const found = {colors: $("colors").value};
  if ($("max_size").value) found.max_size = $("max_size").value;
  for (const name of ["style_weight", "tv_weight"]) {
    if (+$(name).value) found[name] = round(+settings().values[name] * 10 ** +$(name).value);
  }
  const weights = [...chosen.styles.values()];
  if (+$("style_scales").value != 1 && weights.length) found.style_scales = weights.map(() => $("style_scales").value).join(" ");
  if (weights.length > 1) found.style_blend_weights = weights.join(" ");
  for (const input of own()) if (input.value.trim()) found[input.id] = input.value.trim();
  return found;
}
function mark(problem) {  // the field of the flag that an error names
  const name = problem.match(/^argument --([\w-]+)/)?.[1].replaceAll("-", "_");
  for (const field of $("form").elements) field.ariaInvalid = name && field.id == name ? "true" : null;
  const field = $("form").elements[name];
  if (!field) return;
  if ($("more").contains(field)) $("more").open = true;
  field.focus();
}
const form = () => ({
  content: chosen.content, styles: [...chosen.styles.keys()], recipe: $("recipe").value, values: values(),
  areas: areas(),
  sliders: Object.fromEntries(["style_weight", "tv_weight", "style_scales"].map(name => [name, $(name).value])),
});

function refresh() {
  const {description, values: typed} = settings(), now = values();
  $("description").textContent = description;
  $("flag-recipe").textContent = `--recipe ${$("recipe").value}`;
  for (const name of ["max_size", "style_weight", "tv_weight", "style_scales"]) {
    $(`flag-${name}`).textContent = `--${name.replaceAll("_", "-")} ${now[name] ?? typed[name]}`;
  }
  for (const name of ["style_weight", "tv_weight"]) $(name).disabled = !+typed[name];
  $("flag-colors").textContent = `--colors ${now.colors}`;
  for (const input of own()) {
    if (input.tagName == "SELECT") input.options[0].textContent = `as the recipe: ${typed[input.id]}`;
    else input.placeholder = `as the recipe: ${typed[input.id]}`;
  }
  for (const flag of document.querySelectorAll("#blend code")) flag.textContent = `--style-blend-weights ${now.style_blend_weights}`;
  showAreas();
  try {
    sessionStorage.setItem(location.origin, JSON.stringify({...form(), weights: [...chosen.styles.values()]}));
  } catch { sessionStorage.clear(); }  // more is drawn than a browser keeps over a reload
}

function showImages() {
  for (const takes of ["content", "styles"]) {
    const focused = document.activeElement?.dataset?.key;
    $(takes).replaceChildren(...[...images.values()].filter(image => [takes, "own"].includes(image.kind)).map(image => {
      const button = make("button", {type: "button", title: image.name, onclick: () => choose(takes, image.key)},
        make("img", {src: `images/${image.key}`, alt: image.name}));
      button.dataset.key = `${takes} ${image.key}`;
      button.ariaPressed = takes == "content" ? chosen.content == image.key : chosen.styles.has(image.key);
      return button;
    }));
    if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }
  $("blend").replaceChildren(...(chosen.styles.size > 1 ? [...chosen.styles].map(([key, weight], i) => {
    const change = event => { chosen.styles.set(key, +event.target.value); refresh(); };
    return make("div", {className: "field"}, make("label", {htmlFor: `blend-${i}`}, `Share of ${images.get(key).name}`), make("code"),
      make("input", {type: "range", id: `blend-${i}`, min: 0, max: 100, value: weight, oninput: change}));
  }) : []));
  refresh();
}
function choose(takes, key) {
  if (takes == "content") chosen.content = chosen.content == key ? null : key;
  else if (!chosen.styles.delete(key)) chosen.styles.set(key, 50);
  showImages();
}
async function upload(takes, files) {
  for (const file of files) {
    if (file.size > data.mostBytes) { complain(`${file.name}: has more than ${data.mostBytes / 2 ** 20} MiB, which is the most here; make it smaller first`); continue; }
    const image = await send(`images?name=${encodeURIComponent(file.name)}`, file);
    if (!image) continue;
    images.set(image.key, image);
    takes == "content" ? chosen.content = image.key : chosen.styles.set(image.key, 50);
    showImages();
  }
}
async function fill(old) {  // the form as it was
  chosen.content = images.has(old.content) ? old.content : null;
  const weights = (old.values.style_blend_weights || "").split(" ");
  chosen.styles = new Map(old.styles.filter(key => images.has(key)).map((key, i) => [key, +(old.weights?.[i] ?? weights[i] ?? "") || 50]));
  if (data.recipes[old.recipe]) $("recipe").value = old.recipe;
  $("max_size").value = old.values.max_size ?? "";
  $("colors").value = old.values.colors ?? "style";
  for (const [name, value] of Object.entries(old.sliders)) $(name).value = value;
  for (const input of own()) input.value = old.values[input.id] ?? "";
  if (own().some(input => input.value)) $("more").open = true;
  showImages();
  await readAreas(old.areas);
}
for (const section of document.querySelectorAll(".drop")) {
  const takes = section.dataset.takes, over = is => event => { event.preventDefault(); section.classList.toggle("over", is); };
  section.ondragover = over(true);
  section.ondragleave = over(false);
  section.ondrop = event => { over(false)(event); upload(takes, event.dataTransfer.files); };
  $(`${takes}-file`).onchange = async event => { const files = [...event.target.files]; event.target.value = ""; await upload(takes, files); };
}
$("form").oninput = refresh;
async function paint(more) {
  const masks = await sendAreas();
  if (masks) await send("paint", JSON.stringify({...form(), ...masks, ...more}));
}
$("form").onsubmit = event => { event.preventDefault(); paint(); };
$("clear").onclick = () => {
  for (const input of own()) input.value = "";
  for (const [name, value] of [["style_weight", 0], ["tv_weight", 0], ["style_scales", 1]]) $(name).value = value;
  refresh();
};
const showing = heard.run;
heard.run = event => {  // one picture is painted at a time
  showing(event);
  for (const id of ["paint", "from-here", "go-on"]) $(id).disabled = !$("run").hidden;
};
$("stop").onclick = () => send("stop");

// What follows shows results.
let results = [], resumable = null, current = null;
function showResult(name, focus) {
  const result = results.find(one => one.name == name);
  current = result ? name : null;
  $("result").hidden = !result;
  for (const button of document.querySelectorAll(".strip [data-name]")) button.ariaCurrent = button.dataset.name == name;
  if (!result) return;
  const content = result.form.content;
  $("name").textContent = `${result.name}, ${result.size.join(" x ")} pixels`;
  $("after").src = $("full").href = $("png").href = `results/${name}.png`;
  $("before").src = content ? `images/${content}` : $("after").src;
  $("compare").style.setProperty("--ratio", result.size[0] / result.size[1]);
  $("slide-label").hidden = !content;
  $("slide").value = 0;
  $("slide").oninput();
  $("toml").href = `results/${name}.toml`;
  [$("png").download, $("toml").download] = [`${name}.png`, `${name}.toml`];
  $("note").textContent = result.note;
  $("command").textContent = result.command;
  const masks = new Set([result.form.content_mask, ...(result.form.style_masks ?? [])].filter(key => images.has(key)));
  $("masks").replaceChildren(...[...masks].flatMap(key =>
    [" · ", make("a", {href: `images/${key}`, download: images.get(key).name, textContent: `mask ${images.get(key).name}`})]));
  $("go-on").hidden = resumable != name;
  if (focus) $("name").focus();
}
$("slide").oninput = () => { $("after").style.clipPath = `inset(0 0 0 ${$("slide").value}%)`; };
$("go-on").onclick = () => send("go-on");
const again = name => fill(results.find(one => one.name == name).form);
$("again").onclick = () => again(current);
$("from-here").onclick = () => paint({start: current});
heard.results = event => {
  const told = JSON.parse(event.data), newest = told.all.at(-1)?.name, isNew = newest && !results.some(one => one.name == newest);
  [results, resumable] = [told.all, told.resumable];
  $("results").hidden = !results.length;
  $("strip").replaceChildren(...results.map(({name}) => {
    const show = make("button", {title: `show ${name}`, onclick: () => showResult(name, true)}, make("img", {src: `images/${name}`, alt: name}));
    show.dataset.name = name;
    return make("figure", {}, show, make("span", {}, name), make("button", {onclick: () => again(name)}, "Use these again"));
  }));
  showResult(isNew ? newest : current);
};
const kept = sessionStorage.getItem(location.origin);
kept ? fill(JSON.parse(kept)) : showImages();
