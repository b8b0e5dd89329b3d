/**
 * The oracle inside: sees every input, every step's records and sends, every crash and every recovery, and
 * refuses what breaks a promise and only inside knowledge can tell (reliability: P1-P9, T1-T9, C1-C4, C7,
 * D1-D8, D10-D15, D20, B1). What clients can tell is judged by test/history.
 *
 * Invariants of its own
 * - It decides by its own ledger and its own view of who is connected, never by asking the engine.
 * - What the engine says of itself is compared with the ledger at quiet points and after each recovery (P8).
 */
import type { ClientFrames } from "@escrowmq/protocol";
import type { Engine, SealedBlock } from "../../broker/src/core/engine.ts";
import type { Policy } from "../../broker/src/core/policy.ts";
import type { LogRecord, RecordOf } from "../../broker/src/core/records.ts";
import type { Input, Ready, Send, Unsent } from "../../broker/src/core/types.ts";
import { demandReply } from "./answers.ts";
import {
  demandCause,
  entryKey,
  frameOf,
  type LeaseFacts,
  type Moment,
  type TokenFacts,
} from "./causes.ts";
import { compareWithEngine } from "./comparison.ts";
import { Ledger } from "./ledger.ts";
import { ready } from "./ledger-deliveries.ts";
import { placeKey, whereIs } from "./ledger-facts.ts";
import { isPaused } from "./ledger-groups.ts";
import { mayGo } from "./ledger-retention.ts";
import { Presence, type SubscriptionFacts } from "./presence.ts";
import { demand } from "./violation.ts";

/** No message of these worlds is larger. */
const LARGEST_BYTES = 1_000;

type SendOf<Kind extends Send["kind"]> = Extract<Send, { readonly kind: Kind }>;

export class Auditor {
  readonly policy: Policy;
  ledger: Ledger;
  /** Where the log ended from which the ledger was read; null once a step has followed. */
  #readTo: SealedBlock | null | undefined;
  readonly presence = new Presence();
  readonly #tokens = new Map<string, TokenFacts>();
  readonly #leases = new Map<string, LeaseFacts>();
  /** Who was given something, by the number that the engine has for that. */
  readonly #holders = new Map<number, SubscriptionFacts>();
  /** By topic: the first message that is there although it may go, and since when that is known. */
  readonly #overdue = new Map<number, { readonly offset: number; readonly sinceMs: number }>();
  #hasMore = false;
  #slackMs = 0;

  constructor(policy: Policy) {
    this.policy = policy;
    this.ledger = new Ledger(policy);
  }

  stepped(input: Input, ready: Ready, nowMs: number, block: number, atMs: number): void {
    this.#readTo = null;
    const moment = this.#momentOf(input, nowMs);
    const delivered: RecordOf<"delivered">[] = [];
    for (const record of ready.records) {
      demandCause(record, moment);
      this.ledger.apply(record, block, atMs, nowMs);
      this.#after(record);
      if (record.kind === "delivered") delivered.push(record);
    }
    const reply = demandReply(input, ready, moment);
    this.presence.took(input, reply?.type === "error");
    if (input.kind === "lapsed" || input.kind === "unreadable") this.#refund(input);
    for (const send of ready.sends) {
      if (send.kind === "deliver") this.#delivery(send, delivered, nowMs);
      if (send.kind === "check" || send.kind === "askEndpoint") this.#asked(send, nowMs);
    }
    this.#forgetHeld(nowMs);
    demand(delivered.length === 0, "D5", () => "a delivery stands in the log, but is not sent");
    if (input.kind === "frame" && input.frame.type === "extend") this.#extended(input.frame, nowMs);
    this.#hasMore = ready.wakeAtMs !== null && ready.wakeAtMs <= nowMs;
  }

