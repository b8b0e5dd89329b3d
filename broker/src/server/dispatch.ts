/**
 * Does what the core wants said, once it is on disk: frames to connections, bodies read from the store,
 * questions to endpoints, answers to operators completed.
 *
 * Invariants
 * - I6 A body that cannot be verified is never sent: the core is told, and the fault is counted and logged.
 * - Frames of one connection keep their order, except deliveries whose bodies come from disk.
 */
import {
  type BrokerFrame,
  type BrokerFrames,
  type DoctorView,
  decodeMessage,
  type ErrorCode,
  EscrowError,
  type StatsView,
} from "@escrowmq/protocol";
import type { Place } from "../core/records.ts";
import type {
  ConnectionId,
  CoreFigures,
  Delivery,
  Input,
  Inspection,
  Send,
} from "../core/types.ts";
import type { BlockStore } from "../store/store.ts";
import type { CheckEndpointClient } from "./check-endpoint.ts";
import { findMessages } from "./find-messages.ts";
import type { Log } from "./log.ts";
import type { LogReader } from "./log-reader.ts";
import type { Looker } from "./looker.ts";
import { traceMessage } from "./message-trace.ts";
import type { Metrics } from "./metrics.ts";
import { Queries } from "./queries.ts";
import type { Asking, Reading } from "./reading.ts";
import type { Session } from "./session.ts";
import { readTimeline, type TimelineSource } from "./timeline.ts";

export interface DispatchOptions {
  readonly store: BlockStore;
  readonly sessions: ReadonlyMap<ConnectionId, Session>;
  readonly reading: Reading;
  /** What a block has at most. */
  readonly blockBytesMax: number;
  readonly asking: Asking;
  readonly endpoints: CheckEndpointClient;
  readonly timeline: TimelineSource;
  readonly reader: LogReader;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Told of each read that found damage or a disk that did not answer. */
  readonly unreadable: (error: unknown) => void;
  readonly take: (input: Input) => void;
  /** Broker time. */
  readonly nowMs: () => number;
  readonly stats: (figures: CoreFigures) => StatsView;
  readonly doctor: (inspection: InspectionOf<"doctor">) => DoctorView;
  readonly looker: Looker;
}

type InspectionOf<Kind extends Inspection["kind"]> = Extract<Inspection, { readonly kind: Kind }>;
type SendOf<Kind extends Send["kind"]> = Extract<Send, { readonly kind: Kind }>;
type PeerSend = Exclude<Send, SendOf<"askEndpoint" | "look">>;
/** Large, and planned: its bytes count as unread from the decision on. */
export type PlannedSend = SendOf<"deliver" | "reply">;
type DeliveryFrame = BrokerFrames["deliver"]["deliveries"][number];

export class Dispatch {
  readonly #options: DispatchOptions;
  readonly #queries = new Queries();

  constructor(options: DispatchOptions) {
    this.#options = options;
  }

  send(sends: readonly Send[]): void {
    const touched = new Set<Session>();
    for (const send of sends) {
      this.#options.metrics.said(send);
      if (send.kind === "askEndpoint") void this.#askEndpoint(send);
      else if (send.kind === "look") this.#options.looker.look(send);
      else this.#toPeer(send, touched);
    }
    for (const session of touched) session.flush();
  }

