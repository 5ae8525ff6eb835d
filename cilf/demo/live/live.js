// The camera's side of the Live tab. Gradio runs this once the tab's markup (`element`) stands on the page; `server` calls
// the functions of tab.py and `props.sentences` holds the sentences.
//
// The live picture is the camera's own video; only boxes and ages are drawn over it. A frame is sent when the last one
// is answered, and it is the newest then: nothing ever waits in a line.

const LONGEST_SIDE = 640; // of a sent frame; faces are detected from a fifth of it on
const QUALITY = 0.8; // of its JPEG
const PATIENCE_MS = 30000; // for an answer
const FIGURES_MS = 1000; // frame rate and delay are shown so often,
const WINDOW_MS = 3000; // over so long
const LONELY_MS = 2500; // without a face until a hint is given
const HIDDEN_MS = 1000; // that the page may be hidden when the camera has just opened
const SPOKEN_MS = 6000; // between two announcements to a screen reader

const sentences = props.sentences;
const find = (selector) => element.querySelector(selector);
const stage = find(".cilf-stage"),
  video = find("video"),
  overlay = find(".cilf-overlay");
const button = find(".cilf-start"),
  cameras = find(".cilf-cameras"),
  choice = find(".cilf-cameras select");
const figures = find(".cilf-figures"),
  message = find(".cilf-live-message"),
  spoken = find(".cilf-spoken");
const list = find(".cilf-live-faces");
const canvas = document.createElement("canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true, alpha: false });

let run = null; // the stream in progress
const shown = new Map(); // face number -> its box on the picture and its card
let camera = ""; // the chosen device

function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function tell(text, kind = "hint") {
  if (message.textContent === text) return;
  const line = document.createElement("p");
  line.className = `cilf-message cilf-${kind}`;
  line.textContent = text;
  message.replaceChildren(...(text ? [line] : []));
}

function make(parent, tag, name, text = "") {
  const part = document.createElement(tag);
  part.className = name;
  part.textContent = text;
  parent.append(part);
  return part;
}

// ---- Start and stop

function why(error) {
  return (
    {
      NotAllowedError: sentences.denied,
      SecurityError: sentences.denied,
      NotFoundError: sentences.missing,
      OverconstrainedError: sentences.missing,
    }[error.name] ?? sentences.busy
  );
}

async function start() {
  const mine = { active: true };
  run = mine;
  mine.end = () => {};
  element.querySelector(".cilf-live").dataset.state = "running";
  button.textContent = sentences.stop;
  tell(sentences.asking);
  try {
    if (!navigator.mediaDevices?.getUserMedia) return stop(sentences.insecure);
    const stream = await open();
    if (!mine.active) return switchOff(stream); // stopped while asking
    mine.stream = stream;
    // The page was hidden while the camera opened; the browser's own question may hide it for a moment.
    if (document.hidden) setTimeout(() => document.hidden && mine.active && stop(), HIDDEN_MS);
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => mine.active && stop(sentences.ended));
    // People expect a mirror; a camera that points away from them is none.
    mine.mirror = track.getSettings().facingMode !== "environment";
    stage.classList.toggle("cilf-mirror", mine.mirror);
    video.srcObject = stream;
    tell(sentences.starting);
    await video.play();
  } catch (error) {
    if (mine.active) stop(why(error));
    return;
  }
  offerCameras();
  follow(mine);
}

// The chosen camera, or, where it has been taken away, any.
async function open() {
  const ask = (wish) =>
    navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: 640 }, height: { ideal: 480 }, ...wish },
    });
  if (camera) {
    try {
      return await ask({ deviceId: { exact: camera } });
    } catch (error) {
      if (!["OverconstrainedError", "NotFoundError"].includes(error.name)) throw error;
      camera = "";
    }
  }
  return ask({ facingMode: "user" });
}

