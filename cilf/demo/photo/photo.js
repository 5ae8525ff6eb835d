// The Photo tab in the browser: what Gradio's photo area and text box do not do by themselves. `theme.py` puts this into
// the page's head, once, so it listens at the document: Gradio may redraw the tab's elements at any time.

// Gradio takes only files whose type is a picture's. Some browsers know no type for newer formats, and on Windows none
// that no installed program claims: there a phone's HEIC comes without one. Its name says what it is; whether that is
// true, the server finds out.
const suffixes = __SUFFIXES__;

function typed(file) {
  const suffix = suffixes.find((each) => file.name.toLowerCase().endsWith(each));
  const unknown = !file.type || file.type === "application/octet-stream";
  if (!suffix || !unknown) return file;
  return new File([file], file.name, { type: `image/${suffix.slice(1)}`, lastModified: file.lastModified });
}

// The same files with their types; null where they have them already.
function retyped(files) {
  const before = Array.from(files ?? []);
  const after = before.map(typed);
  if (after.every((file, place) => file === before[place])) return null;
  const transfer = new DataTransfer();
  for (const file of after) transfer.items.add(file);
  return transfer;
}

function isPhotoInput(target) {
  return target instanceof Element && target.matches("#photo input[type=file]");
}

// The page opens the chooser by a click on the input; until then Gradio may have made another one.
document.addEventListener(
  "click",
  ({ target }) => {
    if (isPhotoInput(target)) target.accept = ["image/*", ...suffixes].join(",");
  },
  true,
);

// Before Gradio hears of it: it reads the files from the input, which tells nobody that it was given others.
document.addEventListener(
  "change",
  ({ target }) => {
    const transfer = isPhotoInput(target) ? retyped(target.files) : null;
    if (transfer) target.files = transfer.files;
  },
  true,
);

// What is dropped cannot be exchanged in its event, so another event takes its place; that one's files have their types.
document.addEventListener(
  "drop",
  (event) => {
    const inside = event.target instanceof Element && event.target.closest("#photo");
    const transfer = inside ? retyped(event.dataTransfer?.files) : null;
    if (!transfer) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    event.target.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  },
  true,
);

// ---- Removing a prompt: its line leaves the text box, and the others are scored as after any other edit.

// The breaks, blanks and cut of `texts.prompt_lines`; Python's blanks are not quite those of `\s` and `trim`.
// biome-ignore lint/suspicious/noControlCharactersInRegex: Python ends lines at these too
const breaks = /\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: and counts these as blanks
const blanks = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;
const tidy = (text) => text.replace(blanks, " ").replace(/^ | $/g, "");
const promptOf = (line) => tidy(Array.from(tidy(line)).slice(0, __LENGTH__).join(""));

document.addEventListener("click", ({ target }) => {
  const button = target instanceof Element ? target.closest("#scores [data-prompt]") : null;
  if (!button) return;
  const box = document.querySelector("#prompt-editor textarea");
  const scores = document.querySelector("#scores");
  const { prompt } = button.dataset;
  const place = Array.from(scores.querySelectorAll("[data-prompt]")).indexOf(button);
  box.value = box.value
    .split(breaks)
    .filter((line) => promptOf(line) !== prompt)
    .join("\n");
  box.dispatchEvent(new Event("input", { bubbles: true }));

  // The button goes with its row; for the keyboard the focus moves to the next row's.
  const observer = new MutationObserver(() => {
    if (button.isConnected && button.dataset.prompt === prompt) return;
    observer.disconnect();
    if (![null, document.body, button].includes(document.activeElement)) return;
    const left = scores.querySelectorAll("[data-prompt]");
    (left[Math.min(place, left.length - 1)] ?? box).focus({ preventScroll: true });
  });
  observer.observe(scores, { childList: true, subtree: true, attributes: true });
});

// Beside a box that takes it, a browser would open a dropped file in the page's place.
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
}