  #toPeer(send: PeerSend, touched: Set<Session>): void {
    const session = this.#options.sessions.get(send.to);
    if (session === undefined) return;
    touched.add(session);
    this.#toSession(session, send);
  }

  #toSession(session: Session, send: PeerSend): void {
    switch (send.kind) {
      case "frame":
        return session.outbox.add(send.frame, 0, itemsOf(send.frame));
      case "deliver":
        return this.#deliver(session, send);
      case "reply": {
        const { inbox, correlation, body } = send;
        const frame = { type: "replied", inbox, correlation, body } as const;
        const hand = (): void => session.outbox.add(frame, body.length);
        return session.handOver(sizeOfPlan(send), hand);
      }
      case "check":
        return void this.#check(session, send);
      case "inspect":
        return void this.#inspect(session, send.re, send.inspection);
      default:
        send satisfies never;
    }
  }

  #deliver(session: Session, send: SendOf<"deliver">): void {
    const ready: DeliveryFrame[] = [];
    const lapsed: Delivery[] = [];
    const cold = new Map<number, Delivery[]>();
    let readyBytes = 0;
    for (const delivery of send.deliveries) {
      const { block, slot } = delivery.place;
      const message = this.#options.store.cached(block, slot);
      if (message !== null) {
        readyBytes += sizeOf(delivery);
        if (this.#hasLapsed(send, delivery, message)) lapsed.push(delivery);
        else ready.push(deliveryFrame(send, delivery, message));
      } else cold.set(block, [...(cold.get(block) ?? []), delivery]);
    }
    session.handOver(readyBytes, () => session.outbox.addDeliveries(send.subscription, ready));
    this.#tellUnsent("lapsed", send, lapsed);
    for (const [block, deliveries] of cold)
      void this.#deliverCold(session, send, block, deliveries);
  }

  /** Its time to live is over. */
  #hasLapsed(send: SendOf<"deliver">, { atMs }: Delivery, message: Uint8Array): boolean {
    if (!send.hasTtl) return false;
    const { ttlMs } = decodeMessage(message);
    return ttlMs !== undefined && this.#options.nowMs() > atMs + ttlMs;
  }

  #tellUnsent(
    kind: "lapsed" | "unreadable",
    { holderNo }: SendOf<"deliver">,
    deliveries: readonly Delivery[],
  ): void {
    if (deliveries.length > 0) this.#options.take({ kind, holderNo, deliveries });
  }

  async #deliverCold(
    session: Session,
    send: SendOf<"deliver">,
    block: number,
    deliveries: readonly Delivery[],
  ): Promise<void> {
    const slots = deliveries.map(({ place }) => place.slot);
    await this.#reading(async () => {
      const messages = await this.#read(block, slots);
      const frames: DeliveryFrame[] = [];
      const lapsed: Delivery[] = [];
      for (const [at, delivery] of deliveries.entries()) {
        const message = messages?.[at];
        if (message === undefined) continue;
        if (this.#hasLapsed(send, delivery, message)) lapsed.push(delivery);
        else frames.push(deliveryFrame(send, delivery, message));
      }
      session.handOver(sizeOfAll(deliveries), () =>
        session.outbox.addDeliveries(send.subscription, frames),
      );
      session.flush();
      this.#tellUnsent("lapsed", send, lapsed);
      if (messages === null) this.#tellUnsent("unreadable", send, deliveries);
    });
  }

  /** One at a time for each peer, as it reads them: a question may be as large as a transaction. */
  async #check(session: Session, send: SendOf<"check">): Promise<void> {
    const { transactionId, group, attempt, ageMs } = send;
    await session.roomy();
    await this.#reading(async () => {
      const messages = await this.#read(send.block, send.slots);
      if (messages === null)
        return this.#options.take({ kind: "notAsked", transactionId, attempt });
      const bytes = totalLength(messages);
      session.outbox.add(
        { type: "check", transactionId, group, attempt, ageMs, messages },
        bytes,
        messages.length,
      );
      session.flush();
    });
  }

  async #askEndpoint(send: SendOf<"askEndpoint">): Promise<void> {
    if (send.isIdsOnly) return this.#ask(send, null);
    // Copies: the question must not keep whole blocks in memory while somebody thinks about it.
    const messages = await this.#reading(async () =>
      (await this.#read(send.block, send.slots))?.map((message) => message.slice()),
    );
    const bytes = QUESTION_BYTES_PER_BYTE * totalLength(messages ?? []);
    const { transactionId, attempt } = send;
    // C4: no queue here, in which a slow endpoint could hold up the others. It is asked again later.
    if (messages === undefined || !this.#options.asking.hold(bytes))
      return this.#options.take({ kind: "notAsked", transactionId, attempt });
    try {
      await this.#ask(send, messages);
    } finally {
      this.#options.asking.release(bytes);
    }
  }

  /** A block is read whole, for however little of it. */
  #reading<Result>(task: () => Promise<Result>): Promise<Result> {
    const { reading, blockBytesMax } = this.#options;
    return reading.run(blockBytesMax, task);
  }

  async #ask(send: SendOf<"askEndpoint">, messages: readonly Uint8Array[] | null): Promise<void> {
    const { transactionId, group, attempt, ageMs, url, secrets } = send;
    const answer = await this.#options.endpoints.ask({
      url,
      secrets,
      group,
      transactionId,
      attempt,
      ageMs,
      messages,
    });
    const outcome = answer.outcome === "busy" ? "unreachable" : answer.outcome;
    this.#options.take({
      kind: "endpointAnswered",
      transactionId,
      attempt,
      outcome,
      isCounted: outcome !== "unreachable",
      latencyMs: answer.latencyMs,
      note: answer.outcome === outcome && isVerdict(outcome) ? "" : answer.note,
    });
  }

  async #inspect(session: Session, re: number, inspection: Inspection): Promise<void> {
    try {
      const value = await this.#complete(inspection);
      session.outbox.add({ type: "ok", re, value }, 0, itemsOfAnswer(value));
    } catch (error) {
      const code: ErrorCode = EscrowError.is(error) ? error.code : "STORE_FAILED";
      this.#complain(error, inspection.kind);
      session.outbox.add({
        type: "error",
        re,
        code,
        message:
          code === "OVERLOADED"
            ? "Too many questions about messages wait for their turn."
            : "The answer could not be read from the store.",
      });
    }
    session.outbox.flush();
  }

  #complain(err: unknown, inspection: Inspection["kind"]): void {
    const { log } = this.#options;
    if (EscrowError.is(err, "MESSAGE_RETIRED") || EscrowError.is(err, "OVERLOADED")) return;
    // The store is being closed, or has said what is wrong with it.
    if (EscrowError.is(err, "STORE_FAILED"))
      return log.warn({ err, inspection }, "an inspection was cut off");
    log.error({ err, inspection }, "an inspection failed");
  }

  async #complete(inspection: Inspection): Promise<object> {
    const { store, timeline, reader, unreadable, stats, doctor } = this.#options;
    switch (inspection.kind) {
      case "message": {
        const [message] = await store.readMessages(inspection.place.block, [inspection.place.slot]);
        return { ...inspection.value, message };
      }
      case "timeline": {
        const { transactionId, fromBlock, toBlock } = inspection;
        return {
          ...inspection.value,
          ...(await readTimeline(timeline, transactionId, fromBlock, toBlock)),
        };
      }
      case "find":
        return this.#queries.run(() =>
          findMessages({ reader, unreadable, placeOf: timeline.placeOf }, inspection.value),
        );
      case "trace":
        return this.#queries.run(() => traceMessage(timeline, reader, inspection.value));
      case "stats":
        return stats(inspection.value);
      case "doctor":
        return doctor(inspection);
    }
  }

  /** Null: it could not be read, which is logged and counted here. */
  async #read(
    block: Place["block"],
    slots: readonly number[],
  ): Promise<readonly Uint8Array[] | null> {
    const { store, unreadable, log } = this.#options;
    const cached = slots
      .map((slot) => store.cached(block, slot))
      .filter((message) => message !== null);
    if (cached.length === slots.length) return cached;
    try {
      return await store.readMessages(block, slots);
    } catch (error) {
      // Settled by somebody else meanwhile, and retired; or copied forward: it comes again from its new place.
      if (EscrowError.is(error, "MESSAGE_RETIRED")) return null;
      unreadable(error);
      log.error({ err: error, block }, "messages could not be read; they are not delivered");
      return null;
    }
  }
}

