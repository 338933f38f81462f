// Where what goes on the photograph: a layer for what stays and for each painting, white and opaque where it goes.
"use strict";
const STAYS = "stays", ERASER = "eraser";
const sheets = new Map();  // by photograph: {photo, layers}; the layers by target: {canvas, url}, no url for an empty one
let target = STAYS;
const targets = () => [STAYS, ...(chosen.styles.size > 1 ? chosen.styles.keys() : [])];
const loaded = url => new Promise((done, failed) => Object.assign(new Image(), {src: url, onload() { done(this); }, onerror: failed}));
const sizedAs = ({width, height}) => make("canvas", {width, height});
const stem = key => images.get(key).name.replace(/\.[^.]*$/, "");

async function sheet() {
  const key = chosen.content;
  if (!sheets.has(key)) {
    const photo = await loaded(`images/${key}`);
    sheets.set(key, {photo, layers: {}});
  }
  return sheets.get(key);
}
function layer({photo, layers}, name) {
  if (!layers[name]) {
    layers[name] = {canvas: sizedAs(photo), url: ""};
    layers[name].canvas.getContext("2d", {willReadFrequently: true});  // its pixels are read after each stroke
  }
  return layers[name];
}
function noted(one) {  // the layer, with its url as it is now
  const {data} = one.canvas.getContext("2d").getImageData(0, 0, one.canvas.width, one.canvas.height);
  one.url = data.some((value, i) => i % 4 == 3 && value) ? one.canvas.toDataURL() : "";
}
function areas() {  // the layers that are drawn, as urls
  const layers = sheets.get(chosen.content)?.layers ?? {};
  return Object.fromEntries(targets().filter(name => layers[name]?.url).map(name => [name, layers[name].url]));
}
function showAreas() {
  $("draw").disabled = !chosen.content;
  const names = Object.keys(areas()).map(name => name == STAYS ? "what stays" : images.get(name).name);
  $("drawn").textContent = names.length ? `drawn: ${names.join(", ")}` : "";
}

// As the program reads a mask: its opacity where some of it is transparent, else how light it is.
function read(one, image) {
  const context = one.canvas.getContext("2d");
  context.globalCompositeOperation = "copy";
  context.drawImage(image, 0, 0, one.canvas.width, one.canvas.height);
  const pixels = context.getImageData(0, 0, one.canvas.width, one.canvas.height), {data} = pixels;
  const isClear = data.some((value, i) => i % 4 == 3 && value < 255);
  for (let i = 0; i < data.length; i += 4) {
    if (!isClear) data[i + 3] = .299 * data[i] + .587 * data[i + 1] + .114 * data[i + 2];
    data.fill(255, i, i + 3);
  }
  context.putImageData(pixels, 0, 0);
  noted(one);
}
async function readAreas(urls = {}) {
  if (!chosen.content) return;
  const onto = await sheet();
  onto.layers = {};
  for (const [name, url] of Object.entries(urls)) read(layer(onto, name), await loaded(url));
  refresh();
}

function mask({photo, layers}, names, isRest) {  // white on black: where some layers are, or where none of them is
  const canvas = sizedAs(photo), context = canvas.getContext("2d");
  const fill = color => { context.fillStyle = color; context.fillRect(0, 0, canvas.width, canvas.height); };
  context.globalCompositeOperation = "lighter";
  for (const name of names) context.drawImage(layers[name].canvas, 0, 0);
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
  const image = await send(path, await new Promise(done => canvas.toBlob(done)));
  if (image) images.set(image.key, image);
  return image?.key;
}
async function sendAreas() {  // what the form says of masks, by keys of images; null if one was refused
  const onto = sheets.get(chosen.content), names = Object.keys(areas()), keys = {};
  for (const name of names) keys[name] = await sendMask(mask(onto, [name]), name == STAYS ? name : stem(name));
  const styles = names.some(name => name != STAYS) ? [...chosen.styles.keys()] : [];
  if (styles.some(name => !keys[name])) keys.rest = await sendMask(mask(onto, names, true), "rest");
  if (Object.values(keys).includes(undefined)) return null;
  return {
    content_mask: keys[STAYS] ?? null, style_masks: styles.map(name => keys[name] ?? keys.rest),
    areas: Object.fromEntries(names.map(name => [name, `images/${keys[name]}`])),
  };
}

