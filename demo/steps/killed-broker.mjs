/**
 * kill -9 for the broker while hundreds of transactions are under way. Producers and consumers find it
 * again by themselves; what comes twice is counted, and explained from the broker's own records.
 */
import { act, alarm, say } from "../narrate.mjs";

const ORDERS = 400;
const AT_ONCE = 48;
/** Every so many-th customer wants too much, so that there are rollbacks in the storm as well. */
const REFUSED_EVERY = 8;
const KILL_AFTER = 150;

export async function killedBroker(shop) {
  act(
    5,
    "The broker dies in the middle of the work",
    `${ORDERS} orders, ${AT_ONCE} at a time, every ${REFUSED_EVERY}th one refused by the business.`,
  );
  const { stage } = shop;
  const startedAtMs = performance.now();
  const storm = new Storm(shop);
  const stormed = storm.run();
  await Promise.race([storm.reached(KILL_AFTER), stormed]);
  const underWay = new Set(storm.underWay);
  const killedAtMs = Date.now();
  await stage.broker.kill();
  alarm("broker", `kill -9: ${storm.ended.length} transactions done, ${underWay.size} under way`);

  await stage.startBroker();
  const downMs = Date.now() - killedAtMs;
  say("broker", `pid ${stage.broker.pid}, same data, same port, ready again after ${downMs} ms`);
  await stormed;
  const tookMs = Math.round(performance.now() - startedAtMs);
  const refused = storm.ended.filter(({ state }) => state === "rolledBack").length;
  say(shop.order.name, "found it again by itself, and sent again what had no answer");
  say(shop.order.name, `${ORDERS - refused} committed, ${refused} rolled back, in ${tookMs} ms`);
  await tellUndecided(stage, {
    interrupted: storm.ended.filter(({ order }) => underWay.has(order)),
    killedAtMs,
  });
  await stage.allSettled("stock");
  await explainRepeats(shop, storm.ended);
}

/** Customers in parallel, each placing one order after the other. */
class Storm {
  /** The orders without an answer. */
  underWay = new Set();
  /** `{ id, state, order }` of the others; `id` is the transaction's. */
  ended = [];
  #shop;
  #begun = 0;
  #onEnded = () => undefined;

  constructor(shop) {
    this.#shop = shop;
  }

  async run() {
    const customer = async () => {
      while (this.#begun < ORDERS) await this.#place(++this.#begun % REFUSED_EVERY === 0);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, customer));
  }

  /** Resolves when so many transactions have ended. */
  reached(count) {
    return new Promise((resolve) => {
      this.#onEnded = () => this.ended.length >= count && resolve();
    });
  }

  async #place(isGreedy) {
    const order = this.#shop.draft("Eve", isGreedy ? "chair" : "lamp", isGreedy ? 101 : 2);
    this.underWay.add(order);
    const result = await this.#shop.place(order);
    this.underWay.delete(order);
    this.ended.push({ ...result, order });
    this.#onEnded();
  }
}

/** What the kill met half done: on disk and without a verdict. */
async function tellUndecided(stage, { interrupted, killedAtMs }) {
  let held = 0;
  for (const { id } of interrupted) {
    const { preparedAtMs, decidedAtMs } = await stage.inspect("tx.show", { transactionId: id });
    if (preparedAtMs < killedAtMs && decidedAtMs > killedAtMs) held++;
  }
  say("broker", `${held} were on disk without a verdict when it died, and got theirs afterwards`);
}

/** Nothing is repeated without a cause (promise 6), and an ack on disk ends it: the log must show it. */
async function explainRepeats({ stage, stock }, ended) {
  const { deliveries, messages, repeated, foundReserved } = await stock.ask("report");
  say(stock.name, `handled ${deliveries} deliveries of ${messages} messages`);
  if (repeated.length === 0) {
    say(stock.name, "no message came twice: all acks were on disk when the broker died");
    return;
  }
  const again = new Set(repeated);
  const transactions = ended.filter(({ order }) => again.has(order.id));
  for (const { id, order } of transactions) {
    const { timeline } = await stage.inspect("tx.show", { transactionId: id });
    const ackedAt = timeline.findIndex(({ event }) => event === "acked");
    if (timeline.slice(ackedAt).some(({ event }) => event === "delivered"))
      throw new Error(`${order.id} was delivered again after its ack`);
  }
  if (foundReserved !== deliveries - messages)
    throw new Error(`only ${foundReserved} of them found their reservation`);
  say(stock.name, `${repeated.length} came twice: the broker died before their acks were on disk`);
  say(stock.name, "each found the reservation of the first time, and took nothing again");
  await stage.escrow("tx", "show", transactions[0].id);
}
