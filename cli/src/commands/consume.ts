/**
 * `escrow consume`: prints messages as they come. A message is acked after its line has been handed to
 * stdout, so that a broken pipe loses none.
 */
import { EscrowError, LIMITS } from "@escrowmq/protocol";
import type {
  AckableMessage,
  Position,
  ReceivedMessage,
  Receiver,
  ReceiverOptions,
  WeightedTopic,
} from "../connect.ts";
import { bodyText, jsonText, safe } from "../escape.ts";
import { plural } from "../format.ts";
import { duration, each, integer, position, weightedTopic } from "../parse.ts";
import type { Printer } from "../print.ts";
import type { Session } from "../session.ts";
import { stopOnSignal, unlessAborted } from "../stop.ts";
import type { Verb } from "../verb.ts";

interface ConsumeOptions {
  readonly topic: readonly WeightedTopic[];
  readonly group: string;
  readonly from?: Position;
  readonly filter?: string;
  readonly max?: number;
  readonly idle?: number;
  readonly broadcast?: string;
  readonly reply?: string;
  /** False by --no-ack. */
  readonly ack: boolean;
}

/** Without acks every message printed stays leased until the end, so there must be an end. */
const HELD_MESSAGES_MAX = 1_000;
const DRAIN_MS = 10_000;

export const consume: Verb<ConsumeOptions> = {
  examples: [
    "escrow consume --topic orders --group billing",
    "escrow consume --topic urgent=4 --topic orders --group billing",
    "escrow consume --topic orders --group look --from offset:100 --max 10 --no-ack",
    "escrow consume --topic orders --group export --idle 5s --json > orders.jsonl",
    `escrow consume --topic orders --group big --filter "sql: amount > 1000 AND region = 'eu'"`,
    "escrow consume --topic prices --group cache --broadcast node-1",
    "escrow consume --topic questions --group answers --reply '{\"price\":7}'",
  ],
  options: (command) =>
    command
      .requiredOption(
        "--topic <topic>",
        "what to read; several take turns, or as many messages in a turn as =N says",
        each(weightedTopic),
      )
      .requiredOption("--group <group>", "the consumer group to read as")
      .option(
        "--from <position>",
        "where a new group begins: earliest, latest, offset:N or time:ISO",
        position,
      )
      .option("--filter <filter>", 'only what matches: "paid || shipped" (tags), or "sql: ..."')
      .option("--broadcast <instance>", "read every message of the group's topics as this instance")
      .option("--reply <text>", "what to reply to each request, before its ack")
      .option("--max <n>", "stop after so many messages", integer(1, Number.MAX_SAFE_INTEGER))
      .option("--idle <duration>", "stop when nothing came for so long", duration)
      .option(
        "--no-ack",
        `give all of them back at the end (at most ${HELD_MESSAGES_MAX}), as they came`,
      ),
  run: async (session, options) => {
    const max = messagesMax(options);
    const receiver = await session.io.services.createReceiver({
      ...(await session.endpoint()),
      group: options.group,
      subscribe: subscriptionsOf(options),
      ...(options.broadcast === undefined
        ? {}
        : { broadcast: { instance: options.broadcast }, onGap: (gap) => noteGap(session, gap) }),
      ...(options.ack
        ? { concurrency: 1 }
        : { concurrency: max, maxBytesInFlight: LIMITS.creditBytesMax }),
    });
    const held = options.ack ? null : hold(receiver);
    const messages = held?.messages ?? receiver[Symbol.asyncIterator]();
    try {
      const printed = await read(session, messages, { options, max });
      const end = options.ack ? "acked" : "given back";
      session.print.note(`${plural(printed, "message")} ${end}.`);
    } finally {
      const drained = receiver.drain({ timeoutMs: DRAIN_MS });
      // Only now: what went back before would come again.
      held?.giveBack();
      await drained;
    }
    return undefined;
  },
};

const subscriptionsOf = ({ topic, from, filter }: ConsumeOptions) =>
  topic.map((one) => ({ ...one, ...from, ...(filter === undefined ? {} : { filter }) }));

function noteGap({ print }: Session, { topic, lost }: Gap): void {
  if (lost !== null)
    print.note(safe`${plural(lost, "message")} of ${topic} were lost to this instance.`);
}