function switchOff(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function stop(text = "", kind = "problem") {
  const ended = run;
  run = null;
  if (ended) {
    ended.active = false;
    ended.end();
    switchOff(ended.stream);
  }
  video.srcObject = null;
  element.querySelector(".cilf-live").dataset.state = "idle";
  button.textContent = sentences.start;
  figures.textContent = "";
  spoken.textContent = "";
  draw([]);
  tell(text, kind);
}

async function offerCameras() {
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  cameras.hidden = devices.length < 2;
  const current = run?.stream?.getVideoTracks()[0]?.getSettings().deviceId;
  choice.replaceChildren(
    ...devices.map(
      (device, index) =>
        new Option(
          device.label || fill(sentences.camera, { number: index + 1 }),
          device.deviceId,
          false,
          device.deviceId === current,
        ),
    ),
  );
}

// ---- Frames

// Waits for what `begin` starts, or until `stop` ends the wait. (A race with one promise that lives as long as the stream
// would leave something behind at each frame.)
function pause(mine, begin) {
  return new Promise((resolve) => {
    mine.end = resolve;
    begin(resolve);
  });
}

// Takes each frame of the camera as it comes: later the video may show another one than was announced.
function watch(mine) {
  video.requestVideoFrameCallback?.((now, details) => {
    if (!mine.active) return;
    take();
    mine.newest = details.captureTime ?? now;
    mine.arrived?.();
    watch(mine);
  });
}

// When the newest frame was taken. Waits for one only where the newest has been sent already; otherwise an answer that
// comes between two frames would leave the server idle until the next.
async function newFrame(mine) {
  if (!video.requestVideoFrameCallback) {
    await pause(mine, (resolve) => setTimeout(resolve, 30));
    take();
    return performance.now();
  }
  if (mine.newest === undefined) await pause(mine, (resolve) => (mine.arrived = resolve));
  const { newest } = mine;
  mine.newest = undefined;
  return newest;
}

function take() {
  if (!video.videoWidth) return;
  const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const width = Math.round(video.videoWidth * scale),
    height = Math.round(video.videoHeight * scale);
  if (canvas.width !== width || canvas.height !== height) {
    Object.assign(canvas, { width, height });
    stage.style.setProperty("--ratio", width / height);
  }
  pen.drawImage(video, 0, 0, width, height);
}

function answer(frame) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(reject, PATIENCE_MS, new Error("no answer"))));
  return Promise.race([server.live_frame(frame), late]).finally(() => clearTimeout(timer));
}

async function follow(mine) {
  let first = true,
    lastFace = performance.now(),
    shownAt = 0,
    spokenAt = 0;
  const times = []; // of the last answers: when, and how late after the camera
  watch(mine);
  while (mine.active) {
    const captured = await newFrame(mine);
    if (!mine.active) break;
    if (!video.videoWidth) continue;
    let result;
    try {
      const picture = canvas.toDataURL("image/jpeg", QUALITY);
      result = await answer({ picture, at: captured / 1000, first });
      if (!result) throw new Error("no answer"); // Gradio's client says so of a call that failed
    } catch {
      if (mine.active) stop(sentences.silent);
      break;
    }
    if (!mine.active) break;
    if (result.problem) {
      stop(result.problem);
      break;
    }
    if (result.busy) continue; // with the last frame of the run before
    if (result.wait) {
      tell(result.wait);
      await pause(mine, (resolve) => setTimeout(resolve, 500));
      continue;
    }
    first = false;
    draw(result.faces, mine.mirror);
    const now = performance.now();
    times.push([now, now - captured]);
    while (times[0][0] < now - WINDOW_MS) times.shift();
    if (now - shownAt > FIGURES_MS && times.length > 2) {
      shownAt = now;
      const rate = ((times.length - 1) * 1000) / (now - times[0][0]);
      const delays = times.map((time) => time[1]).sort((a, b) => a - b);
      const delay = Math.round(delays[delays.length >> 1] / 10) * 10;
      figures.textContent = fill(sentences.figures, { rate: rate.toFixed(rate < 10 ? 1 : 0), delay });
    }
    if (result.faces.length) lastFace = now;
    tell(now - lastFace > LONELY_MS ? sentences.noFace : "");
    if (now - spokenAt > SPOKEN_MS && speak(result.faces)) spokenAt = now;
  }
  // After the last frame, which would begin a new stream; a new run has taken over the place.
  if (!run) server.live_stop(null).catch(() => {});
}

