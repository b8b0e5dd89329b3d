/** Bugs of transactions that reserve their keys, and of what waits behind them. */
import type { Engine } from "../../../broker/src/core/engine.ts";
import { type KeyQueues, NOTHING, RELEASED } from "../../../broker/src/core/key-queues.ts";
import { endReservations } from "../../../broker/src/core/schedule-records.ts";
import type { WorldOptions } from "../world.ts";
import { losing } from "./durability.ts";
import { applies, type Planted, patched, replaying } from "./planting.ts";

type LastOf = KeyQueues["lastOf"];

/** Behind what a message stands is asked `around`. */
const standing = (around: (lastOf: LastOf, ...of: Parameters<LastOf>) => number): WorldOptions =>
  patched(({ core: { state } }) => {
    const { keyQueues } = state;
    const lastOf = keyQueues.lastOf.bind(keyQueues);
    Object.assign(keyQueues, { lastOf: (...of: Parameters<LastOf>) => around(lastOf, ...of) });
  });

/** While `act` runs, no reservation ends. */
function keepingKeys({ core: { state } }: Engine, act: () => void): void {
  const { keyQueues } = state;
  const end = keyQueues.end.bind(keyQueues);
  Object.assign(keyQueues, { end: () => ({ rows: [], behind: NOTHING }) });
  act();
  Object.assign(keyQueues, { end });
}

/** Of each row of a saved part: topic, block, slot, bytes, time, key, behind what. */
const ROW_NUMBERS = 7;

function standingNowhere(saved: Uint8Array): Uint8Array {
  const numbers = new Float64Array(saved.slice().buffer);
  for (let at = ROW_NUMBERS - 1; at < numbers.length; at += ROW_NUMBERS) numbers[at] = NOTHING;
  return new Uint8Array(numbers.buffer);
}

export const RESERVATION_BUGS: Planted = {
  "a reserved key holds up nobody": standing(() => NOTHING),
  "what waited comes before the messages that it waited for": standing((lastOf, topicNo, key) =>
    lastOf(topicNo, key),
  ),
  "a commit passes who reserved its keys before": standing(
    (lastOf, topicNo, key, reservationNo = NOTHING) =>
      reservationNo === NOTHING ? lastOf(topicNo, key) : NOTHING,
  ),
  "what comes passes what is let go at this moment": standing((lastOf, ...of) => {
    const behind = lastOf(...of);
    return behind === RELEASED ? NOTHING : behind;
  }),
  "a verdict lets nothing go": patched(({ core: { state } }) => {
    const { scheduled } = state;
    const defer = scheduled.defer.bind(scheduled);
    Object.assign(scheduled, {
      defer: (row: number, _dueAtMs: number, behind: number) =>
        defer(row, Number.POSITIVE_INFINITY, behind),
    });
  }),
  "a verdict lets go what waits for the next one, too": patched(({ core: { state } }) => {
    const { keyQueues, scheduled } = state;
    const end = keyQueues.end.bind(keyQueues);
    Object.assign(keyQueues, {
      end: (...[topicNo, key, no]: Parameters<typeof end>) => {
        const ended = end(topicNo, key, no);
        const rows = [...scheduled.ofTopic(topicNo)].filter((row) => {
          const one = scheduled.at(row);
          return one.key === key && one.behind > no;
        });
        return rows.length === 0 ? ended : { rows: [...ended.rows, ...rows], behind: RELEASED };
      },
    });
  }),
  "what waited is let go in the wrong order": patched(({ core: { state } }) => {
    const { keyQueues } = state;
    const end = keyQueues.end.bind(keyQueues);
    Object.assign(keyQueues, {
      end: (...of: Parameters<typeof end>) => {
        const { rows, behind } = end(...of);
        return { rows: [...rows].reverse(), behind };
      },
    });
  }),
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
        return one.behind === NOTHING ? { ...one, key: 0 } : one;
      },
    });
  }),
  "reservations are forgotten at recovery": replaying((record) => {
    if (record.kind !== "prepared") return record;
    const { reservesKeys: _forgotten, ...rest } = record;
    return rest;
  }),
  "what fell due and waits is due again at recovery": replaying((record) =>
    record.kind === "queued" ? null : record,
  ),
  "a checkpoint forgets behind what a message stands": losing((part) => {
    if (!("scheduled" in part)) return part;
    const scheduled = part.scheduled as { readonly numbers: Uint8Array };
    return { ...part, scheduled: { ...scheduled, numbers: standingNowhere(scheduled.numbers) } };
  }),
  "a checkpoint forgets the number of the last reservation": losing((part) =>
    "endpoints" in part && "numbers" in part
      ? { ...part, numbers: [...(part.numbers as number[]).slice(0, 3), 1] }
      : part,
  ),
};
