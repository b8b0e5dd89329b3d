/** Decodes batches of messages, and answers each with their ids or with all of it, encoded anew. */
import { Packr } from "msgpackr";
import { WebSocketServer } from "ws";
import { listen, task, tell } from "./parent.mjs";

const packr = new Packr({ useRecords: false });
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });

server.on("connection", (socket) => {
  socket.on("message", (data) => {
    const batch = packr.unpack(data);
    socket.send(packr.pack(task.isEchoing ? batch : batch.map(([id]) => id)));
  });
});
server.on("listening", () => tell("ready", { port: server.address().port }));
listen({});
