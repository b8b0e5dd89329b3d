/**
 * A producer: sends, transactions and answers to checks, for one producer group.
 *
 * Invariants
 * - G1 Ids are made before anything is sent, so that a repeated send is recognized as one. Under an id of the
 *   caller's they are made of it, so that the caller can repeat the call.
 * - G2 The group is announced on each connection before anything else.
 * - G3 A check is answered on the connection that asked, or not at all: the broker asks again.
 *
 * Events on the diagnostics channel "escrowmq:producer": connected, disconnected, checked,
 * transaction, closed.
 */
import {
  type BrokerFrame,
  type BrokerFrames,
  decodeMessage,
  EscrowError,
  isMessageId,
  isTransactionId,
  LIMITS,
} from "@escrowmq/protocol";
import {
  type Calls,
  type ClientOptions,
  checkGroup,
  checkMs,
  connect,
  diagnosticsChannel,
  type Environment,
  idSource,
  type Logger,
  platformEnvironment,
  REQUEST_TIMEOUT_MS,
  type Session,
  SILENT,
  type Topic,
  topicNameOf,
} from "@escrowmq/protocol/client";
import { answerCheck, type CheckHandler } from "./check.ts";
import {
  checkedMessage,
  encodeOutgoing,
  encodeTransaction,
  idsUnder,
  type OutgoingMessage,
} from "./message.ts";
import { type Answer, answerOf, type RequestMessage, Requests } from "./requests.ts";
import {
  type OutgoingMessages,
  Scope,
  type ScopeContext,
  type Transaction,
  type TransactionOptions,
  type TransactionResult,
} from "./transaction.ts";

export interface ProducerOptions extends ClientOptions {
  /** The producer group: all instances that can answer for each other's transactions. */
  readonly group: string;
  /** Says how a transaction ended, when the broker did not hear its verdict. */
  readonly onCheck?: CheckHandler;
  /** How long onCheck may take before the answer is "unknown". Default 10,000 ms. */
  readonly checkTimeoutMs?: number;
}

export interface SendOptions {
  readonly signal?: AbortSignal;
}

export interface SendAllOptions extends SendOptions {
  /**
   * Idempotency key of the whole call, unique for ever: 1 to 64 of `A-Z a-z 0-9 _ -`. The same messages again
   * under it are stored once. Default: 128 random bits.
   */
  readonly id?: string;
}

export interface Sent {
  /** The message's id; for sendAll the id of the call. */
  readonly id: string;
  /** The broker had it already, from an earlier try. */
  readonly duplicate: boolean;
}

/** A message that was sent with a delay. */
export interface Recall {
  readonly topic: string | Topic<unknown>;
  /** The message's, as `send` told it. */
  readonly id: string;
}

export interface Recalled {
  readonly id: string;
  /** It had been recalled before, by an earlier try. */
  readonly duplicate: boolean;
}

export interface DrainOptions {
  readonly timeoutMs: number;
}

export interface ProducerDrained {
  readonly drained: boolean;
  /** Requests without an answer and transactions still running, when the time was up. */
  readonly unanswered: number;
}

export interface Producer {
  readonly group: string;
  /**
   * Sends one message; resolves when it is on the broker's disk. Tried again across reconnects under
   * the same id for `requestTimeoutMs`. Rejects with the broker's refusal, ENCODE_FAILED, UNREACHABLE
   * or CLOSED when nothing was sent, OUTCOME_UNKNOWN when it may be there: send it again under its id.
   */
  send<T>(message: OutgoingMessage<T>, options?: SendOptions): Promise<Sent>;
  /** Sends messages of any topics that become visible together or not at all. Errors as for `send`. */
  sendAll<T extends readonly unknown[]>(
    messages: OutgoingMessages<T>,
    options?: SendAllOptions,
  ): Promise<Sent>;
  /**
   * Calls a delayed message back before its time has come; resolves when it is certain that nobody will get it.
   * Rejects with MESSAGE_NOT_SCHEDULED when it is visible already, in an undecided transaction, or was never sent.
   */
  recall(message: Recall, options?: SendOptions): Promise<Recalled>;

  /**
   * Sends a message, and resolves with the reply of whoever handles it first. The request is durable like any
   * message; the reply is not. Rejects as `send` does, and with NO_REPLY when none came in time or INBOX_LOST when
   * the connection broke: the request may have been worked on in both cases.
   */
  request<T, R = Uint8Array>(message: RequestMessage<T, R>): Promise<Answer<R>>;
  /**
   * Runs `work`, and gives the verdict that follows from how it ends: it resolves = commit, it throws
   * Rollback = rollback, it throws anything else = none, thrown again, and the check-back decides.
   * Rejects with TX_ALREADY_ROLLED_BACK or TX_ALREADY_COMMITTED when the broker knows another end.
   */
  transaction(
    work: (tx: Transaction) => Promise<unknown>,
    options?: TransactionOptions,
  ): Promise<TransactionResult>;
  /** Takes nothing new, waits for answers and running transactions, then closes. */
  drain(options: DrainOptions): Promise<ProducerDrained>;
  /** Closes now. What was not answered rejects; undecided transactions are safe, the check-back decides. */
  close(): Promise<void>;
  /** Drains for at most 10 s. */
  [Symbol.asyncDispose](): Promise<void>;
}

