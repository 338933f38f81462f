// The results: one is shown, to be compared with its photograph or with another; all are in a strip.
"use strict";
let results = [], resumable = null, current = null, beside = null;
const named = key => results.find(one => one.key == key);

function showResult(key, focus) {
  const result = named(key), isFilm = result?.form.film;
  current = result ? key : null;
  $("result").hidden = !result;
  markStrip();
  if (!result) return;
  $("look").hidden = true;
  const [wide, high] = result.size, content = images.get(result.form.content), larger = LARGER.find(side => side > Math.max(wide, high));
  sized($("both"), result.size);
  $("compare").className = "compare";
  $("name").textContent = titled(key);
  $("note").textContent = `${wide} × ${high} pixels, ${result.note}`;
  $("film-frames").hidden = $("film").hidden = !isFilm;
  if (isFilm) {
    $("film-frame").max = $("film-frame").value = result.frames;
    if (result.whole) $("film").src = `results/${key}`;
    $("film").hidden = !result.whole;
    showFrame();
  } else {
    $("after").src = `results/${key}`;
    $("before").src = content ? `images/${content.key}?frame=${result.form.frame ?? 1}` : $("after").src;
  }
  $("slide").hidden = $("divider").hidden = !content;
  slide(0);
  $("download").textContent = isFilm ? "Download the film" : "Download";
  $("download").hidden = isFilm && !result.whole;
  [$("download").href, $("download").download] = [`results/${key}`, key];
  for (const kind of ["jpg", "zip"]) [$(kind).href, $(kind).download] = [`results/${key}?as=${kind}`, `${stem(key)}.${kind}`];
  $("jpg").hidden = $("from-here").hidden = isFilm;
  $("command").textContent = result.command;
  $("go-on").hidden = resumable != key;
  $("larger").hidden = !larger || !content || isFilm;
  $("larger").textContent = `Paint it larger, ${larger} pixels`;
  $("two").hidden = results.length < 2;
  if (focus) $("name").focus();
}
function showFrame() {
  const number = $("film-frame").value;
  $("film-number").textContent = `${number} of ${$("film-frame").max}`;
  $("after").src = `results/${current}?frame=${number}`;
  $("before").src = `images/${named(current).form.content}?frame=${number}`;
}
function showBeside(key) {
  beside = key;
  $("beside").hidden = !key;
  if (!key) return;
  $("beside-picture").src = `results/${key}${named(key).form.film ? "?frame=1" : ""}`;
  $("beside").lastElementChild.textContent = titled(key);
}
const isPicking = () => $("two").ariaPressed == "true";
function pick(key) {  // a picture of the strip
  if (isPicking() && key != current) return showBeside(key);
  showBeside(null);
  $("two").ariaPressed = "false";
  showResult(key, true);
}
function markStrip() {
  for (const button of document.querySelectorAll("#strip [data-key]")) button.ariaCurrent = [current, beside].includes(button.dataset.key);
}
function slide(percent) {
  $("slide").value = percent;
  $("after").style.clipPath = `inset(0 0 0 ${percent}%)`;
  $("both").style.setProperty("--at", `${percent}%`);
}
$("slide").oninput = () => slide($("slide").value);

// Drag the divider; a click shows each pixel as one of the screen's, and back.
let from = null;
$("both").onpointerdown = event => {
  if (event.button || !event.isPrimary) return;
  from = {x: event.clientX, y: event.clientY, isDragged: false};
  $("both").setPointerCapture(event.pointerId);
};
$("both").onpointermove = event => {
  if (!from) return;
  from.isDragged ||= Math.abs(event.clientX - from.x) > 4;
  const box = $("both").getBoundingClientRect();
  if (from.isDragged && !$("slide").hidden) slide(Math.min(Math.max(100 * (event.clientX - box.left) / box.width, 0), 100));
};
$("both").onpointerup = event => {
  if (from && !from.isDragged) {
    const box = $("both").getBoundingClientRect(), [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    $("compare").classList.toggle("full");
    $("compare").scrollTo(x * $("both").clientWidth - $("compare").clientWidth / 2, y * $("both").clientHeight - $("compare").clientHeight / 2);
  }
  from = null;
};
$("both").onpointercancel = () => { from = null; };

const again = key => fill(named(key).form).then(refresh);
$("film-frame").oninput = showFrame;
$("two").onclick = () => {
  $("two").ariaPressed = String(!isPicking());
  showBeside(isPicking() ? results.findLast(one => one.key != current).key : null);
  markStrip();
};
$("go-on").onclick = async () => complain(await ask("go_on"));
$("again").onclick = () => again(current);
$("larger").onclick = async () => {
  const side = $("larger").textContent.match(/\d+/)[0];
  await again(current);
  $("max_size").value = side;
  $("width").value = $("height").value = "";
  paint();
};
$("from-here").onclick = () => paint({start: current});
$("copy").onclick = () => {
  getSelection().selectAllChildren($("command"));
  document.execCommand("copy");  // navigator.clipboard is only there with TLS
  $("copy").textContent = "Copied";
};
async function removeResult(key) {
  if (confirm(`Remove ${key} and its files?`)) complain(await ask(`remove/${key}`));
}
heard.results = told => {
  const newest = told.all.at(-1)?.key;
  const isNew = newest && JSON.stringify(told.all.at(-1)) != JSON.stringify(named(newest));
  [results, resumable] = [told.all, told.resumable];
  $("results").hidden = !results.length;
  $("strip").replaceChildren(...results.toReversed().map(({key}) => thumbnail(key, {}, () => pick(key), () => removeResult(key))));
  const wasPainted = !$("run").hidden;
  if (wasPainted && isNew) document.title = `\u2713 ${titled(newest)}`;
  if (!named(beside)) showBeside(null);
  if (isNew || (current && !named(current))) showResult(newest, $("run").contains(document.activeElement));
  else markStrip();
  if (!newest && $("run").hidden) showLook();
};
heard.run = run => {
  const wasBusy = !$("run").hidden, hadFocus = $("run").contains(document.activeElement);
  showRun(run);
  showFirstLook(run);
  const isBusy = !$("run").hidden;
  for (const id of ["paint", "paint-film", "from-here", "go-on", "larger"]) $(id).ariaDisabled = String(isBusy);
  if (isBusy && !wasBusy) $("look").hidden = $("result").hidden = true;
  if (!isBusy && wasBusy) {
    if (run.error) document.title = "neural-style";
    if (hadFocus) ($("result").hidden ? $("paint") : $("name")).focus();
    if ($("result").hidden) showLook();
  }
  if (run.key && run.error && !isBusy) complain(run);
  if (run.status == "done") showTime();  // by what was learned
};
const stored = localStorage.form;
Promise.resolve(stored ? fill(JSON.parse(stored)) : showImages()).then(() => {
  for (const list of document.querySelectorAll(".thumbs")) list.scrollLeft = list.querySelector("[aria-pressed=true]").parentElement.offsetLeft - 90;
  lookAhead(false);
});