// ---- What is seen and said

function draw(faces, mirror) {
  const gone = new Set(shown.keys());
  const { clientWidth: width, clientHeight: height } = stage;
  for (const face of faces) {
    gone.delete(face.number);
    if (!shown.has(face.number)) shown.set(face.number, newFace(face.number));
    const parts = shown.get(face.number);
    let [left, top, right, bottom] = face.box;
    if (mirror) [left, right] = [1 - right, 1 - left];
    // Near the upper edge the label stands inside the box, where it can be read.
    parts.box.classList.toggle("cilf-inside", top * height < 40);
    Object.assign(parts.box.style, {
      transform: `translate(${(left * width).toFixed(1)}px, ${(top * height).toFixed(1)}px)`,
      width: `${((right - left) * width).toFixed(1)}px`,
      height: `${((bottom - top) * height).toFixed(1)}px`,
    });
    const years = String(face.years);
    parts.label.textContent = faces.length > 1 ? `${face.number} · ${years}` : years;
    parts.age.textContent = years;
    const low = Math.round(face.low),
      high = Math.round(face.high);
    parts.interval.textContent = fill(sentences.interval, { low, high });
    parts.note.textContent = face.note;
    const within = (age) => Math.min(Math.max(age, 0), 100);
    parts.range.style.left = `${within(face.low)}%`;
    parts.range.style.width = `${within(face.high) - within(face.low)}%`;
    parts.dot.style.left = `${within(face.age)}%`;
  }
  for (const number of gone) {
    shown.get(number).box.remove();
    shown.get(number).card.remove();
    shown.delete(number);
  }
}

function newFace(number) {
  const box = make(overlay, "div", "cilf-live-box");
  const label = make(box, "span", "cilf-live-label");
  const card = make(list, "li", "cilf-card cilf-live-card");
  const text = make(card, "div", "cilf-live-text");
  make(text, "p", "cilf-over", fill(sentences.face, { number }));
  const big = make(text, "p", "cilf-big");
  const age = make(big, "span", "cilf-live-age");
  big.append(" ");
  make(big, "span", "cilf-unit", sentences.years);
  const interval = make(text, "p", "cilf-sub");
  const ruler = make(card, "div", "cilf-ruler");
  ruler.setAttribute("aria-hidden", "true");
  const track = make(ruler, "div", "cilf-track");
  const range = make(track, "div", "cilf-range"),
    dot = make(track, "div", "cilf-dot");
  const axis = make(ruler, "div", "cilf-axis");
  for (const tick of [0, 20, 40, 60, 80, 100]) make(axis, "span", "", tick).style.left = `${tick}%`;
  const note = make(card, "p", "cilf-small cilf-live-note");
  return { box, label, card, age, interval, range, dot, note };
}

function speak(faces) {
  if (!faces.length) return false;
  const ages = faces.map((face) => fill(sentences.spokenAge, { years: face.years })).join(", ");
  const count = faces.length === 1 ? sentences.one : fill(sentences.many, { count: faces.length });
  const text = fill(sentences.spoken, { count, ages });
  if (spoken.textContent === text) return false;
  spoken.textContent = text;
  return true;
}

// ---- The visitor's hands

button.addEventListener("click", () => (run ? stop() : start()));
choice.addEventListener("change", () => {
  camera = choice.value;
  stop();
  start();
});
// Another tab was opened, or this page left: the camera must not stay on.
new IntersectionObserver(() => run && stage.offsetParent === null && stop()).observe(stage);
window.addEventListener("pagehide", () => run && stop());
// So does another tab of the browser. Without a stream the browser may just be asking for leave to use the camera.
document.addEventListener("visibilitychange", () => document.hidden && run?.stream && stop());
