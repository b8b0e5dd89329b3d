/** Bugs of what operators do to groups, and ask about messages: pause, skip, reset, start, find. */
import { Engine, type SealedBlock } from "../../../broker/src/core/engine.ts";
import { losing } from "./durability.ts";
import { applies, framed, type Planted, patched, steps } from "./planting.ts";

class UnskippingEngine extends Engine {
  override replay(block: SealedBlock): void {
    super.replay({ ...block, records: block.records.filter(({ kind }) => kind !== "skipped") });
  }
}

export const OPERATOR_BUGS: Planted = {
  "a reset to a time goes a moment too far": framed((frame) =>
    frame.type === "group.reset" && frame.from === "time"
      ? { ...frame, at: (frame.at ?? 0) + 2_000 }
      : frame,
  ),
  "a dry run moves the group": framed((frame) =>
    frame.type === "group.reset" ? { ...frame, dryRun: false } : frame,
  ),
  "a group that says nothing begins at the end": framed((frame) =>
    frame.type === "subscribe"
      ? {
          ...frame,
          topics: frame.topics.map((one) => ({ ...one, from: one.from ?? ("latest" as const) })),
        }
      : frame,
  ),
  "a find leaves out the last one": steps((_, step, input, nowMs) => {
    const ready = step(input, nowMs);
    const sends = ready.sends.map((send) => {
      if (send.kind !== "inspect" || send.inspection.kind !== "find") return send;
      const { value } = send.inspection;
      const inspection = {
        kind: "find",
        value: { ...value, looks: value.looks.slice(0, -1) },
      } as const;
      return { ...send, inspection };
    });
    return { ...ready, sends };
  }),
  "a pause ends with a restart": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind !== "opened") return;
    for (const group of state.groups.values()) group.paused = null;
  }),
  "a checkpoint forgets that a group is paused": losing((part) =>
    "part" in part && part.part === "group" ? { ...part, paused: null } : part,
  ),
  "what came back is delivered to a paused group": patched(({ core: { consumers, state } }) => {
    const pump = consumers.pump.bind(consumers);
    Object.assign(consumers, {
      pump: (turn: Parameters<typeof pump>[0]) => {
        const said = [...state.groups.values()].map((group) => ({ group, paused: group.paused }));
        for (const { group } of said)
          if ([...group.cursors.values()].some((cursor) => cursor.readyCount > 0))
            group.paused = null;
        pump(turn);
        for (const { group, paused } of said) group.paused = paused;
      },
    });
  }),
  "a resumed group waits for something new": patched(({ core: { consumers } }) => {
    Object.assign(consumers, { stirGroup: () => undefined });
  }),
  "who holds a skipped message may still ack it": applies(({ core: { state } }, apply, record) => {
    if (record.kind !== "skipped") return apply(record);
    const cursor = state.cursor(record.cursorNo);
    const offsets = record.offsets.filter((offset) => cursor.entry(offset)?.kind !== "leased");
    if (offsets.length > 0) apply({ ...record, offsets });
  }),
  "a skip is forgotten at recovery": { newEngine: (policy) => new UnskippingEngine(policy) },
  "a skip of what comes next passes over what stands before it": applies(
    ({ core: { state } }, apply, record) => {
      apply(record);
      if (record.kind !== "skipped") return;
      const cursor = state.cursor(record.cursorNo);
      const last = Math.max(...record.offsets);
      for (const { offset, kind, deliveries } of [...cursor.entries()])
        if (kind === "ready" && deliveries === 0 && offset < last) cursor.settle(offset);
    },
  ),
};
