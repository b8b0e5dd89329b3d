/** P8, B1, B2: the engine's state against the ledger's, field by field. */
import { orderOf } from "../../broker/src/core/order-of.ts";
import type { State } from "../../broker/src/core/state.ts";
import type { Ledger } from "./ledger.ts";
import { isLive, type LedgerEntry, placeKey, whereIs } from "./ledger-facts.ts";
import { bytesOf, neededBlock } from "./ledger-retention.ts";
import { demand } from "./violation.ts";

/** `nowMs`: minus infinity right after a recovery, when what is waiting may have ripened or not. */
export function compareWithEngine(ledger: Ledger, state: State, nowMs: number): void {
  demand(state.block === ledger.block, "I4", () => `block ${state.block} is ${ledger.block}`);
  compareTopics(ledger, state);
  compareGroups(ledger, state);
  compareCursors(ledger, state, nowMs);
  compareTransactions(ledger, state);
  compareScheduled(ledger, state);
  compareReservations(ledger, state);
  demand(
    state.neededBlock === neededBlock(ledger),
    "A3",
    () => `block ${neededBlock(ledger)} is needed, not ${state.neededBlock}`,
  );
  if (nowMs === Number.NEGATIVE_INFINITY)
    for (const [id, digest] of ledger.sends)
      demand(state.sends.get(id) === digest, "T7", () => `${id} is forgotten`);
}

function compareTopics(ledger: Ledger, state: State): void {
  demand(state.topics.size === ledger.topics.size, "P8", () => "a topic is missing");
  for (const known of ledger.topics.values()) {
    const { no, name, places, origins, settings } = known;
    const topic = state.topics.get(no);
    demand(topic?.name === name, "P8", () => `topic ${name} is missing`);
    demand(topic.nextOffset === places.length, "B1", () => `${name} ends at ${topic.nextOffset}`);
    demand(topic.origins.size === origins.size, "D8", () => `dead letters of ${name}`);
    demand(
      topic.settings.isPaused === settings.isPaused &&
        topic.settings.retentionMs === settings.retentionMs &&
        topic.settings.unsettled === settings.unsettled,
      "P8",
      () => `${name} has other settings`,
    );
    demand(
      topic.firstOffset === known.firstOffset && topic.expired === known.expired,
      "B1",
      () => `${name} begins at ${topic.firstOffset}, and has lost ${topic.expired}`,
    );
    demand(topic.bytes === bytesOf(ledger, known), "B2", () => `${name} has ${topic.bytes} bytes`);
    let half = 0;
    for (const transaction of ledger.undecided.values())
      for (const message of transaction.messages) if (message.topicNo === no) half++;
    demand(topic.halfMessages === half, "B2", () => `${name} has ${half} half messages`);
    const last = places.length - 1;
    if (last < 0 || !isLive(known, last)) continue;
    const place = whereIs(known, last);
    const found = topic.placeOf(last);
    demand(
      found.block === place.block && found.slot === place.slot,
      "P8",
      () => `the last message of ${name} is elsewhere`,
    );
  }
}

function compareGroups(ledger: Ledger, state: State): void {
  demand(state.groups.size === ledger.groups.size, "P8", () => "a group is missing");
  for (const [no, { name, policy, instance, isPaused }] of ledger.groups) {
    const group = state.groups.get(no);
    demand(group?.name === name, "P8", () => `group ${name} is missing`);
    const isSame =
      group.policy.leaseMs === policy.leaseMs && group.policy.attemptsMax === policy.attemptsMax;
    demand(isSame, "P8", () => `${name} has another policy`);
    const isPausedToo = (group.paused !== null) === isPaused;
    demand(
      isPausedToo,
      "D16",
      () => `${name} is ${isPaused ? "" : "not "}paused, and the engine says otherwise`,
    );
    const leftAtMs = group.instance?.leftAtMs;
    demand(leftAtMs === instance?.leftAtMs, "S2", () => `${name} is away since ${leftAtMs}`);
  }
}

function compareCursors(ledger: Ledger, state: State, nowMs: number): void {
  demand(state.cursors.size === ledger.cursors.size, "P8", () => "a cursor is missing");
  for (const known of ledger.cursors.values()) {
    const { no, nextOffset, nextDeliveryNo, entries, expired, lapsed, filter, filtered } = known;
    const cursor = state.cursors.get(no);
    demand(cursor !== undefined, "P8", () => `cursor ${no} is missing`);
    const isSame = cursor.abandoned === known.abandoned && cursor.told === known.told;
    demand(isSame, "S3", () => `cursor ${no} knows of ${cursor.told} lost, not ${known.told}`);
    demand(
      cursor.nextOffset === nextOffset && cursor.nextDeliveryNo === nextDeliveryNo,
      "B1",
      () => `cursor ${no} is at ${cursor.nextOffset}, not ${nextOffset}`,
    );
    demand(cursor.lapsed === lapsed, "D15", () => `cursor ${no} counts ${cursor.lapsed} lapsed`);
    demand(cursor.expired === expired, "E3", () => `cursor ${no} has lost ${cursor.expired}`);
    demand(
      cursor.unsettled === entries.size,
      "B1",
      () => `cursor ${no} has ${cursor.unsettled} unsettled, not ${entries.size}`,
    );
    demand(
      cursor.filter === filter && cursor.filtered === filtered,
      "D13",
      () => `cursor ${no} has passed over ${cursor.filtered}, not ${filtered}`,
    );
    const counts = { leased: 0, ready: 0, waiting: 0, pending: 0, held: 0 };
    const keys = new Set<number>();
    for (const [offset, entry] of entries) {
      const live = cursor.entry(offset);
      demand(live !== undefined, "D2", () => `cursor ${no}/${offset} is lost`);
      counts[live.state.kind]++;
      const isHeld = entry.key !== 0 && keys.has(entry.key);
      keys.add(entry.key);
      demand(
        isHeld
          ? live.state.kind === "held" && entry.kind === "ready"
          : isSameKind(entry, live.state, nowMs, ledger.slackMs),
        "P8",
        () => `cursor ${no}/${offset} is ${live.state.kind}, not ${entry.kind}`,
      );
      demand(live.key === entry.key, "D9", () => `cursor ${no}/${offset} lost its key`);
      demand(
        live.deliveries === entry.deliveries && live.failures === entry.failures,
        "D6",
        () => `cursor ${no}/${offset} counts ${live.deliveries}, not ${entry.deliveries}`,
      );
    }
    for (const kind of ["leased", "ready", "waiting", "pending", "held"] as const)
      demand(cursor.counts[kind] === counts[kind], "B2", () => `cursor ${no}: ${kind} miscounted`);
  }
}

