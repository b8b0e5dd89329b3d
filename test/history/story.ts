/** Histories made by hand, for the checkers' own tests: what clients did, and what the broker holds in the end. */
import type { Final } from "./final.ts";
import {
  type Decision,
  type Delivery,
  type DeliveryEnd,
  History,
  type Outcome,
  type Prepare,
  type Reader,
  type SaidVerdict,
} from "./history.ts";

export const TOPIC = "orders";
export const GROUP = "billing";

export class Story {
  readonly history = new History();
  readonly reader: Reader;
  #deliveries = 0;

  constructor() {
    this.reader = this.history.reader(GROUP);
  }

  sent(id: string, outcome: Outcome = "ok", messages: readonly string[] = [id]): void {
    for (const message of messages) this.says(message);
    this.history.ended(this.history.send(id, messages), outcome);
  }

  says(id: string, topic = TOPIC): void {
    this.history.says({ id, topic, digest: 1 });
  }

  prepares(id: string, messages: readonly string[] = [], joins: readonly Delivery[] = []): Prepare {
    for (const message of messages) this.says(message);
    return this.history.prepare(id, messages, joins);
  }

  prepared(
    id: string,
    messages: readonly string[] = [],
    outcome: Outcome = "ok",
    joins: readonly Delivery[] = [],
  ): Prepare {
    const prepare = this.prepares(id, messages, joins);
    this.history.ended(prepare, outcome);
    return prepare;
  }

  /** `told`: what a refusal says. */
  decided(
    id: string,
    verdict: Decision,
    outcome: Outcome = "ok",
    told: SaidVerdict["told"] = null,
  ): void {
    const said = this.history.verdict(id, verdict);
    said.told = told;
    this.history.ended(said, outcome);
  }

  /** `no`: the delivery's number. */
  delivered(
    id: string,
    offset: number,
    given: {
      no?: number;
      cursorNo?: number;
      attempt?: number;
      atMs?: number;
      reader?: Reader;
      digest?: number;
    } = {},
  ): Delivery {
    const {
      no = ++this.#deliveries,
      cursorNo = 1,
      attempt = 1,
      atMs = 0,
      reader = this.reader,
    } = given;
    const token = `${cursorNo}.${offset.toString(36)}.${no.toString(36)}`;
    const { digest = 1 } = given;
    const message = { id, topic: TOPIC, digest, offset, attempt, token, leaseMs: 1_000 };
    return this.history.delivered(reader, message, atMs);
  }

  ended(delivery: Delivery, kind: DeliveryEnd["kind"], outcome: Outcome = "ok"): void {
    this.history.ended(this.history.ends(delivery, kind), outcome);
  }
}

/** One topic with these messages; everything else empty. */
export const finalWith = (visible: readonly string[], more: Partial<Final> = {}): Final => ({
  groups: [GROUP],
  visible: new Map([[TOPIC, visible]]),
  transactions: new Map(),
  standings: new Map(),
  topics: new Set([TOPIC]),
  waiting: new Set(),
  accounts: [
    { topic: TOPIC, nextOffset: visible.length, halfMessages: 0, scheduled: 0, queued: 0 },
  ],
  ...more,
  terms: {
    latenessMs: 100,
    losesDeliveries: false,
    mayStayParked: false,
    mayBuryByItself: false,
    ...more.terms,
  },
});

/** The numbers of the rules that were broken. */
export const rulesIn = (problems: readonly string[]): readonly string[] =>
  problems.map((problem) => problem.slice(0, problem.indexOf(":")));
