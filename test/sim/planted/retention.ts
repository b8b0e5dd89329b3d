/** Bugs of retention, and of what gives the disk back. */
import type { Engine } from "../../../broker/src/core/engine.ts";
import type { LogRecord } from "../../../broker/src/core/records.ts";
import type { WorldOptions } from "../world.ts";
import { losing } from "./durability.ts";
import { applies, type Planted, patched, rewritten, withPolicy } from "./planting.ts";

type Look = Engine["core"]["retention"]["look"];

/** Every look of retention goes through `around`. */
const retains = (around: (engine: Engine, look: Look, turn: Parameters<Look>[0]) => void) =>
  patched((engine) => {
    const { retention } = engine.core;
    const look = retention.look.bind(retention);
    Object.assign(retention, {
      look: (turn: Parameters<Look>[0]) => around(engine, look, turn),
    });
  });

/** The engine says that this block is the first that is needed. */
const needs = (neededBlock: (state: Engine["core"]["state"]) => number): WorldOptions =>
  patched(({ core: { state } }) => {
    Object.defineProperty(state, "neededBlock", { get: () => neededBlock(state) });
  });

export const RETENTION_BUGS: Planted = {
  "retention takes what a group has not settled, though the topic keeps it": retains(
    ({ core: { state } }, look, turn) => {
      const said = new Map([...state.topics.values()].map((topic) => [topic, topic.settings]));
      for (const topic of said.keys()) topic.settings = { ...topic.settings, unsettled: "drop" };
      look(turn);
      for (const [topic, settings] of said) topic.settings = settings;
    },
  ),
  "retention goes one message too far": retains(({ core: { state } }, look, turn) => {
    const log = turn.log.bind(turn);
    const further = (record: LogRecord): LogRecord => {
      if (record.kind !== "retired") return record;
      const { nextOffset } = state.topic(record.topicNo);
      return { ...record, beforeOffset: Math.min(record.beforeOffset + 1, nextOffset) };
    };
    Object.assign(turn, { log: (record: LogRecord) => log(further(record)) });
    look(turn);
    Object.assign(turn, { log });
  }),
  "what retention took from a group is not counted": applies(
    ({ core: { state } }, apply, record) => {
      if (record.kind !== "retired") return apply(record);
      const { expired } = state.topic(record.topicNo);
      apply(record);
      state.topic(record.topicNo).expired = expired;
    },
  ),
  "after a start groups get no time to come back": withPolicy(() => ({ dropAfterStartMs: 0 })),
  "retention stops after a while": retains(({ core }, look, turn) => {
    const log = turn.log.bind(turn);
    if (core.state.block >= 40) Object.assign(turn, { log: () => undefined });
    look(turn);
    Object.assign(turn, { log });
  }),
  "an idle broker does not wake for retention": patched(({ core: { retention } }) => {
    Object.assign(retention, { stir: () => undefined });
  }),
  "a segment goes though an undecided transaction is in it": needs(({ topics, block }) =>
    Math.min(block + 1, ...[...topics.values()].map((topic) => topic.lowestBlock)),
  ),
  "a segment goes though a dead letter is in it": needs(({ topics, transactions, block }) => {
    const alive = [...topics.values()].filter((topic) => !topic.isDeadLetters);
    const undecided = [...transactions.values()].filter(({ messages }) => messages.length > 0);
    return Math.min(
      block + 1,
      ...alive.map((topic) => topic.lowestBlock),
      ...undecided.map((transaction) => transaction.place.block),
    );
  }),
  "what is copied forward is taken for its neighbour": applies((_engine, apply, record) => {
    if (record.kind !== "moved") return apply(record);
    const { length } = record.messages;
    const entries = record.entries.map((one) => ({ ...one, at: (one.at + 1) % length }));
    apply({ ...record, entries });
  }),
  "a transaction is looked for where it stood before it was copied forward": applies(
    (_engine, apply, record) =>
      apply(record.kind === "moved" ? { ...record, transactions: [] } : record),
  ),
  "what was retired while it was read is copied forward": rewritten(
    ({ core: { state } }, input) => {
      if (input.kind !== "copied") return input;
      // Whatever stands at the topic's front now is said to be it.
      const messages = input.messages.map((one) => {
        if (one.of.kind !== "entry") return one;
        const topic = state.topics.get(one.of.topicNo);
        const offset = topic?.firstOffset ?? 0;
        const place = topic?.neededPlaceOf(offset);
        return place == null ? one : { ...one, of: { ...one.of, offset, place } };
      });
      return { ...input, messages };
    },
  ),
  "a checkpoint forgets what a group lost to retention": losing((part) =>
    "cursor" in part ? { ...part, cursor: { ...(part.cursor as object), expired: 0 } } : part,
  ),
};
