/**
 * The stock service: `node stock-service.mjs <name> <broker url> <database folder> [--by-the-metre]`.
 *
 * It shows a consumer: the handler resolves and the message is acked, it throws and the message comes
 * again by the group's ladder. A message may come twice; the reservation is made once, because its row
 * is keyed by the message's id. It is born with a bug (it counts whole pieces only), and
 * `--by-the-metre` is the release that fixes it.
 */
import { createConsumer, topic } from "@escrowmq/consumer";
import { serve, tell } from "./ipc.mjs";
import { StockDatabase } from "./stock-database.mjs";

const [name, url, databaseFolder, ...flags] = process.argv.slice(2);
const sellsByTheMetre = flags.includes("--by-the-metre");

const stock = await StockDatabase.open(databaseFolder);
const consumer = await createConsumer({
  url,
  group: "stock",
  clientName: name,
  subscribe: [{ topic: topic("orders") }],
});
const running = consumer.run(handle);

/** How often each message was handed to this process. */
const timesHandled = new Map();
const repeated = new Set();
let foundReserved = 0;

serve({ report, stop });

async function handle(message) {
  const { id, body, attempt } = message;
  const times = (timesHandled.get(id) ?? 0) + 1;
  timesHandled.set(id, times);
  if (times > 1) repeated.add(body.id);
  if (!Number.isInteger(body.quantity) && !sellsByTheMetre) {
    const reason = `cannot count ${body.quantity} pieces of ${body.article}`;
    tell("failed", { order: body.id, attempt, reason });
    throw new Error(reason);
  }
  const isNew = await stock.reserve(id, body);
  if (!isNew) foundReserved++;
  tell("reserved", { order: body.id, attempt, isNew });
}

async function report() {
  const times = [...timesHandled.values()];
  const deliveries = times.reduce((sum, count) => sum + count, 0);
  return { deliveries, messages: times.length, repeated: [...repeated], foundReserved };
}

async function stop() {
  const { drained } = await consumer.drain({ timeoutMs: 5_000 });
  if (!drained) throw new Error("something was not answered in time");
  await running;
  await stock.close();
}
