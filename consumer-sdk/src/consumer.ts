/**
 * A consumer: reads topics for a consumer group, hands messages to a handler or an iterator, and tells
 * the broker how each delivery ended.
 *
 * Invariants
 * - U6 One reader at a time takes messages.
 * - U7 Credit is granted only while somebody reads, and only on the connection that is open.
 * - U8 A consumer that closes leaves: what is unsettled goes back at once, and none of it is an attempt.
 *
 * Events on the diagnostics channel "escrowmq:consumer": connected, disconnected, failed (a handler
 * threw), unreadable (a message did not decode), unsettled (a settlement came too late or failed), gap (an
 * instance has lost messages), closed.
 */
import { type BrokerFrame, EscrowError } from "@escrowmq/protocol";
import {
  type Calls,
  connect,
  diagnosticsChannel,
  type Environment,
  errorOf,
  invalid,
  type Logger,
  platformEnvironment,
  type Session,
  SILENT,
  topicNameOf,
} from "@escrowmq/protocol/client";
import type { Delivery } from "./delivery.ts";
import { Gaps } from "./gaps.ts";
import { HandlerReader, type Reader } from "./handler-reader.ts";
import { Intake } from "./intake.ts";
import { ManualReader } from "./manual-reader.ts";
import type { BodyOf, ManualMessage, TopicSubscription } from "./message.ts";
import {
  type Consumer,
  type ConsumerOptions,
  checkConsumerOptions,
  type Drained,
  type DrainOptions,
  type Gap,
  type Handler,
} from "./options.ts";
import { Settlements } from "./settlements.ts";

const CONCURRENCY = 16;
const DISPOSE_WITHIN_MS = 10_000;
/** A consumer has one subscription on its connection. */
const SUBSCRIPTION = 1;

/**
 * Connects a consumer and subscribes; no message comes before it is read. Rejects with UNREACHABLE when
 * that takes longer than `requestTimeoutMs`, FILTER_CONFLICT when others of the group read with another filter for
 * so long, FILTER_INVALID, INVALID_ARGUMENT for an unusable option, TOPIC_NOT_FOUND,
 * CLOSED when the signal aborts. The second argument replaces sockets, clock and randomness, for tests.
 */
export async function createConsumer<const Subscriptions extends readonly TopicSubscription[]>(
  options: ConsumerOptions<Subscriptions>,
  environment: Environment = platformEnvironment,
): Promise<Consumer<BodyOf<Subscriptions[number]>>> {
  checkConsumerOptions(options);
  const defaults = { clientName: options.group, isRedialing: true };
  const consumer: Consumer<unknown> = await connect(
    options,
    defaults,
    environment,
    (calls) => new ConnectedConsumer(calls, options, environment),
  );
  // What the bodies are is what the codecs of `subscribe` make of them; the types only repeat it.
  return consumer as Consumer<BodyOf<Subscriptions[number]>>;
}

class ConnectedConsumer implements Consumer<unknown>, Session {
  readonly group: string;
  readonly #calls: Calls;
  readonly #environment: Environment;
  readonly #options: ConsumerOptions;
  readonly #logger: Logger;
  readonly #settlements: Settlements;
  readonly #intake: Intake;
  readonly #gaps: Gaps;
  readonly #channel = diagnosticsChannel("escrowmq:consumer");
  #reader: Reader | null = null;
  #isDraining = false;
  #closed: EscrowError | null = null;
  #idle: (() => void)[] = [];

