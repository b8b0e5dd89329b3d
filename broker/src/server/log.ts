/** The only pino. Logs say what happened to what; never a body, a header's value or a secret. */
import { type Logger, pino } from "pino";

export type Log = Pick<Logger, "debug" | "info" | "warn" | "error">;

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

export const createLog = (level: LogLevel): Log =>
  pino(
    {
      level,
      base: null,
      redact: ["token", "secret", "secrets", "*.token", "*.secret", "*.secrets"],
    },
    pino.destination(2),
  );
