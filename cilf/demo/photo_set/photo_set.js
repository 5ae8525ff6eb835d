// The Photo set tab in the browser: chooses files, sends them one by one, and puts the answers into the page.
// Gradio runs this once with `element`, the tab's frame from `views.py`. All HTML comes from the server, which escapes
// what is the visitor's; words of the visitor's are only ever written as text here.

const root = element.querySelector(".cilf-set");
const settings = JSON.parse(root.dataset.settings);
const suffixes = new Set(settings.suffixes);
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const action = (name) => root.querySelector(`[data-do="${name}"]`);
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

// Photos travel while others are predicted, several at a time; more would only wait, in the server's memory.
const SENDERS = settings.senders;
const REDRAW_MS = 500;

let run = null; // the set in work

class Problem extends Error {} // its message is a sentence for the visitor

// ---- The server

function address(path) {
  const token = document.querySelector("#photo-set-token [data-token]")?.dataset.token ?? "none";
  return `${window.gradio_config?.root ?? ""}/photo-set/${token}/${path}`;
}

const LOST = "The connection was lost. What is done is kept; choose the other photos again.";

async function call(path, body, headers) {
  let response;
  try {
    response = await fetch(address(path), { method: "POST", body, headers });
  } catch {
    throw new Problem(LOST);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(answer.problem ?? LOST);
  return answer;
}

// XMLHttpRequest, since `fetch` does not report how far an upload is.
function sendArchive(item, headers) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address(isVideo(item) ? "video" : "archive"));
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      const percent = Math.round((100 * event.loaded) / event.total);
      run.note = percent < 100 ? `Sending ${item.name}: ${percent} %` : `Opening ${item.name} …`;
      draw();
    };
    request.responseType = "json";
    request.onload = () =>
      request.status === 200 ? resolve(request.response) : reject(new Problem(request.response?.problem ?? LOST));
    request.onerror = () => reject(new Problem(LOST));
    request.onabort = () => resolve({ count: 0, stopped: true });
    run.abort = () => request.abort();
    request.send(headers["Cilf-Problem"] ? null : item.file);
  });
}

// ---- A set

async function start(items) {
  if (run || !items.length) return;
  if (items.length > settings.maxFiles) {
    say(`These are ${count(items.length, "file")}; choose at most ${count(settings.maxFiles, "file")} at once.`);
    return;
  }
  for (const [place, item] of items.entries()) item.place = place;
  const isContainer = (item) => isArchive(item) || isVideo(item);
  const archives = items.filter(isContainer);
  const photos = items.filter((item) => !isContainer(item));
  run = { total: photos.length, done: 0, faces: 0, failed: 0, began: performance.now(), note: "", stopped: false };
  run.unit = !items.some(isVideo) ? "photo" : items.every(isVideo) ? "video" : "file";
  run.pieces = { rows: "", gallery: "", failures: "" };
  begin();
  let problem = "";
  try {
    const { loading } = await call("start");
    if (loading) run.note = "The model is still loading; your photos come next.";
    draw();
    run.began = performance.now();
    await sendAll(photos);
    for (const archive of archives) await readArchive(archive);
  } catch (error) {
    if (!(error instanceof Problem)) console.error(error);
    problem = error instanceof Problem ? error.message : LOST;
    run.stopped = true;
  }
  await end(problem);
}

// Where one sender fails the others stop as well, and it is over only when all have: none may run on into the next set.
async function sendAll(photos) {
  const senders = Array.from({ length: SENDERS }, () =>
    sendPhotos(photos).catch((error) => {
      run.stopped = true;
      throw error;
    }),
  );
  const failed = (await Promise.allSettled(senders)).find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

async function sendPhotos(photos) {
  while (photos.length && !run.stopped) {
    const item = photos.shift();
    const headers = await labels(item, settings.maxPhoto);
    collect(await call("photo", headers["Cilf-Problem"] ? null : item.file, headers));
  }
}

async function readArchive(item) {
  if (run.stopped) return;
  const opened = await sendArchive(item, await labels(item, isVideo(item) ? settings.maxVideo : settings.maxArchive));
  run.note = "";
  if (opened.stopped) return;
  run.total += opened.count;
  if (!opened.count) {
    run.total += 1; // its row says what is wrong with it
    collect(opened);
  }
  run.began = performance.now() - run.done * (run.pace ?? 0);
  for (let more = opened.count > 0; more && !run.stopped; ) {
    const answer = await call("next");
    more = answer.more;
    collect(answer);
  }
}

// What goes with a file: its name, its place, and why it is not sent, if it is not.
async function labels({ file, name, place }, limit) {
  const headers = { "Cilf-Name": encodeURIComponent(name.toWellFormed?.() ?? name), "Cilf-Place": String(place) };
  if (file.size > limit) headers["Cilf-Problem"] = "large";
  else {
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      headers["Cilf-Problem"] = "gone"; // moved or removed since it was chosen
    }
  }
  return headers;
}

