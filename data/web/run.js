// Shows a run, of the page or of the command line, while it works.
"use strict";
const $ = id => document.getElementById(id);
const make = (tag, parts = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), parts);
  element.append(...children);
  return element;
};
const seconds = s => s < 100 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`;
const says = (id, text) => { if ($(id).textContent != text) $(id).textContent = text; };

function drawLosses(names, rows) {  // by iteration, on a log scale of five decades at most
  const logs = rows.map(row => row.slice(1).map(Math.log10)), all = logs.flat().filter(Number.isFinite);
  if (!all.length) return;
  const top = Math.max(...all), low = Math.max(Math.min(...all), top - 5), end = Math.max(rows.at(-1)[0], 1);
  const x = at => 50 + 400 * at / end, y = log => 12 + 180 * Math.min((top - log) / (top - low || 1), 1);
  const lines = names.map((name, i) => {
    const points = rows.map((row, k) => `${x(row[0]).toFixed(1)},${y(logs[k][i]).toFixed(1)}`).join(" ");
    const color = `var(--${name}, var(--other))`;
    return `<polyline points="${points}" fill="none" stroke="${color}" stroke-width="2"/>`
      + `<text x="456" y="${16 + 16 * i}" fill="${color}">${name}</text>`;
  });
  $("plot").innerHTML = `${lines.join("")}<text x="0" y="16">${(10 ** top).toPrecision(2)}</text>`
    + `<text x="0" y="196">${(10 ** low).toPrecision(2)}</text>`
    + `<text x="450" y="214" text-anchor="end">${end} iterations</text>`;
}
const sized = (element, [wide, high]) => {
  element.style.setProperty("--ratio", wide / high);
  element.style.setProperty("--wide", `${wide}px`);
};
let shown = 0;
function showRun(run) {
  const isBusy = run.key != "" && ["starting", "painting"].includes(run.status);
  if (isBusy && $("run").hidden) scrollTo({top: 0});
  $("run").hidden = !isBusy;
  if (!isBusy) return;
  const percent = `${Math.floor(100 * (run.share ?? 0))} %`;
  document.title = `${percent} · neural-style`;
  says("status", run.status == "painting" ? "Painting" : "Looking at the images");
  $("facts").textContent = run.share == null ? "" : percent + (run.left == null ? "" : `, about ${seconds(run.left)} left`);
  run.share == null ? $("bar").removeAttribute("value") : $("bar").value = run.share;
  $("losses").hidden = !run.history?.length;
  if (run.history?.length) drawLosses(run.names, run.history);
  if (!run.picture) $("seen").hidden = true;
  else if (run.picture != shown) {  // decoded before it takes the other's place, so that nothing flickers
    const next = new Image();
    next.onload = () => { sized($("seen"), run.size); $("seen").src = next.src; $("seen").hidden = false; };
    next.src = `seen.jpg?${shown = run.picture}`;
  }
}
const heard = {
  run: showRun,
  error: () => { says("status", "The run has ended"); $("facts").textContent = ""; },
};
document.addEventListener("DOMContentLoaded", () => {  // when all scripts are here, so that no event is missed
  const events = new EventSource("events");
  for (const [name, hear] of Object.entries(heard)) events.addEventListener(name, event => hear(event.data && JSON.parse(event.data)));
});
