/**
 * Who is connected as what, and who is being asked, as the inputs and sends tell it: the auditor's view of
 * what the engine forgets at a restart.
 */
import type { Admission, ConnectionId, Input } from "../../broker/src/core/types.ts";
import { frameOf } from "./causes.ts";

export interface SubscriptionFacts {
  readonly group: string;
  readonly topics: readonly string[];
  /** One topic may wait for another's turn. */
  readonly isWeighted: boolean;
  messages: number;
  bytes: number;
}

export interface ConnectionFacts {
  readonly id: ConnectionId;
  readonly client: string;
  readonly producerOf: Map<string, boolean>;
  readonly subscriptions: Map<number, SubscriptionFacts>;
  isCongested: boolean;
}

export interface AskedFacts {
  /** Null: the endpoint. */
  readonly connection: ConnectionId | null;
  readonly group: string;
  readonly atMs: number;
}

export class Presence {
  readonly connections = new Map<ConnectionId, ConnectionFacts>();
  readonly asked = new Map<string, AskedFacts>();
  /** Transactions that an operator wants asked about, whatever their time. */
  readonly wanted = new Set<string>();
  admission: Admission = "all";

  /** What an accepted input changes; `isRefused`: its request was answered with an error. */
  took(input: Input, isRefused: boolean): void {
    if (input.kind === "admission") this.admission = input.admission;
    if (input.kind === "connected") this.#connected(input.connection, input.client);
    if (input.kind === "disconnected") this.connections.delete(input.connection);
    if (input.kind === "congested") {
      const connection = this.connections.get(input.connection);
      if (connection !== undefined) connection.isCongested = input.isCongested;
    }
    const frame = frameOf(input);
    if (frame === null || isRefused || !("from" in input)) return;
    const connection = this.connections.get(input.from);
    if (connection === undefined) return;
    if (frame.type === "announce") connection.producerOf.set(frame.group, frame.checker);
    if (frame.type === "unsubscribe") connection.subscriptions.delete(frame.subscription);
    if (frame.type === "tx.check" && !this.asked.has(frame.transactionId))
      this.wanted.add(frame.transactionId);
    if (frame.type === "subscribe" && frame.instance !== undefined)
      this.#replace(`${frame.group}%${frame.instance}`);
    if (frame.type === "subscribe")
      connection.subscriptions.set(frame.subscription, {
        group: frame.instance === undefined ? frame.group : `${frame.group}%${frame.instance}`,
        topics: frame.topics.map(({ topic }) => topic),
        isWeighted: new Set(frame.topics.map(({ weight = 1 }) => weight)).size > 1,
        messages: 0,
        bytes: 0,
      });
    if (frame.type !== "credit") return;
    const subscription = connection.subscriptions.get(frame.subscription);
    if (subscription === undefined) return;
    subscription.messages += frame.messages;
    subscription.bytes += frame.bytes;
  }

  crashed(): void {
    this.connections.clear();
    this.asked.clear();
    this.wanted.clear();
    this.admission = "all";
  }

  speaksFor(connection: ConnectionId, group: string): boolean {
    return this.connections.get(connection)?.producerOf.has(group) === true;
  }

  checkersOf(group: string): ConnectionFacts[] {
    return [...this.connections.values()].filter((one) => one.producerOf.get(group) === true);
  }

  askedOf(connection: ConnectionId): number {
    let asked = 0;
    for (const one of this.asked.values()) if (one.connection === connection) asked++;
    return asked;
  }

  askedAtEndpoint(group: string): number {
    let asked = 0;
    for (const one of this.asked.values())
      if (one.connection === null && one.group === group) asked++;
    return asked;
  }

  /** An instance has one subscription: the last one. */
  #replace(group: string): void {
    for (const { subscriptions } of this.connections.values())
      for (const [no, subscription] of subscriptions)
        if (subscription.group === group) subscriptions.delete(no);
  }

  #connected(id: ConnectionId, client: string): void {
    this.connections.set(id, {
      id,
      client,
      producerOf: new Map(),
      subscriptions: new Map(),
      isCongested: false,
    });
  }
}
