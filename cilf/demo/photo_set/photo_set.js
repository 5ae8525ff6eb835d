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

const LOST = "The connection was lost.";
const KEPT = " The table holds what is done: download it before you choose other photos, which begin a new set.";
const AGAIN_MS = 1000; // until what was lost is sent once more
const LEAVE_MS = 2000; // in which photos on their way may still arrive when the visitor stops

class Lost extends Problem {
  constructor() {
    super(LOST);
  }
}

// Ours are sentences in `problem`, those of the server around us in `detail`.
const refusal = (answer) =>
  Object.assign(new Problem(answer?.problem ?? answer?.detail ?? LOST), { gone: answer?.gone === true });

async function call(path) {
  const response = await fetch(address(path), { method: "POST" }).catch(() => null);
  if (!response) throw new Lost();
  const answer = await response.json().catch(() => null);
  if (!response.ok || !answer) throw refusal(answer);
  return answer;
}

// The answer to a file; null where the visitor stopped before it was there, so that page and server have the same rows.
// XMLHttpRequest, since `fetch` does not report how far an upload is.
function send(path, file, headers, shown = () => {}) {
  const mine = run;
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address(path));
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => shown(Math.round((100 * event.loaded) / event.total));
    request.upload.onload = () => mine.sending.delete(request);
    request.responseType = "json";
    request.onload = () => (request.status === 200 ? resolve(request.response) : reject(refusal(request.response)));
    request.onerror = () => reject(new Lost());
    request.onabort = () => resolve(null);
    request.onloadend = () => mine.sending.delete(request);
    const body = headers["Cilf-Problem"] ? null : file;
    if (body) mine.sending.add(request);
    if (path !== "photo") mine.archive = request;
    request.send(body);
  });
}

// ---- A set

async function start(items) {
  if (!items.length) return;
  if (run) {
    say("A set is being processed. Stop it, or wait until it is done, before you choose other photos.", "hint");
    return;
  }
  if (items.length > settings.maxFiles) {
    say(`These are ${count(items.length, "file")}; choose at most ${count(settings.maxFiles, "file")} at once.`);
    return;
  }
  for (const [place, item] of items.entries()) item.place = place;
  const isContainer = (item) => isArchive(item) || isVideo(item);
  const archives = items.filter(isContainer);
  const photos = items.filter((item) => !isContainer(item));
  run = { total: items.length, done: 0, faces: 0, failed: 0, began: performance.now(), note: "", stopped: false };
  run.sending = new Set();
  run.unopened = archives.length; // nobody knows how many photos are in them
  run.unit = !items.some(isVideo) ? "photo" : items.every(isVideo) ? "video" : "file";
  run.pieces = { rows: "", gallery: "", failures: "" };
  begin();
  let problem = "";
  try {
    const { loading } = await call("start");
    clear();
    if (loading) run.note = "The model is still loading; your photos come next.";
    draw();
    run.began = performance.now();
    await sendAll(photos);
    for (const archive of archives) await readArchive(archive);
  } catch (error) {
    if (!(error instanceof Problem)) console.error(error);
    problem = error instanceof Problem ? error.message : LOST;
    run.gone = error.gone === true;
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
    const answer = await sendOnceMore(() => send("photo", item.file, headers));
    if (answer) collect(answer);
  }
}

// A photo whose answer was lost may have its rows on the server already: the second ones take their place.
async function sendOnceMore(sending) {
  try {
    return await sending();
  } catch (error) {
    if (!(error instanceof Lost) || run.stopped) throw error;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    return run.stopped ? null : sending();
  }
}

async function readArchive(item) {
  if (run.stopped) return;
  const headers = await labels(item, isVideo(item) ? settings.maxVideo : settings.maxArchive);
  const opened = await send(isVideo(item) ? "video" : "archive", item.file, headers, (percent) => {
    run.note = percent < 100 ? `Sending ${item.name}: ${percent} %` : `Opening ${item.name} …`;
    draw();
  });
  run.note = "";
  run.unopened -= 1;
  if (!opened) return;
  if (opened.count) run.total += opened.count - 1;
  else collect(opened); // its row says what is wrong with it
  run.began = performance.now() - run.done * (run.pace ?? 0);
  let left = opened.count;
  for (let more = left > 0; more && !run.stopped; ) {
    const answer = await call("next");
    more = answer.more;
    left -= answer.photos;
    collect(answer);
  }
  if (left > 0 && !run.stopped)
    throw new Problem(`${item.name} was closed, since this page had asked for no more of it.`);
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
  // A zip file at once. A photo that is broken off when it has just arrived would have its rows on the server alone.
  const { sending, archive } = run;
  archive?.abort();
  setTimeout(() => {
    for (const request of sending) request.abort();
  }, LEAVE_MS);
  draw();
}

// ---- The page

function begin() {
  part("message").replaceChildren();
  part("work").hidden = false;
  // The keyboard stays where it was: a button that is disabled or hidden loses it to the page's beginning.
  const chose = [action("files"), action("folder")].includes(document.activeElement);
  for (const name of ["files", "folder"]) action(name).disabled = true;
  action("stop").hidden = false;
  if (chose) action("stop").focus({ preventScroll: true });
  part("drop").classList.add("cilf-busy");
  draw();
}

// The server has begun a new set: what was done before goes.
function clear() {
  run.cleared = true;
  for (const name of ["gallery", "rows", "failure-list", "histogram"]) part(name).replaceChildren();
  for (const name of ["waiting", "failures", "results"]) part(name).hidden = true;
  sorting = null;
  markSorted();
  for (const link of root.querySelectorAll("[data-table]")) link.href = address(`table.${link.dataset.table}`);
}

async function end(problem) {
  const final = await call("finish").catch(() => ({}));
  if (final.histogram) run.histogram = final.histogram;
  run.note = "";
  run.ended = true;
  if (run.cleared) flush();
  draw();
  part("work").hidden = !run.cleared;
  const stopped = document.activeElement === action("stop");
  action("stop").hidden = true;
  for (const name of ["files", "folder"]) action(name).disabled = false;
  if (stopped) action("files").focus({ preventScroll: true });
  part("drop").classList.remove("cilf-busy");
  if (run.cleared && !run.done) part("waiting").hidden = false;
  const hasTable = !run.gone && !part("results").hidden;
  const result = `${count(run.faces, "face")} in ${count(run.done, run.unit)}`;
  if (problem) say(problem + (hasTable ? KEPT : ""));
  else if (run.stopped)
    say(`Stopped after ${run.done} of ${count(run.total, run.unit)}.${hasTable ? KEPT : ""}`, "hint");
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
  if (run.unopened) return rate;
  const seconds = (run.pace * (total - done)) / 1000;
  if (seconds < 5) return `${rate}, a few seconds left`;
  if (seconds < 55) return `${rate}, about ${5 * Math.round(seconds / 5)} seconds left`;
  return `${rate}, about ${count(Math.max(1, Math.round(seconds / 60)), "minute")} left`;
}

// ---- Downloading the table

// Not by the link alone: a browser would save the server's sentence as the table, or fail without a word.
for (const link of root.querySelectorAll("[data-table]")) {
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const response = await fetch(link.href).catch(() => null);
    if (!response?.ok) {
      say(response ? await response.text() : LOST);
      return;
    }
    const file = URL.createObjectURL(await response.blob());
    Object.assign(document.createElement("a"), { href: file, download: link.download }).click();
    setTimeout(() => URL.revokeObjectURL(file), 60000);
  });
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
    if (run && name.startsWith("drag")) event.dataTransfer.dropEffect = "none";
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