  constructor(calls: Calls, options: ConsumerOptions, environment: Environment) {
    this.group = options.group;
    this.#calls = calls;
    this.#environment = environment;
    this.#options = options;
    this.#logger = options.logger ?? SILENT;
    this.#gaps = new Gaps((gap) => this.#gap(gap));
    this.#settlements = new Settlements(calls, environment, {
      failed: (delivery, error) => this.#unsettled(delivery, error),
      confirmed: () => this.#noticeIdle(),
      looked: (nowMs) => this.#intake.giveBackStalled(nowMs),
    });
    this.#intake = new Intake(options, environment.nowMs, this.#settlements, {
      unreadable: (topic, offset, error) => this.#unreadable(topic, offset, error),
      finished: () => {
        // Room for more, to be told at the end of this turn.
        this.#calls.link.connection?.schedule();
        this.#noticeIdle();
      },
    });
  }

  async run(handler: Handler<unknown>): Promise<void> {
    const concurrency = this.#options.concurrency ?? CONCURRENCY;
    const from = { intake: this.#intake, settlements: this.#settlements };
    const reader = new HandlerReader(handler, concurrency, from, (delivery, error) =>
      this.#failed(delivery, error),
    );
    this.#read(reader, concurrency);
    await reader.finished;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<ManualMessage<unknown>> {
    const reader = new ManualReader(this.#intake, () => {
      this.#reader = null;
      this.#intake.shut();
    });
    this.#read(reader, 1);
    return reader;
  }

  async drain({ timeoutMs }: DrainOptions): Promise<Drained> {
    this.#isDraining = true;
    this.#intake.shut();
    if (this.#reader instanceof ManualReader) this.#reader.end(null);
    if (this.#inFlight > 0)
      await new Promise<void>((resolve) => {
        const timer = this.#environment.startTimer(resolve, timeoutMs);
        this.#idle.push(() => {
          timer.stop();
          resolve();
        });
      });
    const inFlight = this.#inFlight;
    await this.close();
    return { drained: inFlight === 0, inFlight };
  }

  async close(): Promise<void> {
    this.#isDraining = true;
    this.#intake.shut();
    this.#calls.close(new EscrowError("CLOSED"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain({ timeoutMs: DISPOSE_WITHIN_MS });
  }

  async setUp(): Promise<void> {
    const { group, subscribe, leaseMs, broadcast } = this.#options;
    const topics = subscribe.map(({ topic, from, at, filter, weight }) => ({
      topic: topicNameOf(topic),
      ...(from === undefined ? {} : { from }),
      ...(at === undefined ? {} : { at }),
      ...(filter === undefined ? {} : { filter }),
      ...(weight === undefined ? {} : { weight }),
    }));
    const fields = {
      group,
      topics,
      ...(leaseMs === undefined ? {} : { leaseMs }),
      ...(broadcast === undefined ? {} : { instance: broadcast.instance }),
    };
    const { gaps = [] } = await this.#calls.request(
      (id) => ({ type: "subscribe", id, subscription: SUBSCRIPTION, ...fields }),
      { onReconnect: "fail" },
    );
    this.#gaps.heard(gaps);
  }

  onOpen(): void {
    this.#intake.connected();
    this.#calls.link.connection?.schedule();
    this.#tell("connected", {});
  }

  onGather(): void {
    this.#settlements.gather();
    const credit = this.#intake.grant();
    // U7
    if (credit !== null)
      this.#calls.link.connection?.send({ type: "credit", subscription: SUBSCRIPTION, ...credit });
  }

  /** Else what is still under lease here would count as lost with a consumer that died (U8). */
  onLeaving(): void {
    this.#calls.start(
      (id) => ({ type: "unsubscribe", id, subscription: SUBSCRIPTION }),
      { onReconnect: "fail" },
      () => undefined,
    );
  }

  onFrame(frame: BrokerFrame): void {
    if (frame.type === "gap") return this.#gaps.heard(frame.gaps);
    // It would only take the place back, and lose it again.
    if (frame.type === "ended") return this.#calls.close(errorOf(frame));
    if (frame.type !== "deliver") return;
    this.#intake.accept(frame.deliveries);
    this.#reader?.pump();
  }

  onLost(error: EscrowError): void {
    this.#intake.lost();
    this.#settlements.lost(error);
    this.#tell("disconnected", { code: error.code });
  }

  onClosed(error: EscrowError): void {
    this.#closed = error;
    this.#intake.shut();
    this.#settlements.stop();
    this.#tell("closed", { code: error.code });
    this.#reader?.end(error.code === "CLOSED" ? null : error);
  }

  #read(reader: Reader, concurrency: number): void {
    if (this.#closed !== null) throw this.#closed;
    if (this.#isDraining) throw new EscrowError("CLOSED");
    // U6
    if (this.#reader !== null) throw invalid("the consumer is being read already");
    this.#reader = reader;
    this.#intake.open(concurrency);
    this.#calls.link.connection?.schedule();
  }

  get #inFlight(): number {
    return this.#intake.taken + this.#settlements.unconfirmed;
  }

  #noticeIdle(): void {
    if (this.#idle.length === 0 || this.#inFlight > 0) return;
    const waiting = this.#idle;
    this.#idle = [];
    for (const resolve of waiting) resolve();
  }

  #gap(gap: Gap): void {
    const { topic, lost } = gap;
    this.#logger.warn({ topic, lost }, "messages were lost to this instance");
    this.#tell("gap", { topic, lost });
    try {
      this.#options.onGap?.(gap);
    } catch (error) {
      // The application's own fault, as in a handler; what it was told does not change by it.
      this.#logger.warn({ topic, err: error }, "onGap failed");
    }
  }

  #failed(delivery: Delivery, error: unknown): void {
    const { id, topic, offset, attempt } = delivery;
    this.#logger.warn({ id, topic, offset, attempt, err: error }, "a handler failed");
    this.#tell("failed", { id, topic, offset, attempt, error });
  }

  #unreadable(topic: string, offset: number, error: EscrowError): void {
    this.#logger.warn({ topic, offset, err: error }, "a message did not decode; it was buried");
    this.#tell("unreadable", { topic, offset, error });
  }

  #unsettled(delivery: Delivery, error: EscrowError): void {
    const { id, topic, offset, attempt } = delivery;
    const { code } = error;
    this.#logger.warn({ id, topic, offset, attempt, code }, "a settlement did not count");
    this.#tell("unsettled", { id, topic, offset, attempt, error });
  }

  #tell(event: string, fields: object): void {
    if (this.#channel.isHeard) this.#channel.publish({ event, group: this.group, ...fields });
  }
}