type LiveState = NonNullable<
  ReturnType<NonNullable<ReturnType<State["cursors"]["get"]>>["entry"]>
>["state"];

function isSameKind(entry: LedgerEntry, live: LiveState, nowMs: number, slackMs: number): boolean {
  if (entry.kind === "leased") return live.kind === "leased" && live.deliveryNo === entry.number;
  if (entry.kind !== "waiting") return live.kind === entry.kind;
  if (live.kind === "ready") return nowMs < 0 || entry.number <= nowMs + slackMs;
  return live.kind === "waiting" && live.readyAtMs === entry.number && !(entry.number <= nowMs);
}

function compareTransactions(ledger: Ledger, state: State): void {
  const { transactions, decisions, totals } = state;
  demand(transactions.size === ledger.undecided.size, "P8", () => "an undecided one is missing");
  let parked = 0;
  let bytes = 0;
  for (const known of ledger.undecided.values()) {
    const live = transactions.get(known.id);
    demand(live !== undefined, "C3", () => `${known.id} is dropped`);
    bytes += live.bytes;
    if (known.state === "parked") parked++;
    demand(
      (live.parked !== null) === (known.state === "parked"),
      "C3",
      () => `${known.id} is parked`,
    );
    demand(live.checks === known.checks, "C3", () => `${known.id} counts ${live.checks} checks`);
    demand(
      live.parked !== null ||
        (live.nextCheckAtMs === known.nextCheckAtMs && live.ageFromMs === known.ageFromMs),
      "P7",
      () => `${known.id} is asked about at ${live.nextCheckAtMs}, not ${known.nextCheckAtMs}`,
    );
  }
  demand(
    totals.count === transactions.size && totals.parked === parked && totals.bytes === bytes,
    "B2",
    () => "the totals of undecided work are miscounted",
  );
  for (const known of ledger.transactions.values()) {
    if (known.state === "undecided" || known.state === "parked") continue;
    const decision = decisions.get(known.id);
    demand(decision?.state === known.state, "T6", () => `the decision of ${known.id} is forgotten`);
  }
}

function compareScheduled({ schedule }: Ledger, { scheduled, topics }: State): void {
  const known = [...schedule.all.values()];
  demand(
    scheduled.size === known.length && scheduled.nextAtMs === schedule.nextAtMs,
    "D14",
    () => `${scheduled.size} wait, not ${known.length}; the next one until ${scheduled.nextAtMs}`,
  );
  for (const { no, name, scheduled: timed, queued } of topics.values()) {
    const here = known.filter(({ topicNo }) => topicNo === no);
    const behind = here.filter(({ isQueued }) => isQueued).length;
    demand(
      timed === here.length - behind && queued === behind,
      "B2",
      () => `${timed} and ${queued} wait for ${name}, not ${here.length - behind} and ${behind}`,
    );
  }
  for (const { id, topicNo, place, movedTo } of known) {
    const isThere = scheduled.find(topicNo, id).some((row) => {
      const found = scheduled.placeOf(row);
      return placeKey(found) === placeKey(movedTo ?? place);
    });
    demand(isThere, "D14", () => `${id} waits, and is not found`);
  }
}

function compareReservations({ schedule }: Ledger, { keyQueues, transactions }: State): void {
  const known = [...schedule.keys.reservations()];
  const { reserved } = keyQueues;
  demand(
    reserved === known.length,
    "B2",
    () => `${reserved} keys are reserved, not ${known.length}`,
  );
  for (const { transactionId: id, topicNo, key, behind } of known) {
    const no = transactions.get(id)?.reservationNo ?? 0;
    const count = keyQueues.countBehind(topicNo, orderOf(key), no);
    demand(count === behind, "B2", () => `${count} wait for ${id} and ${key}, not ${behind}`);
  }
  const numberOf = (id: string): number => transactions.get(id)?.reservationNo ?? 0;
  const [oldest] = known
    .flatMap(({ transactionId, behind }) => (behind > 0 ? transactionId : []))
    .sort((one, other) => numberOf(one) - numberOf(other));
  const { oldestBlocking } = keyQueues;
  demand(
    oldestBlocking === (oldest ?? null),
    "D20",
    () => `messages wait for ${oldestBlocking} first, not ${oldest}`,
  );
}
