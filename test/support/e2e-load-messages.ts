/**
 * The load's messages: some are for later, by a delay or at a time, and some are worth nothing after a while. Most have
 * one of a few keys, so that who reserves one is in the way of others.
 */
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
/** Of those with a time to live: without a key, so that nobody can reserve it, and it is known when they are visible. */
const KEYLESS_SHARE = 0.5;
/** Of those without a delay: wanted back, should they wait for others' verdicts. */
const CALLED_BACK_SHARE = 0.03;

export interface LoadMessage {
  readonly id: string;
  readonly topic: string;
  readonly key?: string;
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
  const message = random.next() < TTL_SHARE ? mortal(world, topic) : plainMessage(world, topic);
  const { body, ...about } = message;
  const said = { ...about, digest: crc32(body) };
  if (random.next() > DELAYED_SHARE) {
    history.says(said);
    if (random.next() < CALLED_BACK_SHARE) world.delayed.push({ id: message.id, topic });
    return message;
  }
  const delayMs = random.between(1, DELAY_MS_MAX);
  // It is sent later than now, and committed later still.
  history.says({ ...said, isDelayed: true, notBeforeMs: performance.now() + delayMs });
  world.delayed.push({ id: message.id, topic });
  return random.next() < 0.5
    ? { ...message, delayMs }
    : { ...message, deliverAt: new Date(Date.now() + delayMs) };
}

function mortal(world: World, topic: string): LoadMessage {
  const { key, ...message } = plainMessage(world, topic);
  const ttlMs = someTtlMs(world);
  return world.random.next() < KEYLESS_SHARE ? { ...message, ttlMs } : { ...message, key, ttlMs };
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

/** That these are visible by now is known of those that nothing delays, and whose key nobody can have reserved. */
export function areVisible({ history }: World, messages: readonly LoadMessage[]): void {
  for (const { id, key, ttlMs, delayMs, deliverAt } of messages)
    if (
      ttlMs !== undefined &&
      delayMs === undefined &&
      deliverAt === undefined &&
      key === undefined
    )
      history.visible(id, performance.now());
}

function plainMessage({ random }: World, topic: string) {
  const id = newId();
  const body = Buffer.from(id.padEnd(random.between(32, 800), "."));
  const key = `k${random.between(0, 15)}`;
  const tag = TAGS[random.between(0, 2)] ?? "other";
  return { id, topic, key, tag, body };
}
