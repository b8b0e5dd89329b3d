/** What the inspector needs of the engine and the store: names, cursors and indexes. */
import type { Engine } from "../core/engine.ts";
import type { BlockStore } from "../store/store.ts";
import type { LogReader } from "./log-reader.ts";
import type { TimelineSource } from "./timeline.ts";

export function timelineSource(
  engine: Engine,
  store: BlockStore,
  reader: LogReader,
): TimelineSource {
  const { state } = engine.core;
  return {
    nowMs: () => reader.nowMs(),
    readBlock: (block) => reader.block(block),
    firstBlock: () => store.first,
    topicName: (topicNo) => state.topics.get(topicNo)?.name ?? "(deleted topic)",
    cursor: (cursorNo) => {
      const cursor = state.cursors.get(cursorNo);
      const group = cursor === undefined ? undefined : state.groups.get(cursor.groupNo);
      return cursor === undefined || group === undefined
        ? null
        : { group: group.name, topicNo: cursor.topicNo };
    },
    offsetOf: (topicNo, place, atMs) => state.topics.get(topicNo)?.offsetOf(place, atMs) ?? null,
    placeOf: (topicNo, offset) => state.topics.get(topicNo)?.neededPlaceOf(offset) ?? null,
    offsetAt: (topicNo, atMs) => state.topics.get(topicNo)?.offsetAt(atMs) ?? 0,
    isDeadLetter: (topicNo, offset) => state.topics.get(topicNo)?.origins.has(offset) ?? false,
  };
}
