/** What the SDKs say to a log: an object for programs, a sentence for people, in pino's order. */
export interface Logger {
  debug(fields: object, sentence: string): void;
  info(fields: object, sentence: string): void;
  warn(fields: object, sentence: string): void;
  error(fields: object, sentence: string): void;
}

const say = (): void => undefined;

/** The default: a library does not write to its user's console. */
export const SILENT: Logger = { debug: say, info: say, warn: say, error: say };
