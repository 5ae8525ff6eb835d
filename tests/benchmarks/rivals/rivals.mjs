// Answers each number of a frame on standard input with a line of JSON: milliseconds of one call, faces, first age.
//
//     node rivals.mjs RIVAL WIDTH HEIGHT FRAME…      FRAME: a file of WIDTH × HEIGHT × 3 bytes, RGB
//
// Each rival as its own documents run it in Node: from a frame in memory to ages, WebAssembly, one thread. Human's
// expressions, irises and bodies are switched off, and so is what it skips between frames that look alike.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);
const folder = (name) => join(import.meta.dirname, "node_modules", name);
const [width, height] = process.argv.slice(3, 5).map(Number);
const frames = process.argv.slice(5).map((path) => new Uint8Array(readFileSync(path)));

const tf = require("@tensorflow/tfjs");
const wasm = `${folder("@tensorflow/tfjs-backend-wasm")}/dist/`;
require("@tensorflow/tfjs-backend-wasm").setWasmPaths(wasm);
await tf.setBackend("wasm");
await tf.ready();

async function faceApi() {
  const api = require(join(folder("@vladmandic/face-api"), "dist", "face-api.node-wasm.js"));
  const models = join(folder("@vladmandic/face-api"), "model");
  for (const net of [api.nets.tinyFaceDetector, api.nets.faceLandmark68Net, api.nets.ageGenderNet]) {
    await net.loadFromDisk(models);
  }
  const options = new api.TinyFaceDetectorOptions();
  return async (frame) => {
    const faces = await api.detectAllFaces(frame, options).withFaceLandmarks().withAgeAndGender();
    return faces.map((face) => face.age);
  };
}

async function human() {
  const { Human } = require(join(folder("@vladmandic/human"), "dist", "human.node-wasm.js"));
  const off = { enabled: false };
  const instance = new Human({
    backend: "wasm",
    wasmPath: wasm,
    modelBasePath: await served(join(folder("@vladmandic/human"), "models")),
    cacheSensitivity: 0,
    filter: off,
    face: { enabled: true, iris: off, emotion: off, description: { enabled: true } },
    body: off,
    hand: off,
    object: off,
    gesture: off,
  });
  await instance.load();
  return async (frame) => (await instance.detect(frame)).face.map((face) => face.age);
}

// The address of a folder: Human reads its models through HTTP alone. It is served on this machine, to this process.
async function served(path) {
  const server = createServer((request, response) => {
    response.end(readFileSync(join(path, new URL(request.url, "http://localhost").pathname)));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  server.unref();
  return `http://127.0.0.1:${server.address().port}/`;
}

const ages = await { "face-api.js": faceApi, human }[process.argv[2]]();
console.log(JSON.stringify({ ready: true }));

for await (const line of createInterface({ input: process.stdin })) {
  const start = performance.now();
  const frame = tf.tensor3d(frames[Number(line)], [height, width, 3], "int32");
  const found = await ages(frame);
  frame.dispose();
  console.log(JSON.stringify({ ms: performance.now() - start, faces: found.length, age: found[0] ?? null }));
}
