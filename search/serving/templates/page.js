"use strict";
const $ = id => document.getElementById(id);
const LARGEST = +document.body.dataset.largest;
let running = null;

function say(problem) {
  $("status").textContent = "";
  $("problem").textContent = problem;
  $("problem").hidden = false;
}

async function classify(files, folder) {
  if (running) running.abort();
  const mine = running = new AbortController();
  $("answer").hidden = true; $("problem").hidden = true; $("status").textContent = "";
  if (files.length !== 1) return say(files.length ? `${files.length} files: drop one image at a time.` : "No file was dropped.");
  const file = files[0];
  if (folder) return say(`${file.name} is a folder: drop one image file.`);
  if (file.size > LARGEST) return say(`${file.name}: This file can't be used: it is larger than ${LARGEST >> 20} MiB.`);
  $("status").textContent = `Classifying ${file.name} …`; $("status").className = "";
  try {
    const content = await file.arrayBuffer();
    const response = await fetch("/answer", {
      method: "POST", headers: {"Content-Type": "application/octet-stream"}, body: content, signal: mine.signal,
    });
    const found = await response.json().catch(() => ({error: "The program failed; the terminal says why."}));
    if (mine !== running) return;
    if (response.ok) show(file.name, found);
    else say(`${file.name}: ${found.error || found.detail}`);
  } catch (error) {
    if (mine !== running) return;
    say(error instanceof TypeError ? "No answer: the program has ended. Start search.serve again."
      : `${file.name} can't be read by the browser.`);
  }
}

function show(name, found) {
  const words = found.referred ? "Refer to a radiologist" : found.decision;
  $("name").textContent = name;
  $("decision").textContent = words;
  $("verdict").className = "verdict" + (found.referred ? " doubt" : found.positive ? " bad" : "");
  $("why").textContent = found.referred ? "The model does not decide: the probability is between its two thresholds." : "";
  $("unusual").textContent = `Unlike the training images (${found.unusual}): don't trust the answer.`;
  $("unusual").hidden = !found.unusual;
  $("compared").hidden = found.compared;
  $("of").textContent = `Probability of ${found.shown}:`;
  $("probability").textContent = found.probability.toFixed(3);
  $("fill").style.width = `${100 * found.probability}%`;
  $("all").hidden = found.probabilities.length < 3;
  $("all").tBodies[0].replaceChildren(...found.probabilities.map(([label, p]) => {
    const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
    head.scope = "row"; head.textContent = label; cell.textContent = p.toFixed(3);
    row.append(head, cell);
    return row;
  }));
  $("picture").src = found.picture;
  if (found.heat) $("heat").src = found.heat; else $("heat").removeAttribute("src");
  for (const id of ["toggle", "scale"]) $(id).hidden = !found.heat;
  $("words").textContent = found.heat_words;
  $("meaning").hidden = !found.heat;
  overlay();
  $("answer").hidden = false;
  $("status").className = "unseen";
  $("status").textContent = `${name}: ${words}, probability of ${found.shown} ${found.probability.toFixed(3)}.`
    + (found.unusual ? " Unlike the training images." : "");
}

function overlay() { $("heat").hidden = !$("heat").hasAttribute("src") || !$("show").checked; }

document.querySelectorAll(".threshold").forEach(mark => { mark.style.left = `${100 * mark.dataset.at}%`; });
$("show").addEventListener("change", overlay);
$("file").addEventListener("click", event => { event.target.value = ""; });
$("file").addEventListener("change", event => { if (event.target.files.length) classify([...event.target.files]); });
addEventListener("dragover", event => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", event => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", event => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const first = event.dataTransfer.items[0], entry = first && first.webkitGetAsEntry && first.webkitGetAsEntry();
  $("file").files = event.dataTransfer.files;
  classify([...event.dataTransfer.files], entry && entry.isDirectory);
});
