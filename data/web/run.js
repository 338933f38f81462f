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

function drawLosses(names, rows) {
  const [wide, high, left, bottom] = [540, 220, 46, 24], svg = [];
  const values = rows.flatMap(row => row.slice(1)).filter(value => value > 0);
  if (!values.length) return;
  const end = Math.max(rows.at(-1)[0], 1);
  const top = Math.ceil(Math.log10(Math.max(...values)) + .01);
  const low = Math.max(Math.floor(Math.log10(Math.min(...values))), top - 6);
  const x = at => left + (wide - left - 70) * at / end;
  const y = value => 8 + (high - bottom - 8) * Math.min((top - Math.log10(value)) / (top - low), 1);
  for (let power = low; power <= top; power++) {
    const at = y(10 ** power);
    svg.push(`<path d="M${left} ${at}H${wide - 70}" stroke="var(--line)"/><text x="2" y="${at + 4}">1e${power}</text>`);
  }
  svg.push(`<text x="${left}" y="${high - 6}">0</text><text x="${x(end)}" y="${high - 6}" text-anchor="end">${end} iterations</text>`);
  let above = -9;
  const last = names.map((name, i) => [name, i]).filter(([, i]) => rows.at(-1)[i + 1] > 0);
  last.sort((a, b) => rows.at(-1)[b[1] + 1] - rows.at(-1)[a[1] + 1]).forEach(([name, i]) => {
    const color = {total: "var(--ink)", content: "var(--content)", style: "var(--style)", tv: "var(--tv)"}[name] || "var(--other)";
    const line = rows.filter(row => row[i + 1] > 0).map(row => `${x(row[0]).toFixed(1)} ${y(row[i + 1]).toFixed(1)}`).join("L");
    above = Math.max(y(rows.at(-1)[i + 1]) + 4, above + 12);
    svg.push(`<path d="M${line}" fill="none" stroke="${color}" stroke-width="${name == "total" ? 2 : 1.5}"/>`,
      `<text x="${x(end) + 6}" y="${above}" fill="currentColor">${name}</text><path d="M${x(end) + 52} ${above - 4}h12" stroke="${color}" stroke-width="3"/>`);
  });
  $("plot").innerHTML = svg.join("");
}
const sized = (element, [wide, high]) => {
  element.style.setProperty("--ratio", wide / high);
  element.style.setProperty("--wide", `${wide}px`);
};
let shown = "";
function showRun(run) {
  const isBusy = ["starting", "painting"].includes(run.status), began = isBusy && $("run").hidden;
  $("run").hidden = !isBusy;
  if (!isBusy) return;
  if (began) scrollTo({top: 0});
  const percent = Math.floor(100 * (run.share ?? 0));
  document.title = `${percent} % · neural-style`;
  says("status", run.status == "painting" ? "Painting" : "Looking at the images");
  $("facts").textContent = run.share == null ? "" : `${percent} %` + (run.left == null ? "" : `, about ${seconds(run.left)} left`);
  run.share == null ? $("bar").removeAttribute("value") : $("bar").value = run.share;
  $("losses").hidden = !run.history?.length;
  if (run.history?.length) drawLosses(run.names, run.history);
  const key = `${run.run}.${run.picture}`;
  if (!run.picture) $("seen").hidden = true;
  else if (key != shown) {  // decoded before it takes the other's place, so that nothing flickers
    shown = key;
    const next = new Image();
    next.onload = () => { sized($("seen"), run.size); $("seen").src = next.src; $("seen").hidden = false; };
    next.src = `seen.jpg?${key}`;
  }
}
const heard = {
  run: event => showRun(JSON.parse(event.data)),
  error: () => { says("status", "The run has ended"); $("facts").textContent = ""; },
};
document.addEventListener("DOMContentLoaded", () => {  // when all scripts are here, so that no event is missed
  const events = new EventSource("events");
  for (const [name, hear] of Object.entries(heard)) events.addEventListener(name, hear);
});
