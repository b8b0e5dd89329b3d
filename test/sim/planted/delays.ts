/** Bugs of delayed messages, of their recall, and of times to live. */
import { losing } from "./durability.ts";
import { applies, type Planted, patched } from "./planting.ts";

export const DELAY_BUGS: Planted = {
  "all that waits is due after a restart": patched(({ core: { state } }) => {
    const apply = state.apply.bind(state);
    Object.assign(state, {
      apply: (record: Parameters<typeof apply>[0]) => {
        apply(record);
        if (record.kind !== "opened" || state.block === 1) return;
        const { scheduled } = state;
        Object.defineProperty(scheduled, "nextAtMs", {
          configurable: true,
          get: () => (scheduled.size > 0 ? 0 : Number.POSITIVE_INFINITY),
        });
      },
    });
  }),
  "a delay counts from the prepare": applies(({ core: { state } }, apply, record) => {
    if (record.kind !== "decided" || record.fromAtMs === undefined) return apply(record);
    const { preparedAtMs } = state.transaction(record.transactionId);
    apply({ ...record, fromAtMs: preparedAtMs });
  }),
  "a delay inside a transaction is dropped (as RocketMQ does)": applies((_, apply, record) => {
    if (record.kind !== "prepared") return apply(record);
    const messages = record.messages.map(({ timing: _dropped, ...message }) => message);
    apply({ ...record, messages });
  }),
  "downtime is a pause for what is scheduled": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind !== "opened" || record.pausedMs === 0) return;
    const { scheduled } = state;
    for (const row of [...state.topics.keys()].flatMap((no) => [...scheduled.ofTopic(no)])) {
      const one = scheduled.at(row);
      scheduled.remove(row);
      scheduled.add({ ...one, dueAtMs: one.dueAtMs + record.pausedMs });
    }
  }),
  "what is due wakes nobody": patched(({ core: { state } }) => {
    Object.defineProperty(state.scheduled, "nextAtMs", { get: () => Number.POSITIVE_INFINITY });
  }),
  "what is due passes what is due before it": patched(({ core: { state } }) => {
    const { scheduled } = state;
    const { get } =
      Object.getOwnPropertyDescriptor(Object.getPrototypeOf(scheduled), "first") ?? {};
    Object.defineProperty(scheduled, "first", {
      get: (): number => {
        const first: number = get?.call(scheduled);
        if (scheduled.size < 2) return first;
        const { topicNo } = scheduled.at(first);
        return [...scheduled.ofTopic(topicNo)].at(-1) ?? first;
      },
    });
  }),
  "a recall says ok and takes nothing back": applies((_engine, apply, record) => {
    if (record.kind !== "recalled") apply(record);
  }),
  "a recall is forgotten at recovery": patched((engine) => {
    const replay = engine.replay.bind(engine);
    Object.assign(engine, {
      replay: (block: Parameters<typeof replay>[0]) => {
        const records = block.records.filter(({ kind }) => kind !== "recalled");
        replay({ ...block, records });
      },
    });
  }),
  "a checkpoint forgets what waits for its time": losing((part) =>
    "scheduled" in part ? null : part,
  ),
  "a checkpoint forgets that a message was recalled": losing((part) =>
    "remembered" in part && "of" in part && part.of === "recalls" ? null : part,
  ),
  "a segment goes though a scheduled message is in it": patched(({ core: { state } }) => {
    Object.defineProperty(state.scheduled, "lowestBlock", { get: () => Number.POSITIVE_INFINITY });
  }),
  "a scheduled message is looked for where it stood before it was copied forward": applies(
    (_engine, apply, record) =>
      apply(record.kind === "moved" ? { ...record, scheduled: [] } : record),
  ),
  "a checkpoint forgets that a topic has messages with a time to live": losing((part) =>
    "topic" in part && typeof part.topic === "object"
      ? { ...part, topic: { ...part.topic, hasTtl: false } }
      : part,
  ),
  "what lapsed is not settled": applies((_engine, apply, record) => {
    if (record.kind !== "lapsed") apply(record);
  }),
};
