/** The consumers' part of the load: each delivery ends in one of the ways there are. */
import { crc32 } from "node:zlib";
import type { Consumer, Gap, ManualMessage } from "@escrowmq/consumer";
import { EscrowError } from "@escrowmq/protocol";
import type { Delivery, Reader } from "../history/history.ts";
import { relay } from "./e2e-load-producer.ts";
import { LEASE_MS, outcomeOf, PICKY_GROUP, REPLYING_GROUP, type World } from "./e2e-load-world.ts";

const ENDS = { ack: 900, retry: 40, bury: 10, join: 40, forget: 2 } as const;

/** Until the consumer is closed or its connection is gone for good. */
export async function readConsumer(
  world: World,
  consumer: Consumer<unknown>,
  reader: Reader,
): Promise<void> {
  try {
    for await (const message of consumer) {
      const { id, topic, offset, attempt, token, raw } = message;
      const given = { id, topic, offset, attempt, token, digest: crc32(raw), leaseMs: LEASE_MS };
      const delivery = world.history.delivered(reader, given, performance.now());
      if (message.isRequest && reader.group === REPLYING_GROUP) void reply(world, message);
      void end(world, message, delivery);
    }
  } catch (error) {
    if (!EscrowError.is(error, "CLOSED")) world.history.problem(`a consumer failed: ${error}`);
  }
}

/** The SDK tells what was lost, and not how much in all: what is told twice counts twice here. */
export function hearGap({ history }: World, reader: string, { topic, lost }: Gap): void {
  const key = `${reader} ${topic}`;
  const known = history.heard.totals.get(key);
  if (lost === null && known !== undefined)
    history.problem(`S2: ${key} is new again, and was here a moment ago`);
  history.problem(history.heard.tell(key, lost ?? undefined, (known ?? 0) + (lost ?? 0)));
}

/** Most of them; the delivery's own end is another matter. Never rejects. */
async function reply(world: World, message: ManualMessage<unknown>): Promise<void> {
  const { history, random } = world;
  if (random.next() < 0.1) return;
  const { id, attempt } = message;
  const content = `reply ${attempt} to ${id}`;
  history.talk.says(id, content);
  try {
    await message.reply(Buffer.from(content));
  } catch (error) {
    // Nobody waits for it any more, or the broker is gone.
    if (!EscrowError.is(error)) history.problem(`a reply failed: ${error}`);
  }
}

/** Never rejects: nobody waits for it. */
async function end(
  world: World,
  message: ManualMessage<unknown>,
  delivery: Delivery,
): Promise<void> {
  try {
    // What was joined once comes out again as a message: without this the load would feed itself.
    const weights = message.topic === "out" ? { ack: 1 } : ENDS;
    const how = world.isEnding
      ? "ack"
      : world.random.pick<keyof typeof ENDS>({ ...NONE, ...weights });
    if (how === "forget") return;
    if (how === "join") return await relay(world, message, delivery);
    await settle(world, message, delivery, how);
  } catch (error) {
    world.history.problem(`a delivery's end failed: ${error}`);
  }
}

const NONE = { ack: 0, retry: 0, bury: 0, join: 0, forget: 0 };

async function settle(
  world: World,
  message: ManualMessage<unknown>,
  delivery: Delivery,
  kind: "ack" | "retry" | "bury",
): Promise<void> {
  const end = world.history.ends(delivery, kind);
  try {
    if (kind === "ack") await message.ack();
    else if (kind === "bury") await message.bury("by plan");
    else await message.retry({ delayMs: retryDelayMs(world, message, delivery) });
    if (kind === "retry") notesReturn(world, message, delivery);
    world.history.ended(end, "ok");
  } catch (error) {
    world.history.ended(end, outcomeOf(error));
  }
}

/** So late that nobody may see again what lives for a moment only. It would hold up an ordered group. */
const LATE_RETRY_MS = [3_000, 3_500] as const;

function retryDelayMs(
  { random }: World,
  { ttlMs }: ManualMessage<unknown>,
  { reader }: Delivery,
): number {
  const isLate = ttlMs !== undefined && reader.group !== PICKY_GROUP && random.next() < 0.3;
  return isLate ? random.between(...LATE_RETRY_MS) : random.between(0, 200);
}

/** The last few are enough. */
const RETURNED_MAX = 20;

function notesReturn(
  { returned }: World,
  { topic, offset }: ManualMessage<unknown>,
  { reader }: Delivery,
): void {
  returned.push({ group: reader.group, topic, offset });
  if (returned.length > RETURNED_MAX) returned.shift();
}
