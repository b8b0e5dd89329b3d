/**
 * One instance of the order service: `node order-service.mjs <name> <broker url> <database folder>`.
 *
 * It shows the whole of a transactional producer: prepare, the local transaction, the verdict that
 * follows from how the callback ends, and the answer to a check-back.
 *
 * All instances share one order database. LevelDB belongs to one process at a time, so here an
 * instance opens it when it first needs it, which works once the holder is dead: the second instance is
 * a standby. That makes "no row" a safe rollback: whoever can read the database knows that nobody else
 * can still write to it. With a database server the row would be locked or read "for update" instead.
 */
import { createProducer, Rollback } from "@escrowmq/producer";
import { serve, tell } from "./ipc.mjs";
import { OrderDatabase } from "./order-database.mjs";

const [name, url, databaseFolder] = process.argv.slice(2);

/** The business rule behind every refusal in this demo. */
const QUANTITY_MAX = 100;

let opening = null;
/** Transactions of this process whose local part may still be written. */
const underWay = new Set();
let goOn = () => undefined;

const producer = await createProducer({
  url,
  group: "order-service",
  clientName: name,
  onCheck: async ({ id }) => {
    if (underWay.has(id)) return "unknown";
    const verdict = (await (await database()).wasPlaced(id)) ? "commit" : "rollback";
    tell("checked", { id, verdict });
    return verdict;
  },
});

serve({ place, resume, stop });

function database() {
  opening ??= OrderDatabase.open(databaseFolder).catch((error) => {
    // The holder still lives. The next one who asks tries again.
    opening = null;
    throw error;
  });
  return opening;
}

/** Places an order, or refuses it; resolves with how the transaction ended. */
async function place({ order, checkAfterMs, pauseAt }) {
  const orders = await database();
  return producer.transaction(
    async (tx) => {
      underWay.add(tx.id);
      try {
        await tx.prepare([
          { topic: "orders", key: order.id, body: order },
          { topic: "mail", key: order.id, body: { to: order.customer, about: order.id } },
        ]);
        await pause("prepared", tx.id, pauseAt);
        if (order.quantity > QUANTITY_MAX)
          throw new Rollback(`${order.customer} may order ${QUANTITY_MAX} at most`);
        await orders.place(order, tx.id);
        await pause("placed", tx.id, pauseAt);
      } finally {
        underWay.delete(tx.id);
      }
    },
    checkAfterMs === undefined ? {} : { checkAfterMs },
  );
}

/** Lets the runner look, or kill, at a known place. */
async function pause(at, id, pauseAt) {
  if (at !== pauseAt) return;
  const resumed = new Promise((resolve) => {
    goOn = resolve;
  });
  tell(at, { id });
  await resumed;
}

async function resume() {
  goOn();
}

async function stop() {
  const { drained } = await producer.drain({ timeoutMs: 5_000 });
  if (!drained) throw new Error("something was not answered in time");
  if (opening !== null) await (await opening).close();
}
