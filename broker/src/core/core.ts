/**
 * The parts of the engine, for the functions that each handle one kind of input. Durable state changes
 * only through `Turn.log`; everything else here is forgotten at a restart.
 */
import type { Alarms } from "./alarms.ts";
import type { Checks } from "./checks.ts";
import type { Connections } from "./connections.ts";
import type { Consumers } from "./consumers.ts";
import type { Inboxes } from "./inboxes.ts";
import type { Instances } from "./instances.ts";
import type { Policy } from "./policy.ts";
import type { Retention } from "./retention.ts";
import type { State } from "./state.ts";
import type { Admission } from "./types.ts";
import type { Windows } from "./windows.ts";

export interface Core {
  readonly state: State;
  readonly policy: Policy;
  /** By the place of an entry: when its lease ends, or when it has waited long enough. */
  readonly alarms: Alarms;
  readonly connections: Connections;
  readonly consumers: Consumers;
  readonly windows: Windows;
  readonly checks: Checks;
  readonly retention: Retention;
  readonly instances: Instances;
  readonly inboxes: Inboxes;
  admission: Admission;
}
