/** Who is connected, as what. Gone at a restart. */

import type { Subscription } from "./consumers.ts";
import { invariant } from "./invariant.ts";
import type { ConnectionId } from "./types.ts";

export interface Connection {
  readonly id: ConnectionId;
  readonly client: string;
  /** Announced producer groups; true: this connection answers checks for the group. */
  readonly producerOf: Map<string, boolean>;
  readonly subscriptions: Map<number, Subscription>;
  /** Checks asked of this connection and not yet answered: the rows of their transactions. */
  readonly checks: Set<number>;
  isCongested: boolean;
}

export class Connections {
  readonly #byId = new Map<ConnectionId, Connection>();

  get size(): number {
    return this.#byId.size;
  }

  all(): IterableIterator<Connection> {
    return this.#byId.values();
  }

  add(id: ConnectionId, client: string): void {
    invariant(!this.#byId.has(id), "a connection's number is used once");
    this.#byId.set(id, {
      id,
      client,
      producerOf: new Map(),
      subscriptions: new Map(),
      checks: new Set(),
      isCongested: false,
    });
  }

  remove(id: ConnectionId): void {
    this.#byId.delete(id);
  }

  find(id: ConnectionId): Connection | undefined {
    return this.#byId.get(id);
  }

  /** For requests, which only ever come from a connection that is there. */
  get(id: ConnectionId): Connection {
    const connection = this.#byId.get(id);
    invariant(connection !== undefined, "a request comes from a connection");
    return connection;
  }
}