/** A delivery takes memory beyond its message, from the decision until it is sent. */
const DELIVERY_BYTES = 256;
const sizeOf = ({ bytes }: Delivery): number => bytes + DELIVERY_BYTES;

const sizeOfAll = (deliveries: readonly Delivery[]): number =>
  deliveries.reduce((total, delivery) => total + sizeOf(delivery), 0);

/** What a send will make its peer hold, from the decision on. */
export const sizeOfPlan = (send: PlannedSend): number =>
  send.kind === "deliver" ? sizeOfAll(send.deliveries) : send.body.length + DELIVERY_BYTES;

const totalLength = (messages: readonly Uint8Array[]): number =>
  messages.reduce((total, message) => total + message.length, 0);

/** The messages, their text in base64, and the request made of it. */
const QUESTION_BYTES_PER_BYTE = 4;

const isVerdict = (outcome: string): boolean =>
  outcome === "commit" || outcome === "rollback" || outcome === "unknown";

const ITEMS_OF_AN_INSPECTION = 8_192;
const GAP_ITEMS = 8;

const FOUND_ITEMS = 16;

/** A page of found messages may have more than other answers. */
function itemsOfAnswer(value: object): number {
  if (!("items" in value) || !Array.isArray(value.items)) return ITEMS_OF_AN_INSPECTION;
  return ITEMS_OF_AN_INSPECTION + FOUND_ITEMS * value.items.length;
}

/** Pages of listings have many items; everything else fits the outbox's own estimate. */
function itemsOf(frame: BrokerFrame): number {
  if (frame.type === "gap") return frame.gaps.length * GAP_ITEMS;
  if (frame.type !== "ok") return 0;
  if (frame.gaps !== undefined) return frame.gaps.length * GAP_ITEMS;
  if (frame.value !== undefined) return ITEMS_OF_AN_INSPECTION;
  return frame.stale?.length ?? 0;
}

function deliveryFrame(
  send: SendOf<"deliver">,
  delivery: Delivery,
  message: Uint8Array,
): DeliveryFrame {
  const { token, offset, attempt, atMs, origin } = delivery;
  const frame = {
    token,
    topic: send.topic,
    offset,
    attempt,
    leaseMs: send.leaseMs,
    atMs: Math.round(atMs),
    message,
  };
  if (origin === null) return frame;
  const { topic, attempts, reason } = origin;
  return {
    ...frame,
    origin: { topic, offset: origin.offset, attempts, reason, atMs: Math.round(origin.atMs) },
  };
}
