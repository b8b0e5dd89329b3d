/** Bugs of broadcast, and of requests and their replies. */
import type { Engine } from "../../../broker/src/core/engine.ts";
import type { Send } from "../../../broker/src/core/types.ts";
import type { WorldOptions } from "../world.ts";
import { losing } from "./durability.ts";
import { applies, type Planted, patched, steps } from "./planting.ts";

type Instances = Engine["core"]["instances"];

const instances = (patch: (instances: Instances, engine: Engine) => object): WorldOptions =>
  patched((engine) => Object.assign(engine.core.instances, patch(engine.core.instances, engine)));

export const TALK_BUGS: Planted = {
  "what one instance acked another does not get": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind !== "acked") return;
    const { topicNo, groupNo } = state.cursor(record.cursorNo);
    for (const sibling of state.group(groupNo).instance?.parent.instances.values() ?? []) {
      const cursor = sibling.cursors.get(topicNo);
      for (const offset of record.offsets)
        if (cursor?.entry(offset)?.state.kind === "ready") cursor.settle(offset);
    }
  }),
  "who takes an instance's place shares it": instances(() => ({ holder: () => undefined })),
  "a gap is told to nobody who is here": instances(() => ({ tell: () => undefined })),
  "a gap counts as told as soon as it is said": instances((all, { core: { state } }) => {
    const entered = all.entered.bind(all);
    return {
      entered: (...[subscription, newFromNo]: Parameters<typeof entered>) => {
        const answer = entered(subscription, newFromNo);
        for (const { cursor } of subscription.feeds) state.cursor(cursor.no).told = cursor.lost;
        return answer;
      },
    };
  }),
  "the answer to who comes back says nothing of what it lost": instances((all) => {
    const entered = all.entered.bind(all);
    return {
      entered: (...[subscription, newFromNo]: Parameters<typeof entered>) => {
        const { gaps = [] } = entered(subscription, newFromNo);
        return { gaps: gaps.map((gap) => (gap.lost === undefined ? gap : { ...gap, lost: 0 })) };
      },
    };
  }),
  "a start takes those who were here for gone long ago": applies(
    ({ core: { state } }, apply, record) => {
      apply(record);
      if (record.kind !== "opened") return;
      for (const { instance } of state.groups.values())
        if (instance !== null) instance.leftAtMs = 0;
    },
  ),
  "a checkpoint forgets since when an instance is away": losing((part) =>
    "instance" in part && part.instance !== null
      ? { ...part, instance: { ...(part.instance as object), leftAtMs: null } }
      : part,
  ),
  "a checkpoint forgets what an instance knows of": losing((part) =>
    "cursor" in part ? { ...part, cursor: { ...(part.cursor as object), told: 0 } } : part,
  ),
  "an inbox has the name of one before the restart": patched(({ core }) => {
    Object.assign(core.inboxes, { open: () => undefined });
  }),
  "a reply is handed on twice": steps((_engine, step, input, nowMs) => {
    const ready = step(input, nowMs);
    const sends = ready.sends.flatMap((send): Send[] =>
      send.kind === "reply" ? [send, send] : [send],
    );
    return { ...ready, sends };
  }),
};
