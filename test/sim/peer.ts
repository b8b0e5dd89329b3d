/**
 * A client as an SDK is: it dials again, asks with ids, and sends again under the same ids what was not
 * answered when the connection broke, or gives it up as unknown. Its network is slow, and breaks.
 */
import type { BrokerFrames } from "@escrowmq/protocol";
import type { ConnectionId, Input, Send } from "../../broker/src/core/types.ts";
import type { World } from "./world.ts";

export type Reply = BrokerFrames["ok"] | BrokerFrames["error"];
export type SendOf<Kind extends Send["kind"]> = Extract<Send, { readonly kind: Kind }>;

interface Pending {
  readonly make: (from: ConnectionId, id: number) => Input;
  /** Null: nobody knows whether it happened. */
  readonly done: (reply: Reply | null) => void;
  readonly isResent: boolean;
}

export abstract class Peer {
  readonly world: World;
  readonly name: string;
  #connection: ConnectionId | null = null;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #arrivesAtMs = 0;

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
  }

  get connection(): ConnectionId | null {
    return this.#connection;
  }

  get waiting(): number {
    return this.#pending.size;
  }

  dial(): void {
    const { world } = this;
    if (this.#connection !== null) return;
    const connection = world.accept(this);
    if (connection === null)
      return world.time.after(world.random.between(50, 2_000), () => this.dial());
    this.#connection = connection;
    this.post({ kind: "connected", connection, client: this.name });
    const unanswered = [...this.#pending];
    this.up();
    for (const [id, { make, done, isResent }] of unanswered) {
      if (isResent) this.post(make(connection, id));
      else {
        this.#pending.delete(id);
        done(null);
      }
    }
  }

  /** The connection breaks; the broker learns of it `noticedAfterMs` later. The process dials again. */
  hangUp(noticedAfterMs: number, dialAfterMs: number): void {
    const connection = this.#connection;
    if (connection === null) return;
    this.#connection = null;
    this.#arrivesAtMs = 0;
    this.world.lost(connection, noticedAfterMs);
    this.down();
    this.world.time.after(dialAfterMs, () => this.dial());
  }

  /** The process is killed: what it waited for it will never know. */
  die(dialAfterMs: number): void {
    this.#pending.clear();
    this.hangUp(this.world.random.between(0, 100), dialAfterMs);
  }

  request(make: Pending["make"], done: Pending["done"], isResent = false): void {
    const id = this.#nextId++;
    if (this.#connection === null && !isResent) return done(null);
    this.#pending.set(id, { make, done, isResent });
    if (this.#connection !== null) this.post(make(this.#connection, id));
  }

  /** Arrives later, in the order in which it was posted, if the connection holds until then. */
  post(input: Input): void {
    const { world } = this;
    const connection = this.#connection;
    const { nowMs } = world.time;
    this.#arrivesAtMs = Math.max(this.#arrivesAtMs, nowMs + world.latencyMs());
    world.time.at(this.#arrivesAtMs, () => {
      if (this.#connection === connection && connection !== null) world.take(connection, input);
    });
  }

  receive(send: Send): void {
    if (send.kind === "deliver") return this.got(send);
    if (send.kind === "check") return this.asked(send);
    const reply: Reply | null =
      send.kind === "inspect"
        ? { type: "ok", re: send.re, value: send.inspection.value }
        : send.kind === "frame" && "re" in send.frame
          ? send.frame
          : null;
    if (reply === null) return;
    const pending = this.#pending.get(reply.re);
    if (pending === undefined) return;
    this.#pending.delete(reply.re);
    pending.done(reply);
  }

  /** Connected: what a client says first. */
  protected abstract up(): void;

  protected down(): void {
    return;
  }

  protected got(_send: SendOf<"deliver">): void {
    return;
  }

  protected asked(_send: SendOf<"check">): void {
    return;
  }
}