function messagesMax(options: ConsumeOptions): number {
  if (options.ack) return options.max ?? Number.POSITIVE_INFINITY;
  return Math.min(options.max ?? HELD_MESSAGES_MAX, HELD_MESSAGES_MAX);
}

type Gap = Parameters<NonNullable<ReceiverOptions["onGap"]>>[0];

interface Reading {
  readonly options: ConsumeOptions;
  readonly max: number;
}

async function read(
  session: Session,
  messages: AsyncIterator<Printable>,
  reading: Reading,
): Promise<number> {
  const stop = stopOnSignal(session.io);
  const until = { signal: stop.signal, idleMs: reading.options.idle };
  let printed = 0;
  try {
    while (printed < reading.max) {
      const next = await nextOf(session, messages, until);
      if (next === undefined || next.done) break;
      await session.print.lineWritten(lineOf(session.print, next.value));
      printed++;
      if (reading.options.reply !== undefined)
        await reply(session, next.value, reading.options.reply);
      if (reading.options.ack) await next.value.ack?.();
    }
  } finally {
    stop.unlisten();
  }
  return printed;
}

type Printable = ReceivedMessage & Partial<AckableMessage>;

async function reply(session: Session, message: Printable, body: string): Promise<void> {
  if (!message.isRequest) return;
  try {
    await message.reply(new TextEncoder().encode(body));
  } catch (error) {
    // Its sender is gone, or has waited long enough: the message is to be acked all the same.
    if (!isNobodyWaiting(error)) throw error;
    session.print.note(safe`Nobody waits for the reply to ${message.id} any more.`);
  }
}

/** After a lost connection it is not known whether the sender waited no more, or had the reply before. */
const isNobodyWaiting = (error: unknown): boolean =>
  EscrowError.is(error, "INBOX_NOT_FOUND") ||
  (EscrowError.is(error, "OUTCOME_UNKNOWN") && EscrowError.is(error.cause, "INBOX_NOT_FOUND"));

interface Held {
  readonly messages: AsyncIterator<Printable>;
  giveBack(): void;
}

/** Messages that stay unsettled: each is lent to a handler that ends when all are given back. */
function hold(receiver: Receiver): Held {
  let giveBack = (): void => undefined;
  const over = new Promise<void>((resolve) => {
    giveBack = resolve;
  });
  const start = (controller: ReadableStreamDefaultController<Printable>): void => {
    const handler = (message: ReceivedMessage): Promise<void> => {
      controller.enqueue(message);
      return over;
    };
    receiver.lend(handler).then(
      () => controller.close(),
      (error: unknown) => controller.error(error),
    );
  };
  return { messages: new ReadableStream<Printable>({ start }).values(), giveBack };
}

/** The next message, or undefined when a signal or too long a silence comes first. */
async function nextOf(
  session: Session,
  messages: AsyncIterator<Printable>,
  until: { readonly signal: AbortSignal; readonly idleMs: number | undefined },
): Promise<IteratorResult<Printable> | undefined> {
  const next = unlessAborted(messages.next(), until.signal);
  if (until.idleMs === undefined) return next;
  const arrived = new AbortController();
  const silence = session.io.clock.sleep(until.idleMs, arrived.signal).then(() => undefined);
  return Promise.race([next, silence]).finally(() => arrived.abort());
}

function lineOf(print: Printer, message: ReceivedMessage): string {
  if (print.isJson) return jsonText(jsonOf(message));
  const words = [
    print.paint("dim", print.zonedTime(message.atMs)),
    print.paint("cyan", safe`${message.topic}@${message.offset}`),
  ];
  if (message.attempt > 1) words.push(print.paint("yellow", `attempt=${message.attempt}`));
  if (message.key !== undefined) words.push(safe`key=${message.key}`);
  if (message.tag !== undefined) words.push(safe`tag=${message.tag}`);
  for (const [name, value] of Object.entries(message.headers))
    words.push(print.paint("dim", safe`${name}=${value}`));
  return [...words, bodyText(message.body)].join("  ");
}

const jsonOf = (message: ReceivedMessage): object => ({
  topic: message.topic,
  offset: message.offset,
  attempt: message.attempt,
  atMs: message.atMs,
  id: message.id,
  key: message.key,
  tag: message.tag,
  headers: message.headers,
  body: message.body,
});
