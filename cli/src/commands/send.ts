/** `escrow send`: one message from the command line, a file or a pipe, once or many times. */
import { LIMITS } from "@escrowmq/protocol";
import { type Command, Option } from "commander";
import { type OutgoingMessage, readInput, type Sender } from "../connect.ts";
import { safe, shellWord } from "../escape.ts";
import { EXIT, UsageError } from "../failure.ts";
import { count, plural } from "../format.ts";
import type { Io } from "../io.ts";
import { duration, each, integer, type Pair, pair, time } from "../parse.ts";
import type { Session } from "../session.ts";
import { stopOnSignal } from "../stop.ts";
import type { Verb } from "../verb.ts";

/** What a message is made of. */
export interface MessageOptions {
  readonly topic: string;
  readonly group: string;
  readonly key?: string;
  readonly tag?: string;
  readonly header?: readonly Pair[];
  readonly body?: string;
  readonly bodyFile?: string;
  readonly delay?: number;
  readonly at?: number;
  readonly ttl?: number;
}

interface SendOptions extends MessageOptions {
  readonly count: number;
}

export const send: Verb<SendOptions> = {
  examples: [
    "escrow send --topic orders --key 42 --body '{\"id\":42}'",
    "cat order.json | escrow send --topic orders --header source=backfill --header run=7",
    "escrow send --topic orders --body-file order.json --count 1000",
    "escrow send --topic reminders --body 'pay by Friday' --delay 2d --ttl 12h",
    "escrow send --topic greetings --body hello --at 2026-12-24T18:00Z",
  ],
  options: (command) =>
    withMessage(command)
      .option("--delay <duration>", "consumers see it so much later: 30s, 10m, 2d", duration)
      .addOption(
        new Option("--at <time>", "consumers see it from then on: 2026-12-24T18:00Z")
          .argParser(time)
          .conflicts("delay"),
      )
      .option("--ttl <duration>", "who has not been sent it by then never gets it", duration)
      .option("--count <n>", "send it so many times", integer(1, 10_000_000), 1),
  run: async (session, options) => {
    const message = await messageOf(session.io, options);
    const sender = await session.io.services.createSender({
      ...(await session.endpoint()),
      group: options.group,
    });
    try {
      if (options.count > 1)
        return await sendMany(session, sender, { message, times: options.count });
      await sendOne(session, sender, message);
      return undefined;
    } finally {
      await sender.close();
    }
  },
};

export const withMessage = (command: Command): Command =>
  command
    .requiredOption("--topic <topic>", "where to")
    .option("--key <key>", "the business key to find it by")
    .option("--tag <tag>", "a word to filter by")
    .option("--header <name=value...>", "headers", each(pair))
    .option("--body <text>", "the body; else --body-file or a pipe")
    .addOption(
      new Option("--body-file <path>", "the body from a file, - for stdin").conflicts("body"),
    )
    .option("--group <group>", "the producer group to send as", "escrow-cli");

export const messageOf = async (io: Io, options: MessageOptions): Promise<OutgoingMessage> => ({
  ...fields(options),
  body: await bodyOf(io, options),
});

async function sendOne(session: Session, sender: Sender, message: OutgoingMessage): Promise<void> {
  const result = await sender.send(message);
  const isDelayed = message.delayMs !== undefined || message.deliverAt !== undefined;
  const sent = safe`${isDelayed ? "Scheduled" : "Sent"} ${result.id} ${isDelayed ? "for" : "to"} ${message.topic}.`;
  const next = isDelayed
    ? `Call it back: escrow message recall ${shellWord(message.topic)} ${shellWord(result.id)}`
    : `Read it: escrow consume --group <group> --topic ${shellWord(message.topic)}`;
  session.print.answer({ id: result.id, duplicate: result.duplicate }, `${sent} ${next}`);
}

/** Enough to keep the broker's blocks full, and little enough to stop at the first refusal. */
const IN_FLIGHT_MAX = 256;

async function sendMany(
  session: Session,
  sender: Sender,
  work: { message: OutgoingMessage; times: number },
): Promise<number> {
  const { clock } = session.io;
  const stop = stopOnSignal(session.io);
  const progress = session.io.startProgress("sent", work.times);
  const startedAtMs = clock.now();
  let begun = 0;
  let done = 0;
  let isRefused = false;
  const sendNext = async (): Promise<void> => {
    while (begun < work.times && !isRefused && !stop.signal.aborted) {
      begun++;
      await sender.send(work.message);
      done++;
      progress.update(done);
    }
  };
  const lane = (): Promise<void> =>
    sendNext().catch((error: unknown) => {
      // One refusal stops all lanes; the others end with what they have in flight.
      isRefused = true;
      throw error;
    });
  const ends = await Promise.allSettled(
    Array.from({ length: Math.min(IN_FLIGHT_MAX, work.times) }, lane),
  );
  progress.stop();
  stop.unlisten();
  const refused = ends.find((end) => end.status === "rejected");
  if (refused !== undefined) {
    session.print.note(`${plural(done, "message")} of ${work.times} were sent before the refusal.`);
    throw refused.reason;
  }
  if (done < work.times)
    session.print.note(`Stopped on the way: ${count(done)} of ${count(work.times)} were sent.`);
  const tookMs = Math.max(1, clock.now() - startedAtMs);
  const rate = `${plural(Math.round((done / tookMs) * 1_000), "message")} a second`;
  session.print.answer(
    { sent: done, tookMs },
    `${safe`${plural(done, "message")} sent to ${work.message.topic}`}, ${rate}, each on disk.`,
  );
  return done < work.times ? EXIT.interrupted : EXIT.ok;
}

const fields = (options: MessageOptions): Omit<OutgoingMessage, "body"> => ({
  topic: options.topic,
  ...(options.key === undefined ? {} : { key: options.key }),
  ...(options.tag === undefined ? {} : { tag: options.tag }),
  ...(options.header === undefined
    ? {}
    : { headers: Object.fromEntries(options.header.map(({ name, value }) => [name, value])) }),
  ...(options.delay === undefined ? {} : { delayMs: options.delay }),
  ...(options.at === undefined ? {} : { deliverAt: new Date(options.at) }),
  ...(options.ttl === undefined ? {} : { ttlMs: options.ttl }),
});

async function bodyOf(io: Io, options: MessageOptions): Promise<Uint8Array> {
  if (options.body !== undefined) return new TextEncoder().encode(options.body);
  if (options.bodyFile !== undefined && options.bodyFile !== "-")
    return readInput(options.bodyFile, "body file");
  if (io.isTty.stdin && options.bodyFile === undefined)
    throw new UsageError("What is the body? Give --body or --body-file, or pipe it in.");
  return readAll(io.stdin);
}

async function readAll(stdin: Io["stdin"]): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stdin) {
    parts.push(Buffer.from(part));
    bytes += part.length;
    // What comes after this could only be refused.
    if (bytes > LIMITS.bodyBytesMax)
      throw new UsageError(`A body may have at most ${LIMITS.bodyBytesMax} bytes.`);
  }
  return Buffer.concat(parts);
}
