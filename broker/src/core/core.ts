/**
 * The parts of the engine, for the functions that each handle one kind of input. Durable state changes
 * only through `Turn.log`; everything else here is forgotten at a restart.
 */
import type { Alarms } from "./alarms.ts";
import type { Checks } from "./checks.ts";
import type { Connections } from "./connections.ts";
import type { Consumers, Lease } from "./consumers.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Policy } from "./policy.ts";
import type { Retention } from "./retention.ts";
import type { State } from "./state.ts";
import type { Admission } from "./types.ts";

/** What may fall due. Each is checked against the present state when it does: it may be out of date. */
export interface Due {
  readonly lease: Lease;
}

export interface Core {
  readonly state: State;
  readonly policy: Policy;
  /** When leases end. */
  readonly deadlines: Deadlines<Due>;
  /** When waiting messages are ready again, by the place of their entries. */
  readonly retries: Alarms;
  readonly connections: Connections;
  readonly consumers: Consumers;
  readonly checks: Checks;
  readonly retention: Retention;
  admission: Admission;
}
