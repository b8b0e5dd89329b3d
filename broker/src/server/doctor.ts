/** What is exposed, and what is near a limit, in words that an operator can act on. */
import type { DoctorView, Finding, StatsView } from "@escrowmq/protocol";
import type { Policy } from "../core/policy.ts";
import type { GroupBehind, GroupStanding, PausedGroup, Reserving } from "../core/types.ts";
import type { MemoryFigures } from "./flow.ts";
import { plural } from "./log-texts.ts";

export interface Patient {
  readonly stats: Omit<StatsView, "version" | "uptimeMs">;
  /** That hold messages back, have lost some, or are about to. */
  readonly groups: readonly GroupBehind[];
  readonly pausedGroups: readonly PausedGroup[];
  /** That take nothing more in for now. */
  readonly standing: readonly GroupStanding[];
  readonly reserving: Reserving | null;
  readonly policy: Policy;
  readonly freeBytes: number;
  readonly sendFreeBytesMin: number;
  readonly isExposed: boolean;
  readonly host: string;
  readonly allowedOrigins: readonly string[];
  readonly endpointRanges: readonly string[];
  readonly storeFailures: number;
  readonly unreadable: Unreadable;
  readonly memory: MemoryFigures;
  readonly memoryBytesMax: number;
  readonly pausedConnections: number;
  /** By how much the broker's clock is behind the clock on the wall; below 0: ahead of it. */
  readonly clockBehindMs: number;
}

/** Reads that found damage, or a disk that did not answer, since the start. */
export interface Unreadable {
  readonly reads: number;
  /** A sentence; it names the file where that is known. */
  readonly last: string;
}

const NEAR = 0.8;
const MIB = 1_048_576;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export const examine = (patient: Patient): DoctorView => ({
  findings: [
    bind(patient),
    origins(patient),
    endpoints(patient),
    disk(patient),
    memory(patient),
    undecided(patient),
    parked(patient),
    deadLetters(patient),
    ...scheduled(patient),
    ...reservedKeys(patient),
    decisions(patient),
    ...retention(patient),
    ...pausedGroups(patient),
    ...standing(patient),
    store(patient),
  ],
});

const ok = (area: string, text: string): Finding => ({ level: "ok", area, text });
const warning = (area: string, text: string): Finding => ({ level: "warning", area, text });
const error = (area: string, text: string): Finding => ({ level: "error", area, text });

const bind = ({ isExposed, host }: Patient): Finding =>
  isExposed
    ? error(
        "exposure",
        `Listens on ${host} without authentication: whoever reaches the port may do everything.`,
      )
    : ok("exposure", `Listens on ${host} only; every local user may do everything.`);

const origins = ({ allowedOrigins }: Patient): Finding =>
  allowedOrigins.length === 0
    ? ok("browsers", "Pages of other origins cannot connect.")
    : warning("browsers", `Pages of these origins can connect: ${allowedOrigins.join(", ")}.`);

const endpoints = ({ endpointRanges }: Patient): Finding =>
  endpointRanges.length === 0
    ? ok("endpoints", "Check-back endpoints may have public addresses only.")
    : warning("endpoints", `Check-back endpoints may also be in ${endpointRanges.join(", ")}.`);

function disk({ freeBytes, sendFreeBytesMin }: Patient): Finding {
  const text = `${Math.round(freeBytes / MIB)} MiB free; sends are refused below ${Math.round(sendFreeBytesMin / MIB)} MiB.`;
  if (freeBytes < sendFreeBytesMin) return error("disk", text);
  return freeBytes < 2 * sendFreeBytesMin ? warning("disk", text) : ok("disk", text);
}

function memory({ memory: parts, memoryBytesMax, pausedConnections }: Patient): Finding {
  const bytes = Object.values(parts).reduce((sum, part) => sum + part, 0);
  const largest = Object.entries(parts).sort(([, one], [, other]) => other - one)[0]?.[0] ?? "";
  const text = `Peers hold ${Math.round(bytes / MIB)} MiB of ${Math.round(memoryBytesMax / MIB)} MiB, ${plural(pausedConnections, "connection")} not read from for now.`;
  return bytes >= NEAR * memoryBytesMax
    ? warning("memory", `${text} Most of it: ${largest}.`)
    : ok("memory", text);
}

function undecided({ stats, policy }: Patient): Finding {
  const text = `${plural(stats.undecided, "undecided transaction")} of at most ${policy.undecidedMax}.`;
  const share = Math.max(
    stats.undecided / policy.undecidedMax,
    stats.undecidedBytes / policy.undecidedBytesMax,
  );
  return share >= NEAR
    ? warning("undecided", `${text} Beyond that, prepares are refused.`)
    : ok("undecided", text);
}

const parked = ({ stats }: Patient): Finding =>
  stats.parked === 0
    ? ok("parked", "No parked transactions.")
    : warning(
        "parked",
        `${plural(stats.parked, "parked transaction")} to be decided: escrow tx list --state parked`,
      );

const deadLetters = ({ stats }: Patient): Finding =>
  stats.deadLetters === 0
    ? ok("dead letters", "No dead letters.")
    : warning("dead letters", `${plural(stats.deadLetters, "dead letter")}: escrow dlq list GROUP`);

/** Later than this is no matter of a busy moment. */
const OVERDUE_MS = 10_000;
const CLOCK_OFF_MS = 60_000;

