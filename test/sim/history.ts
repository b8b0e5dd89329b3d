/**
 * What the clients saw, and nothing else: which operations were answered ok, and what was delivered when.
 * An answer that never came (info) is not here: it may have happened or not.
 */
import type { Ledger } from "./ledger.ts";
import { placeKey } from "./ledger-facts.ts";
import { demand } from "./violation.ts";

export class History {
  /** Message texts and the topics that they were sent to: nothing else may ever be delivered (D1). */
  readonly #said = new Map<string, string>();
  readonly #sendsOk = new Set<string>();
  readonly #preparesOk = new Set<string>();
  readonly #verdictsOk = new Map<string, "committed" | "rolledBack">();
  /** `group topic/offset` of acks that were answered ok. */
  readonly #acked = new Set<string>();
  readonly #released = new Map<string, string>();
  readonly #forgivenAt = new Map<string, number>();
  #time = 0;
  counts = { sends: 0, prepares: 0, verdicts: 0, acks: 0, deliveries: 0 };

  /** Later on than everything before: to tell what an operator's reset excuses. */
  get time(): number {
    return ++this.#time;
  }

  says(body: string, topic: string): void {
    this.#said.set(body, topic);
  }

  sendOk(sendId: string): void {
    this.counts.sends++;
    this.#sendsOk.add(sendId);
  }

  prepareOk(transactionId: string): void {
    this.counts.prepares++;
    this.#preparesOk.add(transactionId);
  }

  verdictOk(transactionId: string, state: "committed" | "rolledBack"): void {
    this.counts.verdicts++;
    const before = this.#verdictsOk.get(transactionId) ?? state;
    demand(before === state, "T2", () => `${transactionId} was ${before}, and now is ${state}`);
    this.#verdictsOk.set(transactionId, state);
  }

  ackOk(token: string, group: string, invokedAt: number): void {
    this.counts.acks++;
    const where = this.#released.get(token);
    if (where === undefined || (this.#forgivenAt.get(group) ?? 0) > invokedAt) return;
    this.#acked.add(`${group} ${where}`);
  }

  /** D4: no delivery to the group starts after an ack was answered ok. */
  released(token: string, group: string, where: string): void {
    this.counts.deliveries++;
    demand(!this.#acked.has(`${group} ${where}`), "D4", () => `${where} comes to ${group} again`);
    this.#released.set(token, where);
  }

  knows(token: string): boolean {
    return this.#released.has(token);
  }

  /** An operator made the group read again: what it acked before may come again. */
  forgive(group: string): void {
    this.#forgivenAt.set(group, this.time);
    for (const key of [...this.#acked]) if (key.startsWith(`${group} `)) this.#acked.delete(key);
  }

  /** D1: what a consumer got was said, and said for this topic. */
  got(body: string, topic: string): void {
    const said = this.#said.get(body);
    demand(said !== undefined, "D1", () => `"${body}" was never sent`);
    demand(topic === said || topic.startsWith("%DLQ%"), "D1", () => `"${body}" was for ${said}`);
  }

  /** I1, D2: everything that was answered ok stands in the log that is on disk. */
  finish(ledger: Ledger): void {
    for (const id of this.#sendsOk)
      demand(ledger.sends.has(id), "I1", () => `${id} was ok, and is lost`);
    for (const id of this.#preparesOk)
      demand(ledger.transactions.has(id), "I1", () => `${id} was prepared, and is lost`);
    for (const [id, state] of this.#verdictsOk)
      demand(ledger.transactions.get(id)?.state === state, "I1", () => `${id} was ${state}`);
    const places = new Set<string>();
    for (const { isDeadLetters, places: visible } of ledger.topics.values())
      if (!isDeadLetters) for (const place of visible) places.add(placeKey(place));
    for (const { id, state, messages } of ledger.transactions.values())
      for (const { place } of messages)
        demand(
          places.has(placeKey(place)) === (state === "committed"),
          "T1",
          () => `${id} is ${state}, but a message of it is visible or not`,
        );
  }
}
