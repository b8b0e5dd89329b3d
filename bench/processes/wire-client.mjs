/** Keeps some batches of messages under way to the wire server for some seconds. */
import { Packr } from "msgpackr";
import { WebSocket } from "ws";
import { Bodies } from "../body.mjs";
import { fault, listen, task, tell } from "./parent.mjs";

const { port, bytes, messages, batches, seconds } = task;
const packr = new Packr({ useRecords: false });
const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
const body = new Bodies(bytes).make(0);
/** The share of the time that is not counted: the code is still cold. */
const WARM_UP = 0.2;

let nextId = 0;
let answered = 0;
let startMs = 0;
let countedBefore = 0;
const openedMs = performance.now();

function sendBatch() {
  const batch = Array.from({ length: messages }, () => [`message-${nextId++}`, body]);
  socket.send(packr.pack(batch));
}

socket.on("open", () => {
  for (let sent = 0; sent < batches; sent++) sendBatch();
});
socket.on("message", (data) => {
  answered += packr.unpack(data).length;
  const now = performance.now();
  if (startMs === 0 && now - openedMs > seconds * 1000 * WARM_UP) {
    startMs = now;
    countedBefore = answered;
  }
  if (now - openedMs < seconds * 1000) return sendBatch();
  tell("done", { rate: ((answered - countedBefore) * 1000) / (now - startMs) });
  socket.close();
});
socket.on("error", fault);
listen({});