  /** The engine is gone: what is not on disk never happened. */
  crashed(durable: readonly SealedBlock[]): void {
    this.presence.crashed();
    this.#holders.clear();
    this.#overdue.clear();
    this.#leases.clear();
    const end = durable.at(-1);
    // A crash and the start after it mostly find the same log.
    if (end === this.#readTo) return;
    this.#readTo = end;
    this.ledger = new Ledger(this.policy);
    for (const { number, atMs, records } of durable)
      for (const record of records)
        this.ledger.apply(record, number, atMs, Number.POSITIVE_INFINITY);
  }

  /** A checkpoint was begun so long after the time of its block: see the ledger. */
  saved(slackMs: number): void {
    this.#slackMs = Math.max(this.#slackMs, slackMs);
  }

  /** P8, I4: what is recovered is what the log says. */
  recovered(engine: Engine): void {
    this.ledger.slackMs = this.#slackMs;
    compareWithEngine(this.ledger, engine.core.state, Number.NEGATIVE_INFINITY);
  }

  /** Between two steps: B1, B2, C1, C4, C7, D12, and no lease that outlived its time. */
  quiet(engine: Engine, nowMs: number): void {
    if (this.#hasMore) return;
    compareWithEngine(this.ledger, engine.core.state, nowMs);
    for (const [key, { untilMs }] of this.#leases)
      demand(untilMs > nowMs, "D5", () => `the lease of ${key} ended, and it was not given back`);
    this.#demandChecks(nowMs);
    this.#demandNothingDue(nowMs);
    this.#demandNothingReady(nowMs);
    this.#demandRetired(nowMs);
  }

  get leases(): number {
    return this.#leases.size;
  }

  #momentOf(input: Input, nowMs: number): Moment {
    const { ledger, presence, policy } = this;
    const valid = new Map<string, TokenFacts>();
    for (const token of tokensOf(input)) {
      const facts = this.#tokens.get(token);
      if (facts === undefined) continue;
      const entry = ledger.cursors.get(facts.cursorNo)?.entries.get(facts.offset);
      if (entry?.kind === "leased" && entry.number === facts.deliveryNo)
        valid.set(entryKey(facts.cursorNo, facts.offset), facts);
    }
    const lease = (cursorNo: number, offset: number): LeaseFacts | undefined =>
      this.#leases.get(entryKey(cursorNo, offset));
    return { input, nowMs, ledger, presence, policy, valid, lease };
  }

  #after(record: LogRecord): void {
    switch (record.kind) {
      case "topicUpdated":
      case "cursorOpened":
      case "instanceForgotten":
        this.#overdue.clear();
        return;
      case "acked":
        for (const offset of record.offsets) this.#leases.delete(entryKey(record.cursorNo, offset));
        return;
      case "returned": {
        this.#leases.delete(entryKey(record.cursorNo, record.offset));
        return;
      }
      case "lapsed":
        for (const offset of record.offsets) this.#leases.delete(entryKey(record.cursorNo, offset));
        return;
      case "abandoned":
      case "buried":
        this.#leases.delete(entryKey(record.cursorNo, record.offset));
        return;
      case "prepared":
        for (const { cursorNo, offset } of record.acks)
          this.#leases.delete(entryKey(cursorNo, offset));
        return;
      case "cursorReset":
        this.#overdue.clear();
        for (const key of [...this.#leases.keys()])
          if (key.startsWith(`${record.cursorNo}.`)) this.#leases.delete(key);
        return;
      case "skipped":
        for (const offset of record.offsets) this.#leases.delete(entryKey(record.cursorNo, offset));
        return;
      case "replayed":
        this.#overdue.clear();
        return;
      case "checked":
      case "decided":
        this.presence.asked.delete(record.transactionId);
        this.presence.wanted.delete(record.transactionId);
        return;
      default:
        return;
    }
  }

  #delivery(send: SendOf<"deliver">, delivered: RecordOf<"delivered">[], nowMs: number): void {
    const record = delivered.shift();
    demand(record !== undefined, "P4", () => "something is delivered that is not in the log");
    const cursor = this.ledger.cursor(record.cursorNo);
    const topic = this.ledger.topic(cursor.topicNo);
    const subscription = this.presence.connections
      .get(send.to)
      ?.subscriptions.get(send.subscription);
    demand(subscription !== undefined, "D10", () => "a delivery to who did not subscribe");
    demand(
      subscription.group === this.ledger.groupName(cursor) &&
        send.topic === topic.name &&
        subscription.topics.includes(topic.name),
      "D11",
      () => `${topic.name} is delivered to ${subscription.group}`,
    );
    const holder = this.#holders.get(send.holderNo) ?? subscription;
    demand(holder === subscription, "D10", () => "two subscriptions of one number");
    this.#holders.set(send.holderNo, subscription);
    for (const [at, { token, offset, attempt, place }] of send.deliveries.entries()) {
      const entry = cursor.entries.get(offset);
      demand(record.offsets[at] === offset && entry !== undefined, "D5", () => "not as in the log");
      const visible = whereIs(topic, offset);
      demand(placeKey(visible) === placeKey(place), "D1", () => `${topic.name}/${offset} moved`);
      demand(
        attempt === entry.failures + 1,
        "D6",
        () => `attempt ${attempt} after ${entry.failures} counted failures`,
      );
      const deliveryNo = record.firstDeliveryNo + at;
      this.#tokens.set(token, { cursorNo: cursor.no, offset, deliveryNo });
      this.#leases.set(entryKey(cursor.no, offset), {
        connection: send.to,
        leaseMs: send.leaseMs,
        untilMs: nowMs + send.leaseMs,
      });
      subscription.messages--;
      subscription.bytes -= this.ledger.bytesAt.get(placeKey(place)) ?? 0;
    }
    demand(
      subscription.messages >= 0 && subscription.bytes >= 0,
      "D10",
      () => `credit of ${subscription.group} is exceeded`,
    );
  }

