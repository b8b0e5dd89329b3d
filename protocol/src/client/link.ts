/**
 * A connection that comes back: dial, hello, the session's setup, heartbeat, and all of it again
 * after a loss, until it is closed.
 *
 * Invariants
 * - L1 There is at most one connection; events of an earlier one are ignored.
 * - L2 `hello` travels alone, and nothing else before `welcome`.
 * - L3 `opened` comes after `setUp` has resolved. Each connection for which `setUp` was called gets
 *   exactly one `lost`.
 * - L4 `closed` is final and comes once. A refusal that would only be repeated closes at once instead
 *   of redialing for ever.
 */
import { EscrowError, isErrorCode } from "../errors.ts";
import { type BrokerFrame, PROTOCOL_VERSION } from "../frames.ts";
import { backoffMs, REDIAL } from "./backoff.ts";
import { Connection } from "./connection.ts";
import type { Environment, Timer } from "./environment.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { Logger } from "./logger.ts";

/** From the dial to the end of the setup. */
const CONNECT_WITHIN_MS = 10_000;
/** A connection that lasted this long was a good one: the next redial starts over with short waits. */
const STABLE_AFTER_MS = 5_000;

export interface LinkOptions {
  readonly url: string;
  /** Shown to operators. */
  readonly clientName: string;
  readonly token?: string | undefined;
  /** False: the first failure or loss closes the link. */
  readonly isRedialing: boolean;
  readonly environment: Environment;
  readonly logger: Logger;
}

export interface LinkEvents {
  /** Restores the session; nothing that waits is sent before it resolves. */
  setUp(connection: Connection): Promise<void>;
  opened(connection: Connection): void;
  /** See Connection: the last chance to add frames to this turn's batch. */
  gather(): void;
  /** Open, and about to be closed by this side. */
  leaving(): void;
  received(frame: BrokerFrame): void;
  lost(error: EscrowError): void;
  closed(error: EscrowError): void;
}

type LinkState =
  | { readonly kind: "idle" }
  | { readonly kind: "dialing"; readonly connection: Connection; readonly deadline: Timer }
  | { readonly kind: "greeting"; readonly connection: Connection; readonly deadline: Timer }
  | {
      readonly kind: "settingUp";
      readonly connection: Connection;
      readonly deadline: Timer;
      readonly heartbeat: Heartbeat;
    }
  | {
      readonly kind: "open";
      readonly connection: Connection;
      readonly heartbeat: Heartbeat;
      readonly sinceMs: number;
    }
  | { readonly kind: "waiting"; readonly timer: Timer }
  | { readonly kind: "closed"; readonly error: EscrowError };

