/**
 * `escrow broker start`: runs the broker in this process until a signal ends it.
 *
 * stdout gets one line, when the broker is ready; its log goes to stderr. The first signal stops it in
 * order, the second one at once. A store that fails and cannot be reopened ends it with 75, so that a
 * supervisor starts it again.
 */
import { BlockList, isIP } from "node:net";
import { type Command, InvalidArgumentError, Option } from "commander";
import { LOG_LEVELS, type LogLevel, type RunningBroker } from "../connect.ts";
import { escapeText, jsonText, safe } from "../escape.ts";
import { EXIT, UsageError } from "../failure.ts";
import { byteSize, each, integer } from "../parse.ts";
import type { Session } from "../session.ts";
import { stopOnSignal, unlessAborted } from "../stop.ts";
import type { Verb } from "../verb.ts";
import { VERSION } from "../version.ts";

interface StartOptions {
  readonly data: string;
  readonly host: string;
  readonly port: number;
  readonly insecureBind?: true;
  readonly allowOrigin?: readonly string[];
  readonly allowEndpointRange?: readonly string[];
  readonly logLevel: LogLevel;
  readonly acceptLoss?: true;
  readonly sendFreeMin?: number;
  readonly settleFreeMin?: number;
  readonly memoryMax?: number;
}

export const brokerStart: Verb<StartOptions> = {
  examples: [
    "escrow broker start --data ./data",
    "escrow broker start --data /var/lib/escrowmq --host 0.0.0.0 --insecure-bind",
  ],
  options: (command: Command) =>
    command
      .option("--data <dir>", "the data directory", "./data")
      .option("--host <host>", "the address to listen on", "127.0.0.1")
      .option("--port <port>", "the port; 0 takes a free one", integer(0, 65_535), 7654)
      .option("--insecure-bind", "allow an address that other machines can reach")
      .option("--allow-origin <origin...>", "web pages that may connect", each(String))
      .option(
        "--allow-endpoint-range <cidr...>",
        "private addresses that check-back endpoints may have",
        each(cidr),
      )
      .option("--accept-loss", "serve a store of which LevelDB says that it dropped data")
      .option("--send-free-min <size>", "free disk below which sends are refused", byteSize)
      .option("--settle-free-min <size>", "free disk below which acks are refused, too", byteSize)
      .option("--memory-max <size>", "memory that clients together can take up", byteSize)
      .addOption(
        new Option("--log-level <level>", "what to log, on stderr")
          .choices(LOG_LEVELS)
          .default("info"),
      ),
  run: async (session, options) => {
    refuseOpenHost(session, options);
    const stop = stopOnSignal(session.io);
    try {
      const broker = await session.io.services.createBroker({
        dataDir: options.data,
        host: options.host,
        port: options.port,
        isInsecureBindAllowed: options.insecureBind === true,
        allowedOrigins: options.allowOrigin ?? [],
        endpointRanges: options.allowEndpointRange ?? [],
        logLevel: options.logLevel,
        acceptLoss: options.acceptLoss === true,
        ...(options.sendFreeMin === undefined ? {} : { sendFreeBytesMin: options.sendFreeMin }),
        ...(options.settleFreeMin === undefined
          ? {}
          : { settleFreeBytesMin: options.settleFreeMin }),
        ...(options.memoryMax === undefined ? {} : { memoryBytesMax: options.memoryMax }),
      });
      session.print.line(readyLine(session, broker, options.data));
      const failure = await unlessAborted(broker.failed, stop.signal);
      if (failure !== undefined) {
        session.print.note(`escrow: STORE_FAILED: ${escapeText(failure.message)}`);
        return EXIT.temporary;
      }
      await broker.close();
      return EXIT.ok;
    } finally {
      stop.unlisten();
    }
  },
};

function refuseOpenHost(session: Session, options: StartOptions): void {
  if (isLoopback(options.host)) return;
  if (!options.insecureBind)
    throw new UsageError(
      `Other machines could reach ${options.host}, and whoever reaches the broker may do anything. Use --host 127.0.0.1, or allow it with --insecure-bind.`,
    );
  session.print.note(
    safe`Warning: whoever reaches ${options.host} may read, send and administrate. Keep the port behind a firewall or a proxy that asks for credentials.`,
  );
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host === "localhost";
  return LOOPBACK.check(host, family === 4 ? "ipv4" : "ipv6");
}

function cidr(text: string): string {
  const [address = "", bits = "", ...rest] = text.split("/");
  const widths: Readonly<Record<number, number>> = { 4: 32, 6: 128 };
  const width = widths[isIP(address)];
  if (width === undefined || rest.length > 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > width)
    throw new InvalidArgumentError("Expected an address range such as 10.0.0.0/8 or fd00::/8.");
  return text;
}

function readyLine(session: Session, broker: RunningBroker, dataDir: string): string {
  if (session.print.isJson)
    return jsonText({ version: VERSION, url: broker.url, storeId: broker.storeId, dataDir });
  return safe`EscrowMQ ${VERSION} ready on ${broker.url}, data in ${dataDir}`;
}
