/**
 * The memory that peers make the broker hold, in one place: what waits for work, what is being assembled,
 * what is being read, what peers have not taken. The open block and its predecessor are the loop's.
 */

import { Assembly } from "./assembly.ts";
import type { Clock } from "./clock.ts";
import { Inbox, type InboxOptions } from "./inbox.ts";
import { type MemoryShares, sendingBytes, sharesOf } from "./memory-budget.ts";
import { Asking, Reading } from "./reading.ts";
import { Unread } from "./unread.ts";

/** Bytes held, by part of the budget. */
export interface MemoryFigures {
  readonly sending: number;
  readonly settling: number;
  readonly assembling: number;
  readonly blocks: number;
  readonly reading: number;
  readonly asking: number;
  readonly unread: number;
}

export class Flow {
  readonly shares: MemoryShares;
  readonly inbox: Inbox;
  readonly assembly: Assembly;
  readonly reading: Reading;
  readonly asking: Asking;
  readonly unread: Unread;

  constructor(
    memoryBytesMax: number,
    clock: Clock,
    inbox: Pick<InboxOptions, "hasRoom" | "working"> & { readonly openBytes: () => number },
  ) {
    this.shares = sharesOf(memoryBytesMax);
    const { sendingBytesMax, settlingBytesMax } = this.shares;
    this.inbox = new Inbox({
      ...inbox,
      soon: (callback) => clock.soon(callback),
      settlingBytesMax,
      sendingBytesMax: () => sendingBytes(sendingBytesMax, inbox.openBytes()),
    });
    this.assembly = new Assembly(this.shares.assemblingBytesMax, clock);
    this.reading = new Reading(this.shares.readingBytesMax);
    this.asking = new Asking(this.shares.askingBytesMax);
    this.unread = new Unread(this.shares.unreadBytesMax);
  }

  figures(blockBytes: number): MemoryFigures {
    return {
      sending: this.inbox.bytes("sending"),
      settling: this.inbox.bytes("settling"),
      assembling: this.assembly.bytes,
      blocks: blockBytes,
      reading: this.reading.bytes,
      asking: this.asking.bytes,
      unread: this.unread.bytes,
    };
  }

  stop(): void {
    this.assembly.stop();
  }
}