export class Link {
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  #state: LinkState = { kind: "idle" };
  #failures = 0;
  #trouble: EscrowError | null = null;

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
  }

  start(): void {
    if (this.#state.kind === "idle") this.#dial();
  }

  get state(): LinkState["kind"] {
    return this.#state.kind;
  }

  /** The connection that has been welcomed, if there is one. */
  get connection(): Connection | null {
    const state = this.#state;
    return state.kind === "open" || state.kind === "settingUp" ? state.connection : null;
  }

  /** What ended the latest connection, or kept it from opening; null while one is open. */
  get trouble(): EscrowError | null {
    return this.#trouble;
  }

  /** Final (L4). What was sent before still leaves. */
  close(error: EscrowError): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    if (state.kind === "open") {
      this.#events.gather();
      this.#events.leaving();
    }
    this.#state = { kind: "closed", error };
    stopTimers(state);
    if (state.kind === "open") state.connection.finish(error);
    else if ("connection" in state) state.connection.abandon(error);
    if ("heartbeat" in state) this.#events.lost(error);
    this.#events.closed(error);
  }

  #dial(): void {
    const { environment, url } = this.#options;
    const connection: Connection = new Connection(url, environment, {
      opened: () => this.#greet(connection),
      gather: () => {
        if (this.#state.kind === "open") this.#events.gather();
      },
      received: (frames) => this.#receive(connection, frames),
      closed: (error) => this.#lost(connection, error),
    });
    const deadline = environment.startTimer(
      () =>
        connection.abandon(new EscrowError("UNREACHABLE", "The broker did not answer in time.")),
      CONNECT_WITHIN_MS,
    );
    this.#state = { kind: "dialing", connection, deadline };
  }

  #greet(connection: Connection): void {
    const state = this.#state;
    if (state.kind !== "dialing" || state.connection !== connection) return;
    const { clientName, token } = this.#options;
    this.#state = { kind: "greeting", connection, deadline: state.deadline };
    connection.send({
      type: "hello",
      version: PROTOCOL_VERSION,
      client: clientName,
      ...(token === undefined ? {} : { token }),
    });
  }

  #receive(connection: Connection, frames: readonly BrokerFrame[]): void {
    for (const frame of frames) {
      if (!this.#isCurrent(connection)) return;
      if ("heartbeat" in this.#state) this.#state.heartbeat.heard();
      if (frame.type === "welcome") this.#welcomed(connection, frame.version);
      else if (frame.type === "closing") connection.abandon(errorOf(frame));
      else if (frame.type !== "pong") this.#events.received(frame);
    }
  }

  #welcomed(connection: Connection, version: number): void {
    const state = this.#state;
    if (state.kind !== "greeting" || state.connection !== connection) return;
    if (version !== PROTOCOL_VERSION) {
      connection.abandon(new EscrowError("UNSUPPORTED_VERSION"));
      return;
    }
    const heartbeat = new Heartbeat(
      this.#options.environment,
      () => connection.send({ type: "ping" }),
      () =>
        connection.abandon(new EscrowError("UNREACHABLE", "The broker stopped answering pings.")),
    );
    this.#state = { kind: "settingUp", connection, deadline: state.deadline, heartbeat };
    this.#events.setUp(connection).then(
      () => this.#open(connection),
      (cause: unknown) => {
        const isKnown = EscrowError.is(cause);
        if (!isKnown) this.close(new EscrowError("INTERNAL", "The setup failed.", { cause }));
        else if (this.#isCurrent(connection)) connection.abandon(cause);
      },
    );
  }

  #open(connection: Connection): void {
    const state = this.#state;
    if (state.kind !== "settingUp" || state.connection !== connection) return;
    state.deadline.stop();
    this.#trouble = null;
    this.#state = {
      kind: "open",
      connection,
      heartbeat: state.heartbeat,
      sinceMs: this.#options.environment.nowMs(),
    };
    this.#options.logger.debug({ url: this.#options.url }, "connected");
    this.#events.opened(connection);
  }

  #isCurrent(connection: Connection): boolean {
    return "connection" in this.#state && this.#state.connection === connection;
  }

  #lost(connection: Connection, error: EscrowError): void {
    const state = this.#state;
    if (!("connection" in state) || state.connection !== connection) return;
    stopTimers(state);
    const isFinal = !this.#options.isRedialing || isHopeless(state.kind, error);
    if (isFinal) this.#state = { kind: "closed", error };
    else this.#redialLater(state, error);
    if ("heartbeat" in state) this.#events.lost(error);
    if (isFinal) this.#events.closed(error);
  }

  #redialLater(state: LinkState, because: EscrowError): void {
    const { environment, logger, url } = this.#options;
    const lastedMs = state.kind === "open" ? environment.nowMs() - state.sinceMs : 0;
    this.#failures = lastedMs >= STABLE_AFTER_MS ? 1 : this.#failures + 1;
    this.#trouble = because;
    const waitMs = backoffMs(REDIAL, this.#failures, environment.random());
    logger.warn({ url, code: because.code, waitMs }, `connection lost: ${because.message}`);
    const timer = environment.startTimer(() => this.#dial(), waitMs);
    this.#state = { kind: "waiting", timer };
  }
}

function stopTimers(state: LinkState): void {
  if ("deadline" in state) state.deadline.stop();
  if ("heartbeat" in state) state.heartbeat.stop();
  if ("timer" in state) state.timer.stop();
}

/** Would the next connection only end the same way? What the SDK sends before it is open is always the same. */
function isHopeless(during: LinkState["kind"], error: EscrowError): boolean {
  if (error.code === "UNSUPPORTED_VERSION") return true;
  return (during === "greeting" || during === "settingUp") && !isPassing(error);
}

/** Faults of the moment, though the same request would not be repeated for each of them. */
const isPassing = (error: EscrowError): boolean =>
  error.retriable || error.code === "INTERNAL" || error.code === "TOO_SLOW";

/** The error that a frame of the broker speaks of. A code that is unknown here stands in the text. */
export function errorOf(frame: {
  readonly code: string;
  readonly message: string;
  readonly detail?: unknown;
}): EscrowError {
  if (!isErrorCode(frame.code))
    return new EscrowError("INTERNAL", `${frame.code}: ${frame.message}`);
  return new EscrowError(frame.code, frame.message, { detail: detailOf(frame.detail) });
}

function detailOf(value: unknown): Record<string, string | number | boolean> {
  const detail: Record<string, string | number | boolean> = {};
  if (typeof value !== "object" || value === null) return detail;
  for (const [name, item] of Object.entries(value)) {
    if (typeof item === "string" || typeof item === "number" || typeof item === "boolean")
      detail[name] = item;
  }
  return detail;
}
