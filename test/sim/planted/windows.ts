/** Bugs of filters, of windows and of order by key. */
import type { Engine } from "../../../broker/src/core/engine.ts";
import { applies, type Planted, rewritten } from "./planting.ts";

/** All that waits behind others is free, and stands in no order any more. */
function forgetKeys({ core: { state } }: Engine, cursorNos: Iterable<number>): void {
  for (const no of cursorNos) {
    const cursor = state.cursors.get(no);
    if (cursor?.isOrdered !== true) continue;
    cursor.setOrdered(false);
    cursor.setOrdered(true);
  }
}

const restarted = new WeakSet<Engine>();

export const WINDOW_BUGS: Planted = {
  "what waits for its retry lets the others of its key pass": applies((engine, apply, record) => {
    apply(record);
    if (record.kind === "returned" && record.readyAtMs > 0) forgetKeys(engine, [record.cursorNo]);
  }),
  "keys are forgotten at recovery": applies((engine, apply, record) => {
    apply(record);
    if (record.kind === "opened") forgetKeys(engine, engine.core.state.cursors.keys());
  }),
  "all of a key are ready at once": rewritten((_engine, input) =>
    input.kind === "looked" ? { ...input, keys: input.keys.map(() => 0) } : input,
  ),
  "a window drops its last match": rewritten((_engine, input) =>
    input.kind === "looked" && input.matches.length > 1
      ? { ...input, matches: input.matches.slice(0, -1), keys: input.keys.slice(0, -1) }
      : input,
  ),
  "after a restart a filter lets all pass": rewritten((engine, input) => {
    if (input.kind === "open" && engine.core.state.block > 0) restarted.add(engine);
    if (input.kind !== "looked" || !restarted.has(engine)) return input;
    const { isOrdered } = engine.core.state.cursors.get(input.cursorNo) ?? {};
    const matches = Array.from({ length: input.count }, (_, at) => at);
    return { ...input, matches, keys: isOrdered ? matches.map(() => 0) : [] };
  }),
  "what cannot be looked at is passed over": rewritten((_engine, input) =>
    input.kind === "looked" && input.count === 0 ? { ...input, count: 1 } : input,
  ),
};
