/** Node's flags for a broker, as the first line of cli/src/main.ts has them (docs/OPERATING.md says why). */
export const BROKER_FLAGS = ["--max-semi-space-size=16", "--initial-old-space-size=256"];
