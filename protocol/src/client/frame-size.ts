/** How much a frame weighs in memory and on the wire, well enough for limits and for cutting batches. */
import type { ClientFrame } from "../frames.ts";

/** Keys, ids and names of a usual frame. */
const FRAME_BYTES = 128;
const TOKEN_BYTES = 16;

/** About as many bytes as the frame takes; never less than its messages have. */
export function bytesOf(frame: ClientFrame): number {
  let bytes = FRAME_BYTES;
  if ("messages" in frame && typeof frame.messages === "object")
    for (const message of frame.messages) bytes += message.length;
  if (frame.type === "reply") bytes += frame.body.length;
  if ("acks" in frame) bytes += (frame.acks?.length ?? 0) * TOKEN_BYTES;
  if ("tokens" in frame) bytes += frame.tokens.length * TOKEN_BYTES;
  return bytes;
}
