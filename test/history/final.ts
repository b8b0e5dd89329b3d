/** What a broker holds when everything has come to rest: the other half of what is judged. */
import type { State } from "./history.ts";

/**
 * How one message stands with one group in the end; dead: a dead letter, or an instance went on without it; gone: retention took it, or it never was the group's.
 * What is not named is settled.
 */
export type Standing = "dead" | "unsettled" | "gone";

export interface Final {
  /** Those that read all topics. */
  readonly groups: readonly string[];
  /** By topic: the ids of all messages that ever were visible in it, by offset. */
  readonly visible: ReadonlyMap<string, readonly string[]>;
  /** Ids of the messages that wait for the verdicts of transactions that reserve their keys. */
  readonly waiting: ReadonlySet<string>;
  /** What is not named is "none". */
  readonly transactions: ReadonlyMap<string, State>;
  /** By readKey. */
  readonly standings: ReadonlyMap<string, Standing>;
  /** Topics that exist. */
  readonly topics: ReadonlySet<string>;
  readonly accounts: readonly Account[];
  readonly terms: Terms;
}

/** The broker's own figures of a topic. */
export interface Account {
  readonly topic: string;
  /** Messages that ever became visible. */
  readonly nextOffset: number;
  /** In undecided and parked transactions. */
  readonly halfMessages: number;
  /** Those that wait for their time. */
  readonly scheduled: number;
  /** Those that wait for others' verdicts. */
  readonly queued: number;
}

/** Under which conditions the history was made. */
export interface Terms {
  /** How much later or earlier a client sees something than the broker. */
  readonly latenessMs: number;
  /** A delivery may be lost on its way, and its attempt be used up. */
  readonly losesDeliveries: boolean;
  /** Transactions may stay parked: their group cannot say, and no operator does. */
  readonly mayStayParked: boolean;
  /** Messages may run out of attempts. */
  readonly mayBuryByItself: boolean;
}
