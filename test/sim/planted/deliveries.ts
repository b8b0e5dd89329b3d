/** Bugs of sends, deliveries and what ends them. */

import type { Subscription } from "../../../broker/src/core/consumers.ts";
import type { Engine } from "../../../broker/src/core/engine.ts";
import { NOWHERE } from "../../../broker/src/core/places.ts";
import { readToken, tokenOf } from "../../../broker/src/core/token.ts";
import type { WorldOptions } from "../world.ts";
import { storeWith } from "./broken-store.ts";
import { applies, type Planted, patched, rewritten, steps } from "./planting.ts";

function freshToken(engine: Engine, token: string): string {
  const ref = readToken(token);
  const entry =
    ref === null ? undefined : engine.core.state.cursors.get(ref.cursorNo)?.entry(ref.offset);
  return ref !== null && entry?.state.kind === "leased"
    ? tokenOf(ref.cursorNo, ref.offset, entry.state.deliveryNo)
    : token;
}

type Weighted = Subscription & { readonly weights: NonNullable<Subscription["weights"]> };

/** Each subscription whose topics are not all worth the same goes through `patch`. */
const weighted = (patch: (subscription: Weighted) => void): WorldOptions =>
  patched(({ core: { consumers } }) => {
    const subscribe = consumers.subscribe.bind(consumers);
    Object.assign(consumers, {
      subscribe: (...args: Parameters<typeof subscribe>) => {
        const subscription = subscribe(...args);
        if (subscription.weights !== null) patch(subscription as Weighted);
        return subscription;
      },
    });
  });

export const DELIVERY_BUGS: Planted = {
  "a delivery brings the body of its neighbour": storeWith((store) => ({
    cached: (block, slot) => store.cached(block, slot === 0 ? 1 : 0) ?? store.cached(block, slot),
  })),
  "a repeated send is a new message": patched(({ core }) => {
    Object.assign(core.state.sends, { get: () => undefined });
  }),
  "old tokens are as good as new ones": rewritten((engine, input) => {
    if (input.kind !== "frame" || input.frame.type !== "ack") return input;
    const tokens = input.frame.tokens.map((token) => freshToken(engine, token));
    return { ...input, frame: { ...input.frame, tokens } };
  }),
  "a pending ack is delivered again": applies((engine, apply, record) => {
    apply(record);
    if (record.kind !== "prepared") return;
    for (const { cursorNo, offset } of record.acks)
      engine.core.state.cursor(cursorNo).giveBack(offset, "released", 0, false, "");
  }),
  "a restart gives pending acks back": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind !== "opened") return;
    for (const cursor of state.cursors.values())
      for (const { offset, state: entry } of [...cursor.entries()])
        if (entry.kind === "pending") cursor.giveBack(offset, "restart", 0, false, "");
  }),
  "an extension of a lease is forgotten": patched(({ core }) => {
    Object.assign(core.consumers, { extend: () => undefined });
  }),
  "a topic that waited for the turn of another is not woken": weighted(({ weights }) => {
    const pass = weights.pass.bind(weights);
    const passAlone = (feed: Parameters<typeof pass>[0]): void => {
      pass(feed);
      weights.isAwaited = false;
    };
    Object.assign(weights, { pass: passAlone });
  }),
  "a topic that gives up the turn to another is forgotten": weighted(({ starved, weights }) => {
    const add = starved.add.bind(starved);
    type Feed = Parameters<typeof starved.add>[0];
    Object.assign(starved, { add: (feed: Feed) => weights.isAwaited || add(feed) });
  }),
  "an unreadable body costs the consumer its credit": patched(({ core }) => {
    Object.assign(core.consumers, { refund: () => undefined });
  }),
  "more is delivered than was granted": patched(({ core: { consumers } }) => {
    const grant = consumers.grant.bind(consumers);
    Object.assign(consumers, {
      grant: (...[subscription, messages, ...rest]: Parameters<typeof grant>) =>
        grant(subscription, messages + 1, ...rest),
    });
  }),
  "attempts are not counted": applies((_engine, apply, record) =>
    apply(record.kind === "returned" ? { ...record, isCounted: false } : record),
  ),
  "a retry does not wait": applies((_engine, apply, record) =>
    apply(record.kind === "returned" ? { ...record, readyAtMs: 0 } : record),
  ),
  "an expired lease is not given back": patched(({ core: { alarms, state } }) => {
    const takeDue = alarms.takeDue.bind(alarms);
    Object.assign(alarms, {
      takeDue: (nowMs: number) => {
        const place = takeDue(nowMs);
        return state.entries.holder.at(place) === null ? place : NOWHERE;
      },
    });
  }),
  "an ack of one group counts for all": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind !== "acked") return;
    const { topicNo } = state.cursor(record.cursorNo);
    for (const cursor of state.readers.get(topicNo) ?? [])
      for (const offset of record.offsets)
        if (cursor.entry(offset)?.state.kind === "ready") cursor.settle(offset);
  }),
  "a buried message is not a dead letter": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind === "buried") state.topic(record.deadTopicNo).origins.clear();
  }),
  "a dead letter can be replayed twice": applies(({ core: { state } }, apply, record) => {
    if (record.kind !== "replayed") return apply(record);
    const { origins } = state.topic(record.deadTopicNo);
    const origin = origins.get(record.offset);
    apply(record);
    if (origin !== undefined) origins.set(record.offset, origin);
  }),
  "new messages wake nobody": patched(({ core }) => {
    Object.assign(core.consumers, { stirTopic: () => undefined });
  }),
  "a step delivers, and its record is lost": steps((_engine, step, input, nowMs) => {
    const ready = step(input, nowMs);
    return { ...ready, records: ready.records.filter(({ kind }) => kind !== "delivered") };
  }),
};
