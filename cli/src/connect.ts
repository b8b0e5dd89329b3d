/**
 * How the program reaches a broker, a store or an SDK: what it needs of the other packages, as
 * interfaces that a test can stand in for, and where the token comes from.
 */
import { readFile } from "node:fs/promises";
import type { AdminType, AdminValues, ClientFrames } from "@escrowmq/protocol";
import { UsageError } from "./failure.ts";
import type { Io } from "./io.ts";

export const DEFAULT_URL = "ws://127.0.0.1:7654";

export type AdminFields<Type extends AdminType> = Omit<ClientFrames[Type], "type" | "id">;

/** A connection for operators' requests. */
export interface Admin {
  request<Type extends AdminType>(
    type: Type,
    fields: AdminFields<Type>,
  ): Promise<AdminValues[Type]>;
  close(): Promise<void>;
}

export interface AdminOptions {
  readonly url: string;
  readonly token?: string;
  readonly requestTimeoutMs?: number;
}

export interface OutgoingMessage {
  readonly topic: string;
  readonly key?: string;
  readonly tag?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly delayMs?: number;
  readonly deliverAt?: Date;
  readonly ttlMs?: number;
}

export interface Sender {
  send(message: OutgoingMessage): Promise<{ readonly id: string; readonly duplicate: boolean }>;
  recall(message: {
    readonly topic: string;
    readonly id: string;
  }): Promise<{ readonly duplicate: boolean }>;
  request(
    message: OutgoingMessage & { readonly timeoutMs: number },
  ): Promise<{ readonly id: string; readonly raw: Uint8Array }>;
  close(): Promise<void>;
}

export interface SenderOptions {
  readonly url: string;
  readonly token?: string;
  readonly group: string;
  readonly requestTimeoutMs?: number;
}

/** A topic to read, and how long its turn is among the others. */
export interface WeightedTopic {
  readonly topic: string;
  readonly weight?: number;
}

/** Where a group begins to read, or goes back to. */
export type Position =
  | { readonly from: "earliest" | "latest" }
  | { readonly from: "offset" | "time"; readonly at: number };

export interface ReceivedMessage {
  readonly id: string;
  readonly topic: string;
  readonly offset: number;
  readonly attempt: number;
  /** When it became visible, ms since 1970 by the broker's clock. */
  readonly atMs: number;
  readonly key: string | undefined;
  readonly tag: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** Its sender waits for a reply. */
  readonly isRequest: boolean;
  reply(body: Uint8Array): Promise<void>;
}

export interface AckableMessage extends ReceivedMessage {
  ack(): Promise<void>;
}

/** Read either one by one, or by a handler of which up to `concurrency` run at once. */
export interface Receiver extends AsyncIterable<AckableMessage> {
  /** Each message goes back when its handler has ended, as it came: not an attempt. */
  lend(handler: (message: ReceivedMessage) => Promise<void>): Promise<void>;
  /** Reads no more, waits so long for what is unsettled, and closes. */
  drain(options: { timeoutMs: number }): Promise<unknown>;
}

export interface ReceiverOptions {
  readonly url: string;
  readonly token?: string;
  readonly group: string;
  readonly requestTimeoutMs?: number;
  readonly subscribe: readonly (WeightedTopic & Partial<Position>)[];
  readonly broadcast?: { readonly instance: string };
  /** Null: the instance is new. */
  readonly onGap?: (gap: { readonly topic: string; readonly lost: number | null }) => void;
  /** How many messages may be held unsettled, and how many bytes of them. */
  readonly concurrency: number;
  readonly maxBytesInFlight?: number;
}

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface BrokerOptions {
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  readonly isInsecureBindAllowed: boolean;
  readonly allowedOrigins: readonly string[];
  readonly endpointRanges: readonly string[];
  readonly logLevel: LogLevel;
  readonly acceptLoss: boolean;
  readonly sendFreeBytesMin?: number;
  readonly memoryBytesMax?: number;
  readonly settleFreeBytesMin?: number;
}

export interface RunningBroker {
  readonly url: string;
  readonly storeId: string;
  close(): Promise<void>;
  /** Resolves when the broker has stopped because its store cannot be reopened. */
  readonly failed: Promise<Error>;
}

export interface VerifyResult {
  readonly blocks: number;
  readonly records: number;
  readonly messages: number;
  readonly bytes: number;
  /** The first block that is to be there: those before it were retired. */
  readonly first: number;
  readonly problems: readonly string[];
}

export interface VerifyProgress {
  readonly blocks: number;
  readonly blocksMax: number;
}

/** The other packages, as this program uses them. */
export interface Services {
  createAdmin(options: AdminOptions): Promise<Admin>;
  createSender(options: SenderOptions): Promise<Sender>;
  createReceiver(options: ReceiverOptions): Promise<Receiver>;
  createBroker(options: BrokerOptions): Promise<RunningBroker>;
  verifyStore(
    directory: string,
    onProgress: (progress: VerifyProgress) => void,
  ): Promise<VerifyResult>;
}

/** The token of the connection: from a file or the environment, never from the command line. */
export async function readToken(
  env: Io["env"],
  tokenFile: string | undefined,
): Promise<string | undefined> {
  if (tokenFile === undefined) return env.ESCROW_TOKEN || undefined;
  const token = (await readInput(tokenFile, "token file")).toString("utf8").trim();
  if (token === "") throw new UsageError(`The token file ${tokenFile} is empty.`);
  return token;
}

export async function readInput(path: string, what: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new UsageError(`The ${what} cannot be read: ${(error as Error).message}`);
  }
}
