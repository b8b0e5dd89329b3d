/**
 * The end state: what the customers were told, the order database, the topics, the broker's numbers and
 * the stock database must tell one story. The databases are read from disk, after their services ended.
 */
import { createConsumer, topic } from "@escrowmq/consumer";
import { within } from "../actor.mjs";
import { act, checks } from "../narrate.mjs";
import { OrderDatabase } from "../order-database.mjs";
import { StockDatabase } from "../stock-database.mjs";

/** Resolves with how many checks failed. */
export async function verify(shop) {
  act(
    6,
    "What is true in the end",
    "Services stopped, databases read from disk, topics read again.",
  );
  const { stage, order, stock, placed, refused } = shop;
  const broker = await readBroker(stage);
  const ends = [await order.stop(), await stock.stop(), await stage.broker.stop()];
  const orders = await readOrders(stage);
  const { reservations, taken } = await readStock(stage);
  const ids = [...placed.keys()];
  const wanted = [...placed.values()].map(lineOf);
  const seen = [...orders, ...broker.orders, ...broker.mail, ...reservations];
  const rows = [
    {
      what: "processes that failed to stop",
      ...zero(ends.filter((code) => code !== 0).length, "failed"),
    },
    { what: "order database", ...same(orders, wanted) },
    { what: "topic orders", ...same(broker.orders, wanted) },
    { what: "topic mail", ...same(broker.mail, ids) },
    { what: "reservations in stock", ...same(reservations, wanted) },
    { what: "quantity taken from stock", ...quantities(taken, placed) },
    { what: "refused orders seen anywhere", ...strays(refused, seen) },
    { what: "transactions without a verdict", ...zero(broker.undecided, "undecided or parked") },
    { what: "dead letters", ...zero(broker.deadLetters, "left") },
    { what: "messages not acked by stock", ...zero(broker.lag, "left") },
  ];
  checks(rows);
  await stage.escrow("verify", stage.dataFolder);
  return rows.filter(({ isRight }) => !isRight).length;
}

/** What the broker shows to a group that has never read before, and its own numbers. */
async function readBroker(stage) {
  const seen = { orders: [], mail: [] };
  const consumer = await createConsumer({
    url: stage.url,
    group: "audit",
    subscribe: [{ topic: topic("orders") }, { topic: topic("mail") }],
  });
  const reading = consumer.run(({ topic: from, body }) => {
    seen[from].push(from === "mail" ? body.about : lineOf(body));
  });
  await within(Promise.race([stage.allSettled("audit"), reading]), "reading both topics");
  await consumer.close();
  const { undecided, parked } = await stage.inspect("stats");
  const listed = (await stage.inspect("tx.list")).items.length;
  const { topics, deadLetters } = await stage.inspect("group.describe", { group: "stock" });
  const lag = topics.reduce((sum, { lag }) => sum + lag, 0);
  return { ...seen, undecided: Math.max(undecided + parked, listed), deadLetters, lag };
}

async function readOrders(stage) {
  const database = await OrderDatabase.open(stage.ordersFolder);
  const orders = await database.orders();
  await database.close();
  return orders.map(lineOf);
}

async function readStock(stage) {
  const database = await StockDatabase.open(stage.stockFolder);
  const reservations = await database.reservations();
  const taken = await database.taken();
  await database.close();
  return {
    reservations: reservations.map(({ order, ...of }) => lineOf({ id: order, ...of })),
    taken,
  };
}

/** An order in one line, so that a wrong body is found as well as a missing one. */
const lineOf = ({ id, quantity, article }) => `${id}: ${quantity} × ${article}`;

/** Each wanted one once, and nothing else. */
function same(found, wanted) {
  const rest = [...found];
  const missing = wanted.filter((line) => {
    const at = rest.indexOf(line);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  const faults = [];
  if (missing.length > 0) faults.push(`${missing.length} missing (${some(missing)})`);
  if (rest.length > 0) faults.push(`${rest.length} too many (${some(rest)})`);
  return faults.length === 0
    ? { isRight: true, found: `${wanted.length} of ${wanted.length} orders, each once` }
    : { isRight: false, found: faults.join(", ") };
}

/** The sum of the ledger, article by article: a reservation made twice would show here. */
function quantities(taken, placed) {
  const wanted = new Map();
  for (const { article, quantity } of placed.values())
    wanted.set(article, (wanted.get(article) ?? 0) + quantity);
  const text = (sums) =>
    [...sums]
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([article, sum]) => `${sum} × ${article}`)
      .join(", ");
  const isRight = text(taken) === text(wanted);
  return { isRight, found: isRight ? text(taken) : `${text(taken)} instead of ${text(wanted)}` };
}

/** Every line begins with the order's id; a refused one may be in no list. */
function strays(refused, lines) {
  const strays = lines.filter((line) => refused.has(line.split(":")[0]));
  return strays.length === 0
    ? { isRight: true, found: `none of ${refused.size}` }
    : { isRight: false, found: `${strays.length} places (${some(strays)})` };
}

const zero = (count, noun) =>
  count === 0 ? { isRight: true, found: "none" } : { isRight: false, found: `${count} ${noun}` };

const some = (lines) => [...lines.slice(0, 3), ...(lines.length > 3 ? ["…"] : [])].join("; ");
