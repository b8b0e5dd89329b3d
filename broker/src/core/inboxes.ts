/**
 * Request and reply: a reply goes to the connection that opened the inbox, and is kept nowhere. The request is
 * an ordinary message, of which nothing is known here.
 *
 * Invariants
 * - Q1 An inbox is one connection's and ends with it; its name never means another one, after a restart either.
 * - Q2 A reply is handed on at most once. What its owner does not read is refused and not gathered.
 */
import type { ClientFrames } from "@escrowmq/protocol";
import type { Core } from "./core.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId } from "./types.ts";

export class Inboxes {
  readonly #owners = new Map<string, ConnectionId>();
  readonly #names = new Map<ConnectionId, string>();
  #start = "";

  /** `block`: the one that says that the broker was opened; no two starts have the same. */
  open(block: number): void {
    this.#start = block.toString(36);
  }

  get size(): number {
    return this.#names.size;
  }

  /** Of this connection; a second one would tell nothing that a correlation does not. */
  of(connection: ConnectionId): string {
    const known = this.#names.get(connection);
    if (known !== undefined) return known;
    const name = `${this.#start}.${connection.toString(36)}`;
    this.#names.set(connection, name);
    this.#owners.set(name, connection);
    return name;
  }

  ownerOf(name: string): ConnectionId | undefined {
    return this.#owners.get(name);
  }

  close(connection: ConnectionId): void {
    const name = this.#names.get(connection);
    if (name === undefined) return;
    this.#names.delete(connection);
    this.#owners.delete(name);
  }
}

export function inbox(
  { inboxes }: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["inbox"],
): void {
  turn.ok(from, frame.id, { inbox: inboxes.of(from) });
}

export function reply(
  { inboxes, connections }: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["reply"],
): void {
  const { id, inbox, correlation, body } = frame;
  const owner = inboxes.ownerOf(inbox);
  if (owner === undefined)
    return turn.refuse(from, id, "INBOX_NOT_FOUND", "The connection of that inbox has ended.");
  if (connections.get(owner).isCongested)
    return turn.refuse(from, id, "INBOX_FULL", "The owner of that inbox does not read.");
  // From here it must succeed.
  turn.send({ kind: "reply", to: owner, inbox, correlation, body });
  turn.ok(from, id);
}
