/** What the inspector tells of a transaction of a driver, read from its blocks. */

import type { LogReader } from "../../broker/src/server/log-reader.ts";
import { readTimeline, type TimelineSource } from "../../broker/src/server/timeline.ts";
import { timelineSource } from "../../broker/src/server/timeline-source.ts";
import type { BlockStore } from "../../broker/src/store/store.ts";
import type { Driver } from "./sim-driver.ts";

export function sourceOf({ engine, blocks }: Driver): TimelineSource {
  const block = async (number: number) => blocks[number - 1];
  const reader = { nowMs: () => 0, block } as unknown as LogReader;
  return timelineSource(engine, { first: 1 } as BlockStore, reader);
}

export async function eventsOf(driver: Driver, transactionId: string): Promise<string[]> {
  const { block } = driver.engine.core.state;
  const { timeline } = await readTimeline(sourceOf(driver), transactionId, 1, block);
  return timeline.map(({ event, text }) => `${event} ${text}`);
}
