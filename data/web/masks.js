// Where what goes on the photograph: a layer for what stays and for each painting, white and opaque where it goes.
"use strict";
const STAYS = "stays", ERASER = "eraser", MOST_STEPS = 30;
const sheets = new Map();  // by photograph: {photo, layers, done, undone}; the layers are canvases by target
let target = STAYS, onto = null;  // the sheet that is drawn on
const targets = () => [STAYS, ...(chosen.styles.size > 1 ? chosen.styles.keys() : [])];
const loaded = url => new Promise((done, failed) => Object.assign(new Image(), {src: url, onload() { done(this); }, onerror: failed}));
const sizedAs = ({width, height}) => make("canvas", {width, height});
const brush = canvas => canvas.getContext("2d", {willReadFrequently: true});  // its pixels are read after each stroke

async function sheet() {
  const key = chosen.content;
  if (!sheets.has(key)) sheets.set(key, {photo: await loaded(`images/${key}`), layers: {}, urls: {}, done: [], undone: []});
  return sheets.get(key);
}
const layer = ({photo, layers}, name) => layers[name] ??= sizedAs(photo);
const isEmpty = canvas => !brush(canvas).getImageData(0, 0, canvas.width, canvas.height).data.some((value, i) => i % 4 == 3 && value);
const copied = canvas => { const copy = sizedAs(canvas); brush(copy).drawImage(canvas, 0, 0); return copy; };
function areas() {  // the layers that are drawn, as urls
  const urls = sheets.get(chosen.content)?.urls ?? {};
  return Object.fromEntries(targets().filter(name => urls[name]).map(name => [name, urls[name]]));
}
const urlsOf = layers =>
  Object.fromEntries(Object.entries(layers).filter(([, canvas]) => !isEmpty(canvas)).map(([name, canvas]) => [name, canvas.toDataURL()]));
function showAreas() {
  const names = Object.keys(areas()).map(name => name == STAYS ? "what stays" : titled(name));
  $("drawn").textContent = names.length ? `drawn: ${names.join(", ")}` : "";
}

// As the program reads a mask: how light it is, times its opacity.
function read(canvas, image) {
  const context = brush(canvas);
  context.globalCompositeOperation = "copy";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height), {data} = pixels;
  for (let i = 0; i < data.length; i += 4) {
    data[i + 3] *= (.299 * data[i] + .587 * data[i + 1] + .114 * data[i + 2]) / 255;
    data.fill(255, i, i + 3);
  }
  context.putImageData(pixels, 0, 0);
}
async function readAreas(urls = {}) {
  const onto = await sheet();
  onto.layers = {};
  for (const [name, url] of Object.entries(urls)) {
    const image = await loaded(url).catch(() => null);
    if (image) read(layer(onto, name), image);
  }
  onto.urls = urlsOf(onto.layers);
  refresh();
}

function mask({photo, layers}, names, isRest) {  // white on black: where some layers are, or where none of them is
  const canvas = sizedAs(photo), context = canvas.getContext("2d");
  const fill = color => { context.fillStyle = color; context.fillRect(0, 0, canvas.width, canvas.height); };
  context.globalCompositeOperation = "lighter";
  for (const name of names) context.drawImage(layers[name], 0, 0);
  if (isRest) {
    context.globalCompositeOperation = "source-out";
    fill("#fff");
  }
  context.globalCompositeOperation = "destination-over";
  fill("#000");
  return canvas;
}
async function sendMask(canvas, name) {  // its key; undefined if it was refused
  const path = `images?kind=mask&name=${encodeURIComponent(`${stem(chosen.content)}-${name}.png`)}`;
  const image = await ask(path, await new Promise(done => canvas.toBlob(done)));
  if (image.error) complain(image);
  else images.set(image.key, image);
  return image.key;
}
async function formWithMasks() {  // which are sent first; null if one was refused
  const onto = sheets.get(chosen.content), names = Object.keys(areas()), keys = {};
  for (const name of names) keys[name] = await sendMask(mask(onto, [name]), name == STAYS ? name : stem(name));
  const styles = names.some(name => name != STAYS) ? [...chosen.styles.keys()] : [];
  if (styles.some(name => !keys[name])) keys.rest = await sendMask(mask(onto, names, true), "rest");
  if (Object.values(keys).includes(undefined)) return null;
  return {
    ...form(Object.fromEntries(names.map(name => [name, `images/${keys[name]}`]))),
    content_mask: keys[STAYS] ?? null, style_masks: styles.map(name => keys[name] ?? keys.rest),
  };
}

