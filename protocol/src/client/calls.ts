/**
 * Requests and their answers, over a link that comes back.
 *
 * Invariants
 * - Q1 Each request has exactly one outcome, whatever the connection does.
 * - Q2 A request with `onReconnect: "resend"` is sent again, as it was, on each new connection until it
 *   is answered: its own ids make it idempotent. One with "fail" lives and dies with its connection.
 * - Q3 UNREACHABLE and CLOSED mean that nothing was sent; OUTCOME_UNKNOWN that it may have happened. So a
 *   request in doubt does not end with a refusal that the copy before need not have met.
 * - Q4 A refusal for the moment (PASSING) is waited out within the deadline. The other retriable
 *   refusals (a pause, full disk, too much undecided work) go to the caller, who may be holding
 *   database locks that the way out needs; only a patient request waits them out, too.
 * - Q5 One timer, for the earliest of all deadlines and repeats.
 * - Q6 What waits for an answer is bounded, in requests and bytes; beyond that a request is refused, and
 *   not made to wait: a caller that does not await its sends would fill the memory with those that wait.
 * - Q7 Sends and prepares beyond the broker's window wait here (send-window.ts), and nothing else does.
 */
import { type ErrorCode, EscrowError } from "../errors.ts";
import type { BrokerFrame, BrokerFrames, RequestFrame } from "../frames.ts";
import { Alarm } from "./alarm.ts";
import { backoffMs, RESEND } from "./backoff.ts";
import { bytesOf } from "./frame-size.ts";
import { errorOf, Link, type LinkOptions } from "./link.ts";
import { SendWindow } from "./send-window.ts";

export type OkFrame = BrokerFrames["ok"];

export type Outcome =
  | { readonly kind: "ok"; readonly frame: OkFrame }
  | { readonly kind: "refused"; readonly error: EscrowError };

export interface CallOptions {
  readonly onReconnect: "resend" | "fail";
  /** Default: the client's `requestTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Waits out every retriable refusal (Q4). */
  readonly isPatient?: boolean;
  /** Given for a request that must arrive: called when its time is up, while it goes on being sent. */
  readonly onLate?: (() => void) | undefined;
}

export interface CallsOptions extends LinkOptions {
  readonly requestTimeoutMs: number;
  readonly unansweredMax: number;
  readonly unansweredBytesMax: number;
  /** Closes the client when it aborts. */
  readonly signal?: AbortSignal | undefined;
}

/** What a kind of client does with its connections. */
export interface Session {
  /** What a new connection needs before any other request; its requests use "fail". */
  setUp(): Promise<void>;
  onOpen?(): void;
  /** Before a batch is encoded: the last chance to add to it. */
  onGather?(): void;
  /** Before an open connection is closed by this side: what is sent now is the last that leaves. */
  onLeaving?(): void;
  /** Frames that answer no request. */
  onFrame?(frame: BrokerFrame): void;
  onLost?(error: EscrowError): void;
  onClosed?(error: EscrowError): void;
}

const PASSING: ReadonlySet<ErrorCode> = new Set(["OVERLOADED", "SHUTTING_DOWN", "STORE_FAILED"]);

interface Opening {
  readonly resolve: () => void;
  readonly reject: (error: EscrowError) => void;
}

interface Call {
  readonly frame: RequestFrame;
  readonly bytes: number;
  readonly options: CallOptions;
  readonly settle: (outcome: Outcome) => void;
  readonly onAbort: (() => void) | null;
  /** waiting: for a connection, or for its place in the window. sent: for an answer. resting: for its next copy's time. */
  stage: "waiting" | "sent" | "resting";
  /** A copy was sent whose answer can no longer come. */
  isInDoubt: boolean;
  refusals: number;
  lastRefusal: EscrowError | null;
  resendAtMs: number;
  deadlineAtMs: number;
}

export class Calls {
  readonly #options: CallsOptions;
  readonly #link: Link;
  readonly #calls = new Map<number, Call>();
  readonly #alarm: Alarm;
  readonly #window = new SendWindow<Call>((call) => this.#put(call));
  #bytes = 0;
  #nextId = 1;
  #closed: EscrowError | null = null;
  #quiet: (() => void)[] = [];
  #session: Session = { setUp: () => Promise.resolve() };
  #opening: Opening | null = null;