const CHECK_TIMEOUT_MS = 10_000;
const DISPOSE_WITHIN_MS = 10_000;
const ILLEGAL_ID = "transactionId must be 22 to 64 of A-Z a-z 0-9 _ -.";

/**
 * Connects a producer. Resolves when its group is announced; rejects with UNREACHABLE when that takes
 * longer than `requestTimeoutMs`, INVALID_ARGUMENT for an unusable option, CLOSED when the signal
 * aborts. The second argument replaces sockets, clock and randomness, for tests.
 */
export async function createProducer(
  options: ProducerOptions,
  environment: Environment = platformEnvironment,
): Promise<Producer> {
  checkGroup(options.group);
  if (options.checkTimeoutMs !== undefined) checkMs("checkTimeoutMs", options.checkTimeoutMs);
  const defaults = { clientName: options.group, isRedialing: true };
  return connect(
    options,
    defaults,
    environment,
    (calls) => new ConnectedProducer(calls, options, environment),
  );
}

class ConnectedProducer implements Producer, Session {
  readonly group: string;
  readonly #calls: Calls;
  readonly #environment: Environment;
  readonly #logger: Logger;
  readonly #onCheck: CheckHandler | undefined;
  readonly #checkTimeoutMs: number;
  readonly #channel = diagnosticsChannel("escrowmq:producer");
  readonly #newId: () => string;
  readonly #scopes: ScopeContext;
  readonly #requests: Requests;
  readonly #requestTimeoutMs: number;
  /** Transactions whose end is not told yet, and requests without a reply. */
  #running = 0;
  #whenNoneRuns: (() => void)[] = [];
  #isDraining = false;

