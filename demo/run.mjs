/**
 * `npm run demo`: EscrowMQ with real processes, real databases and real kills, told in six acts.
 *
 * The broker and the CLI are those that users get; an order service and a stock service are processes of
 * their own, each with its own LevelDB. The last act compares all of them, and the exit code is its
 * result: 0 all true, 1 something is wrong, 130 interrupted. Nothing is left behind.
 */
import { ending, opening, say } from "./narrate.mjs";
import { Shop } from "./shop.mjs";
import { Stage } from "./stage.mjs";
import { commit } from "./steps/commit.mjs";
import { deadLetter } from "./steps/dead-letter.mjs";
import { killedBroker } from "./steps/killed-broker.mjs";
import { killedService } from "./steps/killed-service.mjs";
import { rollback } from "./steps/rollback.mjs";
import { verify } from "./steps/verify.mjs";

const stage = new Stage();
let isInterrupted = false;

process.on("exit", () => stage.clearNow());
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
  process.once(signal, async () => {
    isInterrupted = true;
    await leave();
    ending(false, "Interrupted; nothing is left behind.");
    process.exit(130);
  });

try {
  const startedAtMs = performance.now();
  const faults = await Promise.race([play(), stage.crash]);
  const seconds = ((performance.now() - startedAtMs) / 1_000).toFixed(1);
  await leave();
  if (faults === 0) ending(true, `All of it is true. ${seconds} s; nothing is left behind.`);
  else ending(false, `Something is wrong: see the ✘ above (${faults}).`);
  process.exitCode = faults === 0 ? 0 : 1;
} catch (error) {
  // An interrupt kills what an act waits for; that is no news.
  if (!isInterrupted) {
    await leave();
    ending(false, `The demo failed: ${error.stack}`);
    process.exitCode = 1;
  }
}

async function leave() {
  // What still waits for an answer of a process that is killed here may fail unheard.
  process.on("unhandledRejection", () => undefined);
  await stage.clear();
}

async function play() {
  opening("EscrowMQ: a message stays in escrow until the sender's transaction is decided");
  await stage.startBroker();
  say("broker", `pid ${stage.broker.pid}, ${stage.url}`);
  await stage.escrow("topic", "create", "orders");
  await stage.escrow("topic", "create", "mail");
  const shop = new Shop(stage);
  shop.order = await stage.startOrderService("order-1");
  shop.stock = await stage.startStockService("stock-1");
  say(shop.order.name, `pid ${shop.order.pid}, order service with its own LevelDB`);
  say(shop.stock.name, `pid ${shop.stock.pid}, stock service with its own LevelDB`);

  await commit(shop);
  await rollback(shop);
  await killedService(shop);
  await deadLetter(shop);
  await killedBroker(shop);
  return verify(shop);
}
