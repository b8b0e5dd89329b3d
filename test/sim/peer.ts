/**
 * A client as an SDK is: it dials again, asks with ids, and sends again under the same ids what was not
 * answered when the connection broke, or gives it up as unknown.
 */
import {
  type BrokerFrame,
  type BrokerFrames,
  type ClientFrame,
  ERROR_TABLE,
  isErrorCode,
  PROTOCOL_VERSION,
  type RequestFrame,
} from "@escrowmq/protocol";
import type { Link } from "./link.ts";
import type { World } from "./world.ts";

export type Reply = BrokerFrames["ok"] | BrokerFrames["error"];
type WithoutId<Frame> = Frame extends unknown ? Omit<Frame, "id"> : never;
export type Request = WithoutId<RequestFrame>;

interface Pending {
  readonly request: Request;
  readonly done: Done;
  readonly isResent: boolean;
  /** It was said on an earlier connection, too. */
  isSaidAgain: boolean;
}

/**
 * Null: nobody knows whether it happened. `isInDoubt`: this copy was refused for now, and one that was said before may
 * have been taken, or will be; as the SDKs see it, too (OUTCOME_UNKNOWN).
 */
type Done = (reply: Reply | null, isInDoubt: boolean) => void;

export abstract class Peer {
  readonly world: World;
  readonly name: string;
  #link: Link | null = null;
  #isWelcome = false;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #dialAfterMs: number | null = null;

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
  }

  /** Null: not connected. */
  get link(): Link | null {
    return this.#isWelcome ? this.#link : null;
  }

  get waiting(): number {
    return this.#pending.size;
  }

  dial(): void {
    const { world } = this;
    if (this.#link !== null) return;
    const link = world.connect({
      said: (frame) => {
        if (frame.type === "ended") this.ends(frame);
      },
      heard: (frame, saidAtMs) => this.#heard(frame, saidAtMs),
      broken: () => this.broken(),
      closed: () => this.#closed(),
    });
    if (link === null) return world.time.after(world.random.between(50, 2_000), () => this.dial());
    this.#link = link;
    link.say([{ type: "hello", version: PROTOCOL_VERSION, client: this.name }]);
  }

  /** The connection breaks; the broker learns of it `noticedAfterMs` later. The process dials again. */
  hangUp(noticedAfterMs: number, dialAfterMs: number): void {
    this.#dialAfterMs = dialAfterMs;
    this.#link?.cut(0, noticedAfterMs);
  }

  /** The process is killed: what it waited for it will never know. */
  die(dialAfterMs: number): void {
    this.#pending.clear();
    this.hangUp(this.world.random.between(0, 100), dialAfterMs);
  }

  request(request: Request, done: Pending["done"], isResent = false): void {
    const id = this.#nextId++;
    if (this.link === null && !isResent) return done(null, false);
    this.#pending.set(id, { request, done, isResent, isSaidAgain: false });
    this.post({ ...request, id } as RequestFrame);
  }

  post(frame: ClientFrame): void {
    this.link?.say([frame]);
  }

  #heard(frame: BrokerFrame, saidAtMs: number): void {
    switch (frame.type) {
      case "welcome":
        return this.#welcome();
      case "ok":
      case "error":
        return this.#replied(frame);
      case "deliver":
        return this.got(frame, saidAtMs);
      case "check":
        return this.asked(frame);
      case "replied":
        return this.replied(frame);
      case "gap":
        return this.lost(frame);
      case "ended":
        return this.ended(frame);
      default:
        return;
    }
  }

  #welcome(): void {
    this.#isWelcome = true;
    const unanswered = [...this.#pending];
    this.up();
    for (const [id, pending] of unanswered) {
      if (pending.isResent) {
        pending.isSaidAgain = true;
        this.post({ ...pending.request, id } as RequestFrame);
      } else {
        this.#pending.delete(id);
        pending.done(null, false);
      }
    }
  }

  #replied(reply: Reply): void {
    const pending = this.#pending.get(reply.re);
    if (pending === undefined) return;
    this.#pending.delete(reply.re);
    const isRefusedForNow =
      reply.type === "error" && isErrorCode(reply.code) && ERROR_TABLE[reply.code].isRetriable;
    pending.done(reply, pending.isSaidAgain && isRefusedForNow);
  }

  #closed(): void {
    const { random, time } = this.world;
    const dialAfterMs = this.#dialAfterMs ?? random.below(3_000);
    this.#dialAfterMs = null;
    this.#link = null;
    if (this.#isWelcome) {
      this.#isWelcome = false;
      this.down();
    }
    time.after(dialAfterMs, () => this.dial());
  }

  /** Connected: what a client says first. */
  protected abstract up(): void;

  protected down(): void {
    return;
  }

  /** The connection is not whole any more, though it may look so from here. */
  protected broken(): void {
    return;
  }

  protected got(_frame: BrokerFrames["deliver"], _saidAtMs: number): void {
    return;
  }

  protected replied(_frame: BrokerFrames["replied"]): void {
    return;
  }

  protected lost(_frame: BrokerFrames["gap"]): void {
    return;
  }

  /** A subscription of this client is over for the broker; it will hear of it. */
  protected ends(_frame: BrokerFrames["ended"]): void {
    return;
  }

  protected ended(_frame: BrokerFrames["ended"]): void {
    return;
  }

  protected asked(_frame: BrokerFrames["check"]): void {
    return;
  }
}