  constructor(calls: Calls, options: ProducerOptions, environment: Environment) {
    this.group = options.group;
    this.#calls = calls;
    this.#environment = environment;
    this.#logger = options.logger ?? SILENT;
    this.#onCheck = options.onCheck;
    this.#checkTimeoutMs = options.checkTimeoutMs ?? CHECK_TIMEOUT_MS;
    this.#newId = idSource(environment.fillRandom);
    this.#requests = new Requests(calls, environment);
    this.#requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
    this.#scopes = {
      calls,
      group: options.group,
      logger: this.#logger,
      encode: (messages, givenId) => this.#encode("prepare", messages, givenId),
    };
  }

  // G2
  async setUp(): Promise<void> {
    const announced = { group: this.group, checker: this.#onCheck !== undefined };
    await this.#calls.request((id) => ({ type: "announce", id, ...announced }), {
      onReconnect: "fail",
    });
  }

  onOpen(): void {
    this.#tell("connected", {});
  }

  onLost(error: EscrowError): void {
    this.#requests.lost(error);
    this.#tell("disconnected", { code: error.code });
  }

  onClosed(error: EscrowError): void {
    this.#requests.lost(error);
    this.#tell("closed", { code: error.code });
  }

  onFrame(frame: BrokerFrame): void {
    if (frame.type === "check") this.#answer(frame);
    // A copy: whoever keeps it must not keep all that came with it.
    if (frame.type === "replied")
      this.#requests.replied(frame.correlation, new Uint8Array(frame.body));
  }

  send<T>(message: OutgoingMessage<T>, options: SendOptions = {}): Promise<Sent> {
    const id = message.id ?? this.#newId();
    return this.#send(id, () => [encodeOutgoing(message, id)], options);
  }

  sendAll<T extends readonly unknown[]>(
    messages: OutgoingMessages<T>,
    options: SendAllOptions = {},
  ): Promise<Sent> {
    const { id } = options;
    return this.#send(id ?? this.#newId(), () => this.#encode("send", messages, id), options);
  }

  recall({ topic, id }: Recall, { signal }: SendOptions = {}): Promise<Recalled> {
    return new Promise((resolve, reject) => {
      if (this.#isDraining) throw new EscrowError("CLOSED");
      if (!isMessageId(id))
        throw new EscrowError("INVALID_MESSAGE_ID", "id must be 1 to 64 of A-Z a-z 0-9 _ -.");
      const request = { type: "recall", topic: topicNameOf(topic), messageId: id } as const;
      this.#calls.start(
        (no) => ({ ...request, id: no }),
        { onReconnect: "resend", signal },
        (outcome) => {
          if (outcome.kind === "ok") resolve({ id, duplicate: outcome.frame.duplicate === true });
          else reject(outcome.error);
        },
      );
    });
  }

  async request<T, R = Uint8Array>(message: RequestMessage<T, R>): Promise<Answer<R>> {
    const { timeoutMs = this.#requestTimeoutMs, reply, signal, ...rest } = message;
    if (this.#isDraining) throw new EscrowError("CLOSED");
    checkMs("timeoutMs", timeoutMs);
    const id = message.id ?? this.#newId();
    this.#running++;
    try {
      const raw = await this.#requests.ask(id, { timeoutMs, signal }, (headers, giveUp) => {
        // Nobody waits for the reply of one that is handed out later.
        const ttlMs = message.ttlMs ?? Math.min(Math.ceil(timeoutMs), LIMITS.delayMsMax);
        const outgoing = { ...rest, ttlMs, headers: { ...message.headers, ...headers } };
        return this.#send(id, () => [encodeOutgoing(outgoing, id)], { signal: giveUp });
      });
      return answerOf(id, raw, reply);
    } finally {
      this.#ended(null);
    }
  }

  transaction(
    work: (tx: Transaction) => Promise<unknown>,
    options: TransactionOptions = {},
  ): Promise<TransactionResult> {
    return new Promise((resolve, reject) => {
      if (this.#isDraining) throw new EscrowError("CLOSED");
      const id = options.transactionId ?? this.#newId();
      if (!isTransactionId(id)) throw new EscrowError("INVALID_TRANSACTION_ID", ILLEGAL_ID);
      this.#running++;
      new Scope(id, this.#scopes, options, {
        resolve: (result) => {
          this.#ended(result);
          resolve(result);
        },
        reject: (error) => {
          this.#ended(null);
          reject(error);
        },
      }).run(work);
    });
  }

  async drain({ timeoutMs }: DrainOptions): Promise<ProducerDrained> {
    this.#isDraining = true;
    await new Promise<void>((resolve) => {
      const timer = this.#environment.startTimer(resolve, timeoutMs);
      this.#quiet().then(() => {
        timer.stop();
        resolve();
      });
    });
    const unanswered = this.#calls.unanswered + this.#running;
    await this.close();
    return { drained: unanswered === 0, unanswered };
  }

  async close(): Promise<void> {
    this.#isDraining = true;
    this.#calls.close(new EscrowError("CLOSED"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain({ timeoutMs: DISPOSE_WITHIN_MS });
  }

  /** One promise for each send, and no more: this is the hot path. */
  #send(sendId: string, encode: () => Uint8Array[], { signal }: SendOptions): Promise<Sent> {
    return new Promise((resolve, reject) => {
      if (this.#isDraining) throw new EscrowError("CLOSED");
      const messages = encode();
      this.#calls.start(
        (id) => ({ type: "send", id, sendId, messages }),
        { onReconnect: "resend", signal },
        (outcome) => {
          if (outcome.kind === "ok")
            resolve({ id: sendId, duplicate: outcome.frame.duplicate === true });
          else reject(outcome.error);
        },
      );
    });
  }

  #encode(
    kind: "send" | "prepare",
    messages: readonly OutgoingMessage[],
    givenId: string | undefined,
  ): Uint8Array[] {
    return encodeTransaction(
      messages,
      givenId === undefined ? this.#newId : idsUnder(kind, givenId),
    );
  }

  #ended(result: TransactionResult | null): void {
    this.#running--;
    if (result !== null) this.#tell("transaction", { id: result.id, state: result.state });
    if (this.#running > 0) return;
    const waiting = this.#whenNoneRuns;
    this.#whenNoneRuns = [];
    for (const resolve of waiting) resolve();
  }

  async #quiet(): Promise<void> {
    while (this.#calls.unanswered + this.#running > 0) {
      if (this.#running > 0) await new Promise<void>((resolve) => this.#whenNoneRuns.push(resolve));
      await this.#calls.quiet();
    }
  }

  async #answer(frame: BrokerFrames["check"]): Promise<void> {
    const { transactionId, attempt, ageMs, messages } = frame;
    const asking = this.#calls.link.connection;
    const verdict = await answerCheck(
      {
        id: transactionId,
        attempt,
        ageMs,
        decodeMessages: () => messages.map((message) => checkedMessage(decodeMessage(message))),
      },
      {
        onCheck: this.#onCheck ?? (() => "unknown"),
        checkTimeoutMs: this.#checkTimeoutMs,
        startTimer: this.#environment.startTimer,
        logger: this.#logger,
      },
    );
    this.#tell("checked", { id: transactionId, attempt, verdict });
    // G3: a connection drops what is sent after its end.
    asking?.send({ type: "answer", transactionId, attempt, verdict });
  }

  #tell(event: string, fields: object): void {
    if (this.#channel.isHeard) this.#channel.publish({ event, group: this.group, ...fields });
  }
}