function stop() {
  if (!run || run.stopped) return;
  run.stopped = true;
  run.abort?.();
  action("stop").disabled = true;
  draw();
}

// ---- The page

function begin() {
  for (const name of ["gallery", "rows", "failure-list", "histogram", "message"]) part(name).replaceChildren();
  for (const name of ["waiting", "failures", "results"]) part(name).hidden = true;
  part("work").hidden = false;
  for (const name of ["files", "folder"]) action(name).disabled = true;
  action("stop").disabled = false;
  action("stop").hidden = false;
  part("drop").classList.add("cilf-busy");
  sorting = null;
  markSorted();
  for (const link of root.querySelectorAll("[data-table]")) link.href = address(`table.${link.dataset.table}`);
  draw();
}

async function end(problem) {
  const final = await call("finish").catch(() => ({}));
  if (final.histogram) run.histogram = final.histogram;
  run.note = "";
  run.ended = true;
  flush();
  draw();
  action("stop").hidden = true;
  for (const name of ["files", "folder"]) action(name).disabled = false;
  part("drop").classList.remove("cilf-busy");
  if (!run.done) part("waiting").hidden = false;
  const result = `${count(run.faces, "face")} in ${count(run.done, run.unit)}`;
  if (problem) say(problem);
  else if (run.stopped)
    say(`Stopped after ${run.done} of ${count(run.total, run.unit)}. What is done is kept.`, "hint");
  else say(`Done: ${result}${run.failed ? `, ${run.failed} without an age` : ""}.`, "hint");
  run = null;
}

function say(sentence, kind = "problem") {
  const line = document.createElement("p");
  line.className = `cilf-message cilf-${kind}`;
  line.textContent = sentence;
  part("message").replaceChildren(line);
}

// Collects what came; the page itself changes at most twice a second.
function collect(answer) {
  run.done += answer.photos;
  run.faces += answer.faces;
  run.failed += answer.failed;
  run.pieces.rows += answer.rows;
  run.pieces.gallery = answer.gallery + run.pieces.gallery; // the newest first
  run.pieces.failures += answer.failures;
  run.histogram = answer.histogram ?? run.histogram;
  run.note = answer.note ?? "";
  run.share = answer.share ?? 0;
  if (!run.timer) {
    run.timer = setTimeout(() => {
      if (!run || run.ended) return;
      flush();
      draw();
    }, REDRAW_MS);
  }
}

function flush() {
  clearTimeout(run.timer);
  run.timer = null;
  const { rows, gallery, failures } = run.pieces;
  run.pieces = { rows: "", gallery: "", failures: "" };
  part("rows").insertAdjacentHTML("beforeend", rows);
  part("gallery").insertAdjacentHTML("afterbegin", gallery);
  part("failure-list").insertAdjacentHTML("beforeend", failures);
  const faces = part("gallery").children;
  while (faces.length > settings.gallery) faces[faces.length - 1].remove();
  part("gallery-note").textContent =
    run.faces > settings.gallery
      ? `The newest ${settings.gallery} of ${count(run.faces, "face")}.`
      : "The newest first.";
  part("failures").hidden = !run.failed;
  part("failed").textContent = count(run.failed, "file");
  part("results").hidden = !run.done;
  if (run.histogram) part("histogram").innerHTML = run.histogram;
  run.histogram = null;
  if (sorting) sortRows();
}

function draw() {
  const { done, total, note, share = 0, stopped, ended } = run;
  part("bar").max = Math.max(total, 1);
  part("bar").value = done + share;
  if (!done && !share && !ended) part("bar").removeAttribute("value"); // how long it takes is not known yet
  part("count").textContent = note || `${done.toLocaleString("en")} of ${count(total, run.unit)}`;
  part("left").textContent = ended ? "" : stopped ? "Stopping …" : note ? "" : remaining();
  part("tally").textContent = `${count(run.faces, "face")} · ${run.failed} without an age`;
}

