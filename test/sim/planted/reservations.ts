/** Bugs of transactions that reserve their keys, and of what waits behind them. */
import type { Engine } from "../../../broker/src/core/engine.ts";
import { type KeyQueues, NOTHING } from "../../../broker/src/core/key-queues.ts";
import { NOWHERE } from "../../../broker/src/core/places.ts";
import { endReservations } from "../../../broker/src/core/schedule-records.ts";
import type { WorldOptions } from "../world.ts";
import { losing } from "./durability.ts";
import { applies, type Planted, patched, replaying } from "./planting.ts";

type PositionFor = KeyQueues["positionFor"];

/** Where a message stands is asked `around`. */
const standing = (
  around: (
    positionFor: PositionFor,
    of: Parameters<PositionFor>,
    keyQueues: KeyQueues,
  ) => ReturnType<PositionFor>,
): WorldOptions =>
  patched(({ core: { state } }) => {
    const { keyQueues } = state;
    const positionFor = keyQueues.positionFor.bind(keyQueues);
    Object.assign(keyQueues, {
      positionFor: (...of: Parameters<PositionFor>) => around(positionFor, of, keyQueues),
    });
  });

/** While `act` runs, nothing is let go. */
function lettingNothingGo({ core: { state } }: Engine, act: () => void): void {
  const { scheduled } = state;
  const release = scheduled.release.bind(scheduled);
  Object.assign(scheduled, { release: () => undefined });
  act();
  Object.assign(scheduled, { release });
}

/** While `act` runs, no reservation ends. */
function keepingKeys({ core: { state } }: Engine, act: () => void): void {
  const { keyQueues } = state;
  const end = keyQueues.end.bind(keyQueues);
  Object.assign(keyQueues, { end: () => undefined });
  act();
  Object.assign(keyQueues, { end });
}

/** Messages come into their queues by `around`. */
const entering = (
  around: (enter: KeyQueues["enter"], of: Parameters<KeyQueues["enter"]>) => void,
): WorldOptions =>
  patched(({ core: { state } }) => {
    const { keyQueues } = state;
    const enter = keyQueues.enter.bind(keyQueues);
    Object.assign(keyQueues, {
      enter: (...of: Parameters<KeyQueues["enter"]>) => around(enter, of),
    });
  });

/** Of each row of a saved part: topic, block, slot, bytes, time, key, position. */
const ROW_NUMBERS = 7;

function standingNowhere(saved: Uint8Array): Uint8Array {
  const numbers = new Float64Array(saved.slice().buffer);
  for (let at = ROW_NUMBERS - 1; at < numbers.length; at += ROW_NUMBERS) numbers[at] = NOTHING;
  return new Uint8Array(numbers.buffer);
}

export const RESERVATION_BUGS: Planted = {
  "a reserved key holds up nobody": standing(() => NOTHING),
  "what waited comes before the messages that it waited for": standing(
    (positionFor, [topicNo, key]) => positionFor(topicNo, key),
  ),
  "a commit passes who reserved its keys before": standing(
    (positionFor, [topicNo, key, reservationNo = NOTHING]) =>
      reservationNo === NOTHING ? positionFor(topicNo, key) : NOTHING,
  ),
  "what comes passes what is let go at this moment": standing((positionFor, of, keyQueues) => {
    const [topicNo, key] = of;
    return keyQueues.headOf(topicNo, key) === NOWHERE ? positionFor(...of) : NOTHING;
  }),
  "a verdict lets nothing go": applies((engine, apply, record) => {
    if (record.kind !== "decided") return apply(record);
    lettingNothingGo(engine, () => apply(record));
  }),
  "a verdict lets go what waits for the next one, too": patched(({ core: { state } }) => {
    const { keyQueues } = state;
    const all: Parameters<KeyQueues["reserve"]>[] = [];
    const reserve = keyQueues.reserve.bind(keyQueues);
    const end = keyQueues.end.bind(keyQueues);
    Object.assign(keyQueues, {
      reserve: (...of: Parameters<typeof reserve>) => {
        all.push(of);
        reserve(...of);
      },
      end: (...[topicNo, key]: Parameters<typeof end>) => {
        for (const [ofTopic, ofKey, no] of all)
          if (ofTopic === topicNo && ofKey === key) end(topicNo, key, no);
      },
    });
  }),
  "what came last behind a transaction is let go first": entering(
    (enter, [topicNo, key, position, row]) => enter(topicNo, key, position, row, true),
  ),
  "a rollback keeps the keys": applies((engine, apply, record) => {
    if (record.kind !== "decided" || record.verdict === "commit") return apply(record);
    keepingKeys(engine, () => apply(record));
  }),
  "who is parked gives up the keys": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind === "parked") endReservations(state, state.transaction(record.transactionId));
  }),
  "what falls due does not look whether its key is reserved": patched(({ core: { state } }) => {
    const { scheduled } = state;
    const at = scheduled.at.bind(scheduled);
    Object.assign(scheduled, {
      at: (row: number) => {
        const one = at(row);
        return one.position === NOTHING ? { ...one, key: 0 } : one;
      },
    });
  }),
  "a recall of what is let go first lets nothing else go": applies((engine, apply, record) => {
    if (record.kind !== "recalled") return apply(record);
    lettingNothingGo(engine, () => apply(record));
  }),
  "reservations are forgotten at recovery": replaying((record) => {
    if (record.kind !== "prepared") return record;
    const { reservesKeys: _forgotten, ...rest } = record;
    return rest;
  }),
  "what fell due and waits is due again at recovery": replaying((record) =>
    record.kind === "queued" ? null : record,
  ),
  "a checkpoint forgets where in its queue a message stands": losing((part) => {
    if (!("scheduled" in part)) return part;
    const scheduled = part.scheduled as { readonly numbers: Uint8Array };
    return { ...part, scheduled: { ...scheduled, numbers: standingNowhere(scheduled.numbers) } };
  }),
  "a checkpoint forgets the number of the last reservation": losing((part) =>
    "endpoints" in part && "numbers" in part
      ? { ...part, numbers: [...(part.numbers as number[]).slice(0, 3), 1] }
      : part,
  ),
  "a checkpoint forgets which message is let go first": entering(
    (enter, [topicNo, key, position, row]) => enter(topicNo, key, position, row, false),
  ),
};
