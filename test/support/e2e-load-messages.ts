/** The load's messages: some are for later, by a delay or at a time, and some are worth nothing after a while. */
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { TAGS, TOPICS, type World } from "./e2e-load-world.ts";

/** Longer than a broker is down, and shorter than anybody wants to wait in the end. */
const DELAY_MS_MAX = 2_500;
/** Of the messages. */
const DELAYED_SHARE = 0.1;
/** From what even a quick consumer may miss to what only a pause or a death of the broker makes it miss. */
const TTL_MS = [5, 1_000] as const;
const TTL_SHARE = 0.1;
/** Of those with a time to live: longer than any run, so that nobody may miss them. */
const LASTING_SHARE = 0.3;
export const LASTING_TTL_MS = 86_400_000;

export interface LoadMessage {
  readonly id: string;
  readonly topic: string;
  readonly key: string;
  readonly tag: string;
  readonly body: Uint8Array;
  readonly delayMs?: number;
  readonly deliverAt?: Date;
  readonly ttlMs?: number;
}

export const newId = (): string => randomBytes(16).toString("hex");

export const newMessages = (world: World, count: number): LoadMessage[] =>
  Array.from({ length: count }, () => newMessage(world));

export function newMessage(
  world: World,
  topic: string = TOPICS[world.random.between(0, 2)] ?? "t0",
): LoadMessage {
  const { history, random } = world;
  const ttl = random.next() < TTL_SHARE ? { ttlMs: someTtlMs(world) } : {};
  const message = { ...plainMessage(world, topic), ...ttl };
  const { body, ...about } = message;
  const said = { ...about, digest: crc32(body) };
  if (random.next() > DELAYED_SHARE) {
    history.says(said);
    return message;
  }
  const delayMs = random.between(1, DELAY_MS_MAX);
  // It is sent later than now, and committed later still.
  history.says({ ...said, notBeforeMs: performance.now() + delayMs });
  world.delayed.push({ id: message.id, topic });
  return random.next() < 0.5
    ? { ...message, delayMs }
    : { ...message, deliverAt: new Date(Date.now() + delayMs) };
}

const someTtlMs = ({ random }: World): number =>
  random.next() < LASTING_SHARE ? LASTING_TTL_MS : random.between(...TTL_MS);

/** A message that somebody is to answer; it is worth nothing to who has given up waiting. */
export function newQuestion(world: World, ttlMs: number): LoadMessage {
  const message = plainMessage(world, TOPICS[world.random.between(0, 2)] ?? "t0");
  const { body, ...about } = message;
  world.history.says({ ...about, ttlMs, digest: crc32(body) });
  return { ...message, ttlMs };
}

/** That these are visible by now is known of those that nothing delays. */
export function areVisible({ history }: World, messages: readonly LoadMessage[]): void {
  for (const { id, ttlMs, delayMs, deliverAt } of messages)
    if (ttlMs !== undefined && delayMs === undefined && deliverAt === undefined)
      history.visible(id, performance.now());
}

function plainMessage({ random }: World, topic: string): LoadMessage {
  const id = newId();
  const body = Buffer.from(id.padEnd(random.between(32, 800), "."));
  const key = `k${random.between(0, 15)}`;
  const tag = TAGS[random.between(0, 2)] ?? "other";
  return { id, topic, key, tag, body };
}