function scheduled({ stats, policy, clockBehindMs }: Patient): readonly Finding[] {
  const queued = stats.queued === 0 ? "" : ` and ${stats.queued} queued`;
  const text = `${plural(stats.scheduled, "scheduled message")}${queued} of at most ${policy.scheduledMax}.`;
  const findings: Finding[] = [];
  if (stats.scheduled + stats.queued >= NEAR * policy.scheduledMax)
    findings.push(
      warning(
        "scheduled",
        `${text} Beyond that, messages with a delay or a reserved key are refused.`,
      ),
    );
  if (stats.overdueMs > OVERDUE_MS)
    findings.push(
      warning("scheduled", `${text} The first is due since ${daysOf(stats.overdueMs)}.`),
    );
  if (Math.abs(clockBehindMs) > CLOCK_OFF_MS && stats.scheduled > 0)
    findings.push(warning("scheduled", `${text} ${offText(clockBehindMs)}`));
  return findings.length > 0 ? findings : [ok("scheduled", text)];
}

/** Who reserves keys waits for a local transaction; this long is no busy database. */
const RESERVING_MS = 60_000;

function reservedKeys({ stats, policy, reserving }: Patient): readonly Finding[] {
  const text = `${plural(stats.reservedKeys, "reserved key")} of at most ${policy.reservationsMax}, ${plural(stats.queued, "message")} behind them.`;
  const findings: Finding[] = [];
  if (stats.reservedKeys >= NEAR * policy.reservationsMax)
    findings.push(
      warning(
        "reserved keys",
        `${text} Beyond that, transactions that reserve their keys are refused.`,
      ),
    );
  if (reserving !== null && (reserving.isParked || reserving.ageMs > RESERVING_MS))
    findings.push(
      warning(
        "reserved keys",
        `${text} The oldest transaction that others wait for is ${reserving.isParked ? "parked" : "undecided"}, prepared ${daysOf(reserving.ageMs)} ago: escrow tx show ${reserving.transactionId}`,
      ),
    );
  return findings.length > 0 ? findings : [ok("reserved keys", text)];
}

function offText(behindMs: number): string {
  const where = behindMs > 0 ? "behind" : "ahead of";
  const when = behindMs > 0 ? "late" : "early";
  return `The broker's clock is ${daysOf(Math.abs(behindMs))} ${where} the clock on the wall, so they come that much too ${when}; a restart sets it.`;
}

const standing = ({ standing: groups }: Patient): readonly Finding[] =>
  groups.map(({ group, topic, because, held }) =>
    because === "unreadable"
      ? error(
          "standing still",
          `Group ${group} stands still in ${topic}: the next message cannot be read. It is tried again; see the log.`,
        )
      : warning(
          "standing still",
          `Group ${group} takes nothing more in from ${topic}: ${plural(held, "message")} behind others of their keys. See who is stuck: escrow group describe ${group}`,
        ),
  );

function decisions({ stats, policy }: Patient): Finding {
  const text = `${plural(stats.decisionsKept, "decision")} kept of at most ${policy.decisionsKeptMax}.`;
  return stats.decisionsKept >= NEAR * policy.decisionsKeptMax
    ? warning("decisions", `${text} The oldest are forgotten before their time.`)
    : ok("decisions", text);
}

function retention({ groups }: Patient): readonly Finding[] {
  if (groups.length === 0)
    return [ok("retention", "No group holds messages back, and none is about to lose any.")];
  return groups.map((group) => warning("retention", behind(group)));
}

function pausedGroups({ pausedGroups: paused }: Patient): readonly Finding[] {
  if (paused.length === 0) return [ok("paused groups", "No group is paused.")];
  return paused.map(({ group, forMs, operator, reason, lag }) =>
    warning(
      "paused groups",
      `Group ${group} is paused for ${daysOf(forMs)}, by ${operator}: ${reason}. ${plural(lag, "message")} to be delivered: escrow group resume ${group}`,
    ),
  );
}

function behind(group: GroupBehind): string {
  const who = `Group ${group.group} in topic ${group.topic}${group.isPaused ? ", which is paused," : ""}`;
  const since = daysOf(group.oldestAgeMs - group.retentionMs);
  const facts = [
    group.heldBytes === 0
      ? ""
      : `holds back ${Math.ceil(group.heldBytes / MIB)} MiB that could be retired, for ${since}`,
    group.unsettled === "drop" && group.oldestAgeMs >= NEAR * group.retentionMs
      ? `is about to lose messages: its oldest is ${daysOf(group.oldestAgeMs)} old, and they are dropped at ${daysOf(group.retentionMs)}`
      : "",
    isNearBytes(group)
      ? `is about to lose messages: ${Math.ceil(group.behindBytes / MIB)} MiB are before it, and beyond ${Math.ceil(group.retentionBytes / MIB)} MiB the oldest are dropped`
      : "",
    group.expired === 0 ? "" : `has lost ${plural(group.expired, "message")} to retention`,
  ];
  const said = facts.filter((fact) => fact !== "").join("; ");
  return `${who} ${said}: escrow group describe ${group.group}`;
}

const isNearBytes = (group: GroupBehind): boolean =>
  group.unsettled === "drop" &&
  group.retentionBytes > 0 &&
  group.behindBytes >= NEAR * group.retentionBytes;

/** "7.0 days", "1.5 hours", "40 s": as precise as a decision needs. */
function daysOf(ms: number): string {
  if (ms >= DAY_MS) return `${(ms / DAY_MS).toFixed(1)} days`;
  if (ms >= HOUR_MS) return `${(ms / HOUR_MS).toFixed(1)} hours`;
  return `${Math.max(0, Math.round(ms / 1_000))} s`;
}

function store({ storeFailures, unreadable: { reads, last } }: Patient): Finding {
  if (reads > 0)
    return error(
      "store",
      `${plural(reads, "read")} of messages failed since the start, the last one so: ${last} Stop the broker and run escrow verify.`,
    );
  if (storeFailures === 0) return ok("store", "No storage error since the start.");
  return warning(
    "store",
    `The store failed ${plural(storeFailures, "time")} since the start and was reopened; see the log.`,
  );
}