function remaining() {
  const { done, total, began } = run;
  if (done < 3 || done >= total) return "";
  run.pace = (performance.now() - began) / done;
  const perSecond = 1000 / run.pace;
  const rate = `${perSecond.toFixed(perSecond < 10 ? 1 : 0)} photos a second`;
  const seconds = (run.pace * (total - done)) / 1000;
  if (seconds < 5) return `${rate}, a few seconds left`;
  if (seconds < 55) return `${rate}, about ${5 * Math.round(seconds / 5)} seconds left`;
  return `${rate}, about ${count(Math.max(1, Math.round(seconds / 60)), "minute")} left`;
}

// ---- Sorting the table

let sorting = null; // {column, kind, up}

root.querySelectorAll("[data-sort]").forEach((button, column) => {
  button.addEventListener("click", () => {
    const up = sorting?.column === column ? !sorting.up : true;
    sorting = { column, kind: button.dataset.sort, up };
    markSorted();
    sortRows();
  });
});

function markSorted() {
  root.querySelectorAll("thead th").forEach((head, column) => {
    if (sorting?.column === column) head.setAttribute("aria-sort", sorting.up ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
}

function sortRows() {
  const { column, kind, up } = sorting;
  const words = new Intl.Collator("en", { numeric: true });
  const keyed = Array.from(part("rows").rows, (row) => ({ row, key: row.cells[column].dataset.value }));
  keyed.sort((a, b) => {
    if (!a.key || !b.key) return Number(!a.key) - Number(!b.key); // without a figure: last, whichever way
    const order = kind === "number" ? a.key - b.key : words.compare(a.key, b.key);
    return up ? order : -order;
  });
  part("rows").append(...keyed.map(({ row }) => row));
}

// ---- Choosing files

const isArchive = (item) => item.name.toLowerCase().endsWith(".zip");
const isVideo = (item) => settings.videos.some((suffix) => item.name.toLowerCase().endsWith(suffix));
const isHidden = (path) => path.split("/").some((piece) => piece.startsWith("."));
const hasPhotoName = (path) => suffixes.has(path.slice(path.lastIndexOf(".")).toLowerCase());

// Out of a folder come its photos alone; a file that was chosen itself is always tried.
const fromFolder = (file, path) => (!isHidden(path) && hasPhotoName(path) ? [{ file, name: path }] : []);
const byName = (items) => items.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));

for (const name of ["files", "folder"]) {
  action(name).addEventListener("click", () => part(name).click());
  part(name).addEventListener("change", () => {
    const files = Array.from(part(name).files);
    part(name).value = ""; // so that the same choice counts again
    if (name === "files") start(files.map((file) => ({ file, name: file.name })));
    else {
      const items = byName(files.flatMap((file) => fromFolder(file, file.webkitRelativePath || file.name)));
      if (items.length) start(items);
      else say("No photo was found in this folder. Choose one with photos in it.");
    }
  });
}
action("stop").addEventListener("click", stop);

async function walk(entry, items, top) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
    const path = entry.fullPath.slice(1);
    if (file) items.push(...(top ? [{ file, name: file.name }] : fromFolder(file, path)));
    return;
  }
  if (entry.name.startsWith(".")) return;
  const reader = entry.createReader();
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
    if (!entries.length) return; // a browser gives a hundred at a time
    for (const each of entries) await walk(each, items, false);
  }
}

const drop = part("drop");
for (const [name, over] of [
  ["dragenter", true],
  ["dragover", true],
  ["dragleave", false],
  ["drop", false],
]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("cilf-over-drop", over && !run);
  });
}
drop.addEventListener("drop", async (event) => {
  // Both are asked for at once: after the first wait the browser gives nothing any more. What does not lie in a folder
  // (a picture dragged out of another program) has no entry.
  const dropped = Array.from(event.dataTransfer.items, (item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  const items = [];
  for (const [entry, file] of dropped) {
    if (entry) await walk(entry, items, true);
    else if (file) items.push({ file, name: file.name });
  }
  if (items.length) start(byName(items));
  else if (dropped.some(([entry]) => entry))
    say("No photo was found there. Drop photos, a zip file, or a folder with photos in it.");
});
