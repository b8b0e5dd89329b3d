/**
 * One run of one command: its options, its printer and, from the first request on, its connection.
 */
import type { AdminType, AdminValues } from "@escrowmq/protocol";
import { type Admin, type AdminFields, DEFAULT_URL, readToken } from "./connect.ts";
import { UsageError } from "./failure.ts";
import type { Io } from "./io.ts";
import { Printer } from "./print.ts";

/** Options that every command takes, in any place of the line. */
export interface GlobalOptions {
  readonly url?: string;
  readonly tokenFile?: string;
  readonly operator?: string;
  readonly json?: true;
  readonly wait?: number;
}

export const REQUEST_TIMEOUT_MS = 10_000;

export interface Endpoint {
  readonly url: string;
  readonly token?: string;
  readonly requestTimeoutMs: number;
}

export class Session {
  readonly io: Io;
  readonly print: Printer;
  readonly #options: GlobalOptions;
  #admin: Promise<Admin> | undefined;
  #endpoint: Promise<Endpoint> | undefined;

  constructor(io: Io, options: GlobalOptions) {
    this.io = io;
    this.print = new Printer(io, options.json === true);
    this.#options = options;
  }

  /** Connects on the first request; all later ones share the connection. */
  async request<Type extends AdminType>(
    type: Type,
    fields: AdminFields<Type>,
  ): Promise<AdminValues[Type]> {
    this.#admin ??= this.#connect();
    return (await this.#admin).request(type, fields);
  }

  /** Who asks and why, for the broker's audit. */
  audit(reason: string | undefined): { operator: string; reason: string } {
    if (reason === undefined || reason.trim() === "")
      throw new UsageError('This is recorded with a reason; say it: --reason "…"');
    const operator = this.#options.operator ?? this.io.env.ESCROW_OPERATOR;
    return { operator: operator || this.io.userName(), reason };
  }

  /** Found once: the token file may be a pipe. */
  endpoint(): Promise<Endpoint> {
    this.#endpoint ??= this.#findEndpoint();
    return this.#endpoint;
  }

  async close(): Promise<void> {
    const admin = await this.#admin?.catch(() => undefined);
    await admin?.close();
  }

  async #findEndpoint(): Promise<Endpoint> {
    const url = this.#options.url ?? (this.io.env.ESCROW_URL || DEFAULT_URL);
    if (!/^wss?:\/\/[^/]/.test(url))
      throw new UsageError(`The broker's address must begin with ws:// or wss://, but is ${url}.`);
    const token = await readToken(this.io.env, this.#options.tokenFile);
    const requestTimeoutMs = this.#options.wait ?? REQUEST_TIMEOUT_MS;
    return { url, ...(token === undefined ? {} : { token }), requestTimeoutMs };
  }

  async #connect(): Promise<Admin> {
    return this.io.services.createAdmin(await this.endpoint());
  }
}
