/**
 * The operators' client, for the CLI and for programs that do an operator's work: one connection, no redial. A
 * request that cannot reach the broker says so at once.
 */
import type { AdminType, AdminValues } from "../admin.ts";
import { EscrowError } from "../errors.ts";
import type { ClientFrames, RequestFrame } from "../frames.ts";
import type { Calls, Session } from "./calls.ts";
import { type ClientOptions, connect } from "./connect.ts";
import { type Environment, platformEnvironment } from "./environment.ts";

export type AdminOptions = ClientOptions;
/** The fields of an operator's request. */
export type AdminFields<T extends AdminType> = Omit<ClientFrames[T], "type" | "id">;

export interface AdminClient {
  /**
   * Sends one request and returns the broker's answer.
   * Rejects with the broker's refusal, OUTCOME_UNKNOWN when the connection or the time ended before
   * the answer, UNREACHABLE or CLOSED when nothing was sent.
   */
  request<T extends AdminType>(
    type: T,
    fields: AdminFields<T>,
    options?: { readonly signal?: AbortSignal },
  ): Promise<AdminValues[T]>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Connects once. Rejects with UNREACHABLE when that fails. Requests have the names of PROTOCOL.md, "Frames from the
 * client" (`group.reset`, `tx.show`, ...); fields and value are typed by the name.
 */
export async function createAdmin(
  options: AdminOptions,
  environment: Environment = platformEnvironment,
): Promise<AdminClient> {
  const defaults = { clientName: "escrowmq-admin", isRedialing: false };
  return connect(options, defaults, environment, (calls) => new Admin(calls));
}

class Admin implements AdminClient, Session {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  async request<T extends AdminType>(
    type: T,
    fields: AdminFields<T>,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<AdminValues[T]> {
    const { value } = await this.#calls.request(
      // The compiler cannot join a generic tag to its fields; AdminFields has tied them together.
      (id) => ({ ...fields, type, id }) as unknown as RequestFrame,
      { onReconnect: "fail", signal },
    );
    // admin.ts of the protocol is the contract of what `value` holds; the broker keeps it.
    return value as AdminValues[T];
  }

  /** An operator's connection needs nothing but the hello. */
  setUp(): Promise<void> {
    return Promise.resolve();
  }

  async close(): Promise<void> {
    this.#calls.close(new EscrowError("CLOSED"));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
