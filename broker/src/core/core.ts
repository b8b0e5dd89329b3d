/**
 * The parts of the engine, for the functions that each handle one kind of input. Durable state changes
 * only through `Turn.log`; everything else here is forgotten at a restart.
 */
import type { Checks } from "./checks.ts";
import type { Connections } from "./connections.ts";
import type { Consumers, Lease } from "./consumers.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Policy } from "./policy.ts";
import type { State } from "./state.ts";
import type { Admission } from "./types.ts";

/** What may fall due. Each is checked against the present state when it does: it may be out of date. */
export type Due =
  | { readonly kind: "lease"; readonly lease: Lease }
  | {
      readonly kind: "ripe";
      readonly cursorNo: number;
      readonly offset: number;
      readonly readyAtMs: number;
    };

export interface Core {
  readonly state: State;
  readonly policy: Policy;
  readonly deadlines: Deadlines<Due>;
  readonly connections: Connections;
  readonly consumers: Consumers;
  readonly checks: Checks;
  admission: Admission;
}