  #asked(send: SendOf<"check" | "askEndpoint">, nowMs: number): void {
    const { transactionId: id, group, attempt } = send;
    const { presence, policy } = this;
    const transaction = this.ledger.undecided.get(id);
    demand(transaction?.state === "undecided", "C2", () => `${id} is asked about`);
    demand(transaction.group === group, "C6", () => `${group} is asked about ${id}`);
    const isWanted = presence.wanted.delete(id);
    demand(
      isWanted || nowMs >= transaction.nextCheckAtMs,
      "P7",
      () => `${id} is asked about ${transaction.nextCheckAtMs - nowMs} ms too early`,
    );
    demand(!presence.asked.has(id), "C7", () => `${id} is asked about twice at a time`);
    demand(
      attempt === transaction.checks + 1 && attempt <= policy.checkAttemptsMax,
      "C3",
      () => `check ${attempt} of ${id} after ${transaction.checks}`,
    );
    const connection = send.kind === "check" ? send.to : null;
    presence.asked.set(id, { connection, group, atMs: nowMs });
    demand(presence.asked.size <= policy.checksTotalMax, "C7", () => "too many checks in all");
    if (connection === null)
      return demand(
        presence.askedAtEndpoint(group) <= policy.checksPerEndpointMax,
        "C7",
        () => `the endpoint of ${group} is asked too much`,
      );
    demand(
      presence.connections.get(connection)?.producerOf.get(group) === true,
      "C6",
      () => `connection ${connection} does not answer for ${group}`,
    );
    demand(
      presence.askedOf(connection) <= policy.checksPerConnectionMax,
      "C7",
      () => `connection ${connection} is asked too much`,
    );
  }

  #demandChecks(nowMs: number): void {
    const { presence, policy, ledger } = this;
    if (presence.admission === "none") return;
    if (presence.asked.size >= policy.checksTotalMax) return;
    for (const { id, group, state, nextCheckAtMs } of ledger.undecided.values()) {
      if (state === "parked" || nextCheckAtMs > nowMs || presence.asked.has(id)) continue;
      const checkers = presence.checkersOf(group);
      const isSomebodyFree =
        checkers.length > 0
          ? checkers.some((one) => presence.askedOf(one.id) < policy.checksPerConnectionMax)
          : ledger.endpoints.has(group) &&
            presence.askedAtEndpoint(group) < policy.checksPerEndpointMax;
      demand(!isSomebodyFree, "C1", () => `${id} is due, ${group} is free, and nobody is asked`);
    }
  }

  /** D13, D20: whose time has come, or behind whose transactions nobody is undecided, is visible. */
  #demandNothingDue(nowMs: number): void {
    if (this.presence.admission === "none") return;
    for (const { id, dueAtMs, isQueued } of this.ledger.schedule.all.values())
      demand(
        dueAtMs > nowMs,
        isQueued ? "D20" : "D13",
        () => `${id} is due since ${nowMs - dueAtMs} ms, and waits`,
      );
  }

  #demandNothingReady(nowMs: number): void {
    // A delivery is a record, too, and there is no room for one.
    if (this.presence.admission === "none") return;
    for (const { subscriptions, isCongested, id } of this.presence.connections.values()) {
      if (isCongested) continue;
      for (const { group, topics, isWeighted, messages, bytes } of subscriptions.values()) {
        if (messages === 0 || (isWeighted && bytes < LARGEST_BYTES)) continue;
        for (const cursor of this.ledger.cursors.values()) {
          if (this.ledger.groupName(cursor) !== group) continue;
          if (!topics.includes(this.ledger.topic(cursor.topicNo).name)) continue;
          if (isPaused(this.ledger, cursor.groupNo)) continue;
          const waiting = ready(this.ledger, cursor, nowMs);
          // Which of them comes first is not said here: one that is too large may hold the others up.
          const { bytes: sizes } = this.ledger.topic(cursor.topicNo);
          const isHeldUp = waiting.some((offset) => (sizes[offset] ?? 0) > bytes);
          demand(
            isHeldUp || waiting.length === 0,
            "D12",
            () => `${waiting[0]} waits though ${id} has credit`,
          );
        }
      }
    }
  }

  /** In each step, busy or not: what somebody had in hand at the look between two rests was rightly left there. */
  #forgetHeld(nowMs: number): void {
    for (const [no, { offset }] of this.#overdue) {
      const topic = this.ledger.topics.get(no);
      if (topic === undefined || !mayGo(this.ledger, topic, offset, nowMs))
        this.#overdue.delete(no);
    }
  }

  /** E4: what is due and settled by all goes at the next look. */
  #demandRetired(nowMs: number): void {
    for (const topic of this.ledger.topics.values()) {
      const { no, name, firstOffset: offset } = topic;
      const known = this.#overdue.get(no);
      if (!mayGo(this.ledger, topic, offset, nowMs)) this.#overdue.delete(no);
      else if (known?.offset !== offset) this.#overdue.set(no, { offset, sinceMs: nowMs });
      else
        demand(
          nowMs - known.sinceMs <= this.policy.retentionEveryMs,
          "E4",
          () => `${name}/${offset} may go since ${nowMs - known.sinceMs} ms, and is there`,
        );
    }
  }

  #extended(frame: ClientFrames["extend"], nowMs: number): void {
    for (const token of frame.tokens) {
      const facts = this.#tokens.get(token);
      if (facts === undefined) continue;
      const entry = this.ledger.cursors.get(facts.cursorNo)?.entries.get(facts.offset);
      const lease = this.#leases.get(entryKey(facts.cursorNo, facts.offset));
      if (lease !== undefined && entry?.kind === "leased" && entry.number === facts.deliveryNo)
        lease.untilMs = nowMs + (frame.leaseMs ?? lease.leaseMs);
    }
  }

  /** What never went out was not granted for nothing, whatever has become of it since. */
  #refund({ holderNo, deliveries }: Unsent): void {
    const holder = this.#holders.get(holderNo);
    if (holder === undefined) return;
    holder.messages += deliveries.length;
    for (const { bytes } of deliveries) holder.bytes += bytes;
  }
}

function tokensOf(input: Input): readonly string[] {
  const frame = frameOf(input);
  if (input.kind === "lapsed" || input.kind === "unreadable")
    return input.deliveries.map(({ token }) => token);
  if (frame === null) return [];
  if ("tokens" in frame) return frame.tokens;
  if ("token" in frame && frame.token !== undefined) return [frame.token];
  return frame.type === "prepare" ? (frame.acks ?? []) : [];
}
