/** What a broker can be told, with defaults; all faults in one error. */
import { isIP } from "node:net";
import { EscrowError } from "@escrowmq/protocol";
import { DEFAULT_POLICY, type Policy } from "../core/policy.ts";
import type { BlockStore } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { LogLevel } from "./log.ts";
import { MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN } from "./memory-budget.ts";

export interface BrokerOptions {
  /** Folder of the data; made if missing. Default "./data". */
  readonly dataDir?: string;
  /** Address to listen on. Default "127.0.0.1"; any other needs `isInsecureBindAllowed`. */
  readonly host?: string;
  /** Port to listen on; 0: any free one; null: no socket at all, only `accept`. Default 7654. */
  readonly port?: number | null;
  /** There is no authentication yet: whoever reaches the port may do everything. Default false. */
  readonly isInsecureBindAllowed?: boolean;
  /** Browser origins that may connect. Default none. */
  readonly allowedOrigins?: readonly string[];
  /** Private address ranges (CIDR) that check-back endpoints may have. Default none. */
  readonly endpointRanges?: readonly string[];
  /** Default "info", as JSON lines on stderr. */
  readonly logLevel?: LogLevel;
  /** Numbers of the core, see policy.ts. */
  readonly policy?: Partial<Policy>;
  /** Bytes of blocks after which a checkpoint is written, or twice the last one's if that is more. Default 256 MiB. */
  readonly checkpointEveryBytes?: number;
  /** Free disk space in bytes below which sends are refused. Default 512 MiB. */
  readonly sendFreeBytesMin?: number;
  /** Free disk space in bytes below which verdicts and acks are refused, too. Default 64 MiB. */
  readonly settleFreeBytesMin?: number;
  /** Connections in all. Default 10 000. */
  readonly connectionsMax?: number;
  /** Bytes that all peers together can make the broker hold, see OPERATING.md. Default 256 MiB, at least 128 MiB. */
  readonly memoryBytesMax?: number;
  /** Serve a store although LevelDB reported that it dropped data. Default false. */
  readonly acceptLoss?: boolean;
  /** Size in bytes after which a new segment begins. Default 512 MiB. */
  readonly segmentBytesMax?: number;
  /** How long an old segment must have been nearly empty before the rest of it is copied. Default 60 s. */
  readonly copyForwardAfterMs?: number;
  /** Instead of LevelDB in `dataDir`: opens a store, at the start and after each failure. */
  readonly openStore?: () => Promise<BlockStore>;
  /** Instead of the system's clock. */
  readonly clock?: Clock;
}

export interface ResolvedOptions {
  readonly dataDir: string;
  readonly host: string;
  readonly port: number | null;
  readonly allowedOrigins: readonly string[];
  readonly endpointRanges: readonly string[];
  readonly logLevel: LogLevel;
  readonly policy: Policy;
  readonly checkpointEveryBytes: number;
  readonly sendFreeBytesMin: number;
  readonly settleFreeBytesMin: number;
  readonly connectionsMax: number;
  readonly memoryBytesMax: number;
  readonly acceptLoss: boolean;
  readonly segmentBytesMax: number | undefined;
  readonly copyForwardAfterMs: number;
  readonly openStore: (() => Promise<BlockStore>) | undefined;
  readonly clock: Clock | undefined;
  /** Anybody who can reach the machine can reach the broker. */
  readonly isExposed: boolean;
}

const MIB = 1_048_576;

export function resolveOptions(options: BrokerOptions): ResolvedOptions {
  const host = options.host ?? "127.0.0.1";
  const resolved: ResolvedOptions = {
    dataDir: options.dataDir ?? "./data",
    host,
    port: options.port === undefined ? 7654 : options.port,
    allowedOrigins: options.allowedOrigins ?? [],
    endpointRanges: options.endpointRanges ?? [],
    logLevel: options.logLevel ?? "info",
    policy: { ...DEFAULT_POLICY, ...options.policy },
    checkpointEveryBytes: options.checkpointEveryBytes ?? 256 * MIB,
    sendFreeBytesMin: options.sendFreeBytesMin ?? 512 * MIB,
    settleFreeBytesMin: options.settleFreeBytesMin ?? 64 * MIB,
    connectionsMax: options.connectionsMax ?? 10_000,
    memoryBytesMax: options.memoryBytesMax ?? MEMORY_BYTES_DEFAULT,
    acceptLoss: options.acceptLoss ?? false,
    segmentBytesMax: options.segmentBytesMax,
    copyForwardAfterMs: options.copyForwardAfterMs ?? 60_000,
    openStore: options.openStore,
    clock: options.clock,
    isExposed: !isLoopback(host),
  };
  const faults = faultsOf(resolved, options.isInsecureBindAllowed ?? false);
  if (faults.length > 0)
    throw new EscrowError("INVALID_ARGUMENT", `The broker's options: ${faults.join("; ")}.`);
  return resolved;
}

export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host.startsWith("127.");

function faultsOf(options: ResolvedOptions, isInsecureBindAllowed: boolean): string[] {
  const faults: string[] = [];
  const { port, policy } = options;
  if (port !== null && (!Number.isInteger(port) || port < 0 || port > 65_535))
    faults.push("port must be 0 to 65535");
  if (options.host !== "localhost" && isIP(options.host) === 0)
    faults.push("host must be an IP address or localhost");
  if (options.isExposed && !isInsecureBindAllowed)
    faults.push(
      `host ${options.host} is not loopback, and there is no authentication yet: allow it explicitly`,
    );
  if (!(options.memoryBytesMax >= MEMORY_BYTES_MIN))
    faults.push(`memoryBytesMax must be a number from ${MEMORY_BYTES_MIN}`);
  for (const [name, value] of Object.entries(policy)) {
    if (typeof value === "number" && !(Number.isFinite(value) && value >= 0))
      faults.push(`policy.${name} must be a number from 0`);
  }
  for (const name of [
    "checkpointEveryBytes",
    "sendFreeBytesMin",
    "settleFreeBytesMin",
    "connectionsMax",
    "copyForwardAfterMs",
  ] as const) {
    if (!(Number.isFinite(options[name]) && options[name] >= 0))
      faults.push(`${name} must be a number from 0`);
  }
  return faults;
}