// Drawing.
function showSheet({photo, layers}) {
  const view = $("sheet").getContext("2d"), tint = sizedAs(photo), over = tint.getContext("2d");
  view.clearRect(0, 0, photo.width, photo.height);
  for (const name of targets().filter(name => layers[name])) {
    const thumb = $("targets").querySelector(`[data-of="${name}"]`);
    over.globalCompositeOperation = "copy";
    over.drawImage(layers[name].canvas, 0, 0);
    over.globalCompositeOperation = "source-in";
    over.fillStyle = name == STAYS ? getComputedStyle(thumb).backgroundColor : over.createPattern(thumb, "repeat");
    over.fillRect(0, 0, photo.width, photo.height);
    view.drawImage(tint, 0, 0);
  }
}
function drawLine(onto, from, to) {  // a place has one painting at most
  for (const name of targets()) {
    const {canvas} = layer(onto, name), context = canvas.getContext("2d");
    context.globalCompositeOperation = name == target ? "source-over" : "destination-out";
    context.strokeStyle = "#fff";
    context.lineCap = "round";
    context.lineWidth = Math.max(canvas.width, canvas.height) * $("brush").value / 100;
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
  }
  showSheet(onto);
}
function changed(onto) {
  Object.values(onto.layers).forEach(noted);
  showSheet(onto);
  refresh();
}
$("draw").onclick = async () => {
  const onto = await sheet(), canvas = $("sheet");
  if (![...targets(), ERASER].includes(target)) target = STAYS;
  const entry = (name, text, flag, picture) => {
    const input = make("input", {type: "radio", name: "target", checked: name == target, onchange: () => { target = name; }});
    if (picture) picture.dataset.of = name;
    return make("label", {}, input, picture ?? "", make("span", {textContent: text}), make("code", {textContent: flag}));
  };
  const styles = await Promise.all(targets().slice(1).map(async key =>
    entry(key, `${images.get(key).name} goes here`, "--style-masks", Object.assign(await loaded(`images/${key}`), {alt: ""}))));
  $("targets").replaceChildren(
    entry(STAYS, "leave this as it is", "--content-mask", make("span", {className: "swatch"})), ...styles, entry(ERASER, "erase", ""));
  $("below").src = onto.photo.src;
  [canvas.width, canvas.height] = [onto.photo.width, onto.photo.height];
  canvas.parentElement.style.setProperty("--ratio", canvas.width / canvas.height);
  let last = null;
  const at = event => [event.offsetX * canvas.width / canvas.clientWidth, event.offsetY * canvas.height / canvas.clientHeight];
  const draw = event => { drawLine(onto, last ?? at(event), at(event)); last = at(event); };
  canvas.onpointerdown = event => {
    if (event.button || !event.isPrimary) return;
    canvas.setPointerCapture(event.pointerId);
    draw(event);
  };
  canvas.onpointermove = event => { if (last && event.isPrimary) draw(event); };
  canvas.onpointerup = canvas.onpointercancel = () => { last = null; changed(onto); };
  $("undraw").onclick = () => { onto.layers = {}; changed(onto); };
  $("mask-file").onchange = async event => {
    const [file] = event.target.files, problem = `${file.name}: is no image that this browser can read; save it as PNG`;
    event.target.value = "";
    const image = await createImageBitmap(file).catch(() => null);
    $("draw-error").textContent = image ? "" : problem;
    if (image) read(layer(onto, target), image);
    changed(onto);
  };
  $("drawing").showModal();
  showSheet(onto);
};
$("close-drawing").onclick = () => $("drawing").close();
