/** What socket and codec could do: two processes with ws and msgpackr, and no broker. */
import { Process } from "../process.mjs";

const BATCH_BYTES = 65_536;

export async function wireRate({ bytes, inFlight, seconds, isEchoing }) {
  const messages = Math.max(1, Math.floor(BATCH_BYTES / bytes));
  const server = new Process("wire-server", { isEchoing });
  try {
    const { port } = await server.answer("ready");
    const batches = Math.max(1, Math.floor(inFlight / messages));
    const client = new Process("wire-client", { port, bytes, messages, batches, seconds });
    try {
      return (await client.answer("done")).rate;
    } finally {
      await client.stop();
    }
  } finally {
    await server.stop();
  }
}
