/** The only pino. Logs say what happened to what; never a body, a header's value or a secret. */
import { createRequire } from "node:module";
import type * as Pino from "pino";

// By require, as all CommonJS here: an import has Node analyse it first, a fifth of a start (ADR 10).
const { pino } = createRequire(import.meta.url)("pino") as typeof Pino;

export type Log = Pick<Pino.Logger, "debug" | "info" | "warn" | "error">;

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