  constructor(options: CallsOptions) {
    this.#options = options;
    this.#alarm = new Alarm(options.environment, (nowMs) => this.#sweep(nowMs));
    this.#link = new Link(options, {
      setUp: () => this.#session.setUp(),
      opened: () => this.#opened(),
      gather: () => this.#session.onGather?.(),
      leaving: () => this.#session.onLeaving?.(),
      received: (frame) => this.#received(frame),
      lost: (error) => this.#lost(error),
      closed: (error) => this.#end(error),
    });
  }

  /** Starts to connect. Resolves when the session is set up for the first time; to be called once. */
  open(session: Session): Promise<void> {
    this.#session = session;
    this.#options.signal?.addEventListener("abort", this.#abort, { once: true });
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      this.#link.start();
    });
  }

  get link(): Link {
    return this.#link;
  }

  get unanswered(): number {
    return this.#calls.size;
  }

  close(error: EscrowError): void {
    this.#link.close(error);
  }

  /** Resolves when nothing is unanswered any more. */
  quiet(): Promise<void> {
    if (this.#calls.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#quiet.push(resolve));
  }

  /** As `start`, with a promise; it rejects with the refusal. */
  request(makeFrame: (id: number) => RequestFrame, options: CallOptions): Promise<OkFrame> {
    return new Promise((resolve, reject) => {
      this.start(makeFrame, options, (outcome) => {
        if (outcome.kind === "ok") resolve(outcome.frame);
        else reject(outcome.error);
      });
    });
  }

  /** Sends the request that `makeFrame` makes of its id; `settle` is called once (Q1). */
  start(
    makeFrame: (id: number) => RequestFrame,
    options: CallOptions,
    settle: (outcome: Outcome) => void,
  ): void {
    const id = this.#nextId++;
    const frame = makeFrame(id);
    const bytes = bytesOf(frame);
    const refusal = this.#refusal(options, bytes);
    if (refusal !== null) {
      settle({ kind: "refused", error: refusal });
      return;
    }
    const { signal, timeoutMs = this.#options.requestTimeoutMs } = options;
    const onAbort = signal === undefined ? null : () => this.#giveUp(id, "aborted");
    if (onAbort !== null) signal?.addEventListener("abort", onAbort, { once: true });
    const call: Call = {
      frame,
      bytes,
      options,
      settle,
      onAbort,
      stage: "waiting",
      isInDoubt: false,
      refusals: 0,
      lastRefusal: null,
      resendAtMs: Number.POSITIVE_INFINITY,
      deadlineAtMs: this.#options.environment.nowMs() + timeoutMs,
    };
    this.#calls.set(id, call);
    this.#bytes += bytes;
    this.#alarm.ringBy(call.deadlineAtMs);
    if (options.onReconnect === "fail" || this.#link.state === "open") this.#send(call);
  }

  #refusal(options: CallOptions, bytes: number): EscrowError | null {
    const { signal, onReconnect, onLate } = options;
    if (this.#closed !== null) return afterClose(this.#closed);
    if (signal?.aborted === true)
      return new EscrowError("CLOSED", undefined, { cause: signal.reason });
    if (onReconnect === "fail" && this.#link.connection === null)
      return new EscrowError("UNREACHABLE");
    // What must arrive is never refused here: it is what makes room.
    if (onLate !== undefined) return null;
    // Q6
    const { unansweredMax, unansweredBytesMax } = this.#options;
    if (this.#calls.size < unansweredMax && this.#bytes + bytes <= unansweredBytesMax) return null;
    return new EscrowError(
      "OVERLOADED",
      `More than ${unansweredMax} requests or ${unansweredBytesMax} bytes wait for answers; await some of them first.`,
    );
  }

  // Q7
  #send(call: Call): void {
    if (!isBulk(call)) return this.#put(call);
    call.stage = "waiting";
    call.resendAtMs = Number.POSITIVE_INFINITY;
    this.#window.offer(call);
  }

  #put(call: Call): void {
    call.stage = "sent";
    call.resendAtMs = Number.POSITIVE_INFINITY;
    this.#link.connection?.send(call.frame, call.bytes);
  }

  #opened(): void {
    for (const call of this.#calls.values()) if (call.stage !== "sent") this.#send(call);
    this.#session.onOpen?.();
    this.#opening?.resolve();
  }

  #received(frame: BrokerFrame): void {
    if (frame.type === "window") return this.#window.resize(frame.bytes);
    if (frame.type !== "ok" && frame.type !== "error") {
      this.#session.onFrame?.(frame);
      return;
    }
    const call = this.#calls.get(frame.re);
    // Nobody waits any more: the caller gave up before the answer came.
    if (call === undefined) return;
    if (frame.type === "ok") {
      this.#settle(frame.re, call, { kind: "ok", frame });
      return;
    }
    const error = errorOf(frame);
    if (this.#isWaitedOut(call, error)) this.#rest(call, error);
    else this.#settle(frame.re, call, { kind: "refused", error: refusalOf(call, error) });
  }

  // Q4
  #isWaitedOut(call: Call, error: EscrowError): boolean {
    return PASSING.has(error.code) || (call.options.isPatient === true && error.retriable);
  }

  #rest(call: Call, error: EscrowError): void {
    const { environment } = this.#options;
    this.#outOfWindow(call);
    call.stage = "resting";
    call.refusals++;
    call.lastRefusal = error;
    if (error.code === "STORE_FAILED") call.isInDoubt = true;
    call.resendAtMs = environment.nowMs() + backoffMs(RESEND, call.refusals, environment.random());
    this.#alarm.ringBy(call.resendAtMs);
  }

  #outOfWindow(call: Call): void {
    if (!isBulk(call)) return;
    if (call.stage === "sent") this.#window.returned(call);
    else this.#window.withdraw(call);
  }

  #lost(error: EscrowError): void {
    this.#window.reset();
    for (const [id, call] of this.#calls) {
      if (call.stage === "sent") call.isInDoubt = true;
      call.stage = "waiting";
      call.resendAtMs = Number.POSITIVE_INFINITY;
      // Q2
      if (call.options.onReconnect === "fail")
        this.#settle(id, call, { kind: "refused", error: unanswered(call, error) });
    }
    this.#session.onLost?.(error);
  }

  #end(error: EscrowError): void {
    this.#closed = error;
    this.#window.reset();
    for (const [id, call] of this.#calls)
      this.#settle(id, call, { kind: "refused", error: unanswered(call, afterClose(error)) });
    this.#alarm.stop();
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#session.onClosed?.(error);
    // Too late to matter if it has opened once.
    this.#opening?.reject(error);
  }

  readonly #abort = (): void => {
    const cause = this.#options.signal?.reason;
    this.close(new EscrowError("CLOSED", undefined, { cause }));
  };

  #giveUp(id: number, why: "aborted" | "late"): void {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    const { onLate, signal } = call.options;
    if (onLate !== undefined) {
      call.deadlineAtMs = Number.POSITIVE_INFINITY;
      onLate();
      return;
    }
    const error =
      why === "aborted"
        ? new EscrowError("CLOSED", undefined, { cause: signal?.reason })
        : (call.lastRefusal ?? this.#lateness(call));
    this.#settle(id, call, { kind: "refused", error: unanswered(call, error) });
  }

  #lateness(call: Call): EscrowError {
    if (this.#window.isWaiting(call))
      return new EscrowError("OVERLOADED", "The broker did not take it in time; nothing was sent.");
    return new EscrowError("UNREACHABLE", undefined, { cause: this.#link.trouble ?? undefined });
  }

  #settle(id: number, call: Call, outcome: Outcome): void {
    this.#calls.delete(id);
    this.#bytes -= call.bytes;
    this.#outOfWindow(call);
    if (call.onAbort !== null) call.options.signal?.removeEventListener("abort", call.onAbort);
    call.settle(outcome);
    if (this.#calls.size > 0 || this.#quiet.length === 0) return;
    const waiting = this.#quiet;
    this.#quiet = [];
    for (const resolve of waiting) resolve();
  }

  // Q5
  #sweep(nowMs: number): void {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [id, call] of this.#calls) {
      if (call.deadlineAtMs <= nowMs) this.#giveUp(id, "late");
      else if (call.resendAtMs <= nowMs) this.#send(call);
      nextMs = Math.min(
        nextMs,
        call.deadlineAtMs > nowMs ? call.deadlineAtMs : nextMs,
        call.resendAtMs,
      );
    }
    if (this.#closed === null) this.#alarm.ringBy(nextMs);
  }
}

/** What a broker may be too busy for; all else is small, and makes room. */
const isBulk = ({ frame }: Call): boolean => frame.type === "send" || frame.type === "prepare";

/** What is true of a request that ends without an answer (Q3). */
function unanswered(call: Call, error: EscrowError): EscrowError {
  if (call.stage !== "sent" && !call.isInDoubt) return error;
  return outcomeUnknown(error);
}

/**
 * What is true of a request that is refused (Q3). The broker may come to what a lost connection had sent after the
 * repetition, when what is refused for now is refused no more. Who waited at an inbox may have had the first copy,
 * and gone.
 */
function refusalOf(call: Call, error: EscrowError): EscrowError {
  const isOfThisCopy = error.retriable || error.code === "INBOX_NOT_FOUND";
  return call.isInDoubt && isOfThisCopy ? outcomeUnknown(error) : error;
}

const outcomeUnknown = (cause: EscrowError): EscrowError =>
  new EscrowError("OUTCOME_UNKNOWN", undefined, { cause });

/** A link that ended by itself refuses with its own reason; one that was closed says so. */
const afterClose = (error: EscrowError): EscrowError =>
  error.code === "CLOSED" ? error : new EscrowError(error.code, error.message, { cause: error });