// Drawing. Each step begins with a note of how the layers were, to be undone.
function step() {
  onto.done.push(Object.fromEntries(Object.entries(onto.layers).map(([name, canvas]) => [name, copied(canvas)])));
  if (onto.done.length > MOST_STEPS) onto.done.shift();
  onto.undone = [];
}
function turn(from, to) {  // undo, or redo
  if (!from.length) return;
  to.push(onto.layers);
  onto.layers = from.pop();
  finish();
}
function finish() {
  onto.urls = urlsOf(onto.layers);
  showSheet();
  [$("undo").ariaDisabled, $("redo").ariaDisabled] = [onto.done, onto.undone].map(steps => String(!steps.length));
  refresh();
}
function showSheet() {
  const {photo, layers} = onto, view = $("sheet").getContext("2d"), tint = sizedAs(photo), over = tint.getContext("2d");
  view.clearRect(0, 0, photo.width, photo.height);
  for (const name of targets().filter(name => layers[name])) {
    const thumb = $("targets").querySelector(`[data-of="${name}"]`);
    over.globalCompositeOperation = "copy";
    over.drawImage(layers[name], 0, 0);
    over.globalCompositeOperation = "source-in";
    over.fillStyle = name == STAYS ? getComputedStyle(thumb).backgroundColor : over.createPattern(thumb, "repeat");
    over.fillRect(0, 0, photo.width, photo.height);
    view.drawImage(tint, 0, 0);
  }
}
const wide = () => Math.max(onto.photo.width, onto.photo.height) * $("brush").value / 100;
function eachLayer(change) {  // a place has one painting at most
  for (const name of targets()) {
    const context = brush(layer(onto, name));
    context.globalCompositeOperation = name == target ? "source-over" : "destination-out";
    context.fillStyle = context.strokeStyle = "#fff";
    change(context);
    context.filter = "none";
  }
  showSheet();
}
const line = (from, to) => eachLayer(context => {
  const soft = $("soft").value / 100;
  if (soft) context.filter = `blur(${wide() * soft / 4}px)`;
  context.lineCap = "round";
  context.lineWidth = wide() * (1 - soft / 2);
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(to[0] + .01, to[1]);  // a line without length is no dot
  context.stroke();
});
function once(change) {  // a button's change, as a step
  step();
  change();
  finish();
}
let last = null, cursor = null;  // where the stroke, and the brush, are: pixels of the photograph
function moveTo(at) {
  cursor = at;
  const canvas = $("sheet"), scale = canvas.clientWidth / canvas.width;
  Object.assign($("outline").style, {left: `${at[0] * scale}px`, top: `${at[1] * scale}px`, width: `${wide() * scale}px`, height: `${wide() * scale}px`});
}
const at = event => [event.offsetX * $("sheet").width / $("sheet").clientWidth, event.offsetY * $("sheet").height / $("sheet").clientHeight];
Object.assign($("sheet"), {
  onpointerdown(event) {
    if (event.button || !event.isPrimary) return;
    this.setPointerCapture(event.pointerId);
    step();
    line(last = at(event), last);
  },
  onpointermove(event) {
    moveTo(at(event));
    if (last && event.isPrimary) line(last, last = at(event));
  },
  onpointerup() { if (last) finish(last = null); },
  onpointercancel() { if (last) finish(last = null); },
  onkeydown(event) {
    const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!way && event.key != " ") return;
    event.preventDefault();
    if (way) moveTo(cursor.map((value, i) => Math.min(Math.max(value + way[i] * wide() / 2, 0), [this.width, this.height][i])));
    else once(() => line(cursor, cursor));
  },
});
$("drawing").onkeydown = event => {
  if (event.key == "[" || event.key == "]") $("brush").value = +$("brush").value + (event.key == "[" ? -1 : 1);
  if (event.key.toLowerCase() == "z" && (event.ctrlKey || event.metaKey)) (event.shiftKey ? $("redo") : $("undo")).click();
  if (cursor) moveTo(cursor);
};
$("zoom").oninput = () => $("sheet").parentElement.style.setProperty("--zoom", $("zoom").value);
$("undo").onclick = () => turn(onto.done, onto.undone);
$("redo").onclick = () => turn(onto.undone, onto.done);
$("fill").onclick = () => once(() => eachLayer(context => context.fillRect(0, 0, onto.photo.width, onto.photo.height)));
$("invert").onclick = () => once(() => {
  const context = brush(layer(onto, target == ERASER ? STAYS : target));
  context.globalCompositeOperation = "xor";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, onto.photo.width, onto.photo.height);
});
$("undraw").onclick = () => once(() => { onto.layers = {}; });
$("mask-file").onchange = async event => {
  const [file] = event.target.files;
  event.target.value = "";
  const image = await createImageBitmap(file).catch(() => null);
  $("draw-error").textContent = image ? "" : `${file.name} is no image that this browser can read; save it as PNG`;
  if (image) once(() => read(layer(onto, target == ERASER ? STAYS : target), image));
};
$("draw").onclick = async () => {
  onto = await sheet();
  if (![...targets(), ERASER].includes(target)) target = STAYS;
  const entry = (name, text, picture) => {
    const input = make("input", {type: "radio", name: "target", checked: name == target, onchange: () => { target = name; }});
    picture.dataset.of = name;
    return make("label", {}, input, picture, make("span", {textContent: text}));
  };
  const styles = await Promise.all(targets().slice(1).map(async key =>
    entry(key, `${titled(key)} here`, Object.assign(await loaded(`images/${key}`), {alt: ""}))));
  $("targets").replaceChildren(
    entry(STAYS, "leave this as it is", make("span", {className: "swatch"})), ...styles, entry(ERASER, "erase", make("span")));
  $("below").src = onto.photo.src;
  [$("sheet").width, $("sheet").height] = [onto.photo.width, onto.photo.height];
  $("sheet").parentElement.style.setProperty("--ratio", onto.photo.width / onto.photo.height);
  $("drawing").showModal();
  moveTo([onto.photo.width / 2, onto.photo.height / 2]);
  finish();
};
$("close-drawing").onclick = () => $("drawing").close();
