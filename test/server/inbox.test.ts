/** Who is worked on next, who is read from, and who is told to hold back; with sources that only note it. */
import { describe, expect, it } from "vitest";
import { Inbox, type Lane, type LaneKind } from "../../broker/src/server/inbox.ts";

const KIB = 1_024;
const MIB = 1_048_576;

interface Peer {
  readonly lane: Lane;
  readonly isPaused: boolean;
  readonly windows: readonly number[];
  /** Arrivals that are noted in `order` under this peer's name when they are worked on. */
  sends(count: number, bytes: number): void;
}

function anInbox(options: { sendingBytesMax?: number; settlingBytesMax?: number } = {}) {
  const order: string[] = [];
  const room: Record<LaneKind, boolean> = { sending: false, settling: false };
  let workedBytes = 0;
  const inbox = new Inbox({
    sendingBytesMax: () => options.sendingBytesMax ?? 16 * MIB,
    settlingBytesMax: options.settlingBytesMax ?? 16 * MIB,
    hasRoom: (kind) => room[kind],
    soon: (callback) => void setImmediate(callback),
    working: (bytes) => {
      workedBytes += bytes;
    },
  });
  const peer = (name: string, kind: LaneKind): Peer => {
    const state = { isPaused: false, windows: [] as number[] };
    const lane = inbox.open({
      pause: (isPaused) => {
        state.isPaused = isPaused;
      },
      narrow: (bytes) => void state.windows.push(bytes),
    });
    if (kind === "sending") inbox.becomeSending(lane);
    let sent = 0;
    return {
      lane,
      get isPaused() {
        return state.isPaused;
      },
      windows: state.windows,
      sends: (count, bytes) => {
        for (let at = 0; at < count; at++) {
          const label = `${name}${sent++}`;
          inbox.add(lane, { bytes, work: () => void order.push(label) });
        }
      },
    };
  };
  /** Lets these kinds be worked on until nothing of them waits. */
  const work = async (...kinds: LaneKind[]): Promise<void> => {
    for (const kind of kinds) room[kind] = true;
    inbox.wake();
    while (kinds.some((kind) => inbox.bytes(kind) > 0))
      await new Promise((resolve) => setImmediate(resolve));
    for (const kind of kinds) room[kind] = false;
  };
  /** One turn of the event loop. */
  const turn = async (...kinds: LaneKind[]): Promise<void> => {
    for (const kind of kinds) room[kind] = true;
    inbox.wake();
    await new Promise((resolve) => setImmediate(resolve));
    for (const kind of kinds) room[kind] = false;
  };
  return {
    inbox,
    order,
    peer,
    work,
    turn,
    workedBytes: () => workedBytes,
  };
}

const from = (order: readonly string[], name: string): string[] =>
  order.filter((label) => label.startsWith(name));

describe("what waits", () => {
  it("of one connection is worked on in the order in which it came", async () => {
    const { peer, work, order, workedBytes } = anInbox();
    const a = peer("a", "sending");
    a.sends(3_000, 100);
    await work("sending");
    expect(order).toEqual(Array.from({ length: 3_000 }, (_, at) => `a${at}`));
    expect(workedBytes()).toBe(300_000);
  });

  it("takes turns by bytes: a full lane delays a short one by a turn at most", async () => {
    const { peer, work, order } = anInbox();
    const greedy = peer("g", "sending");
    const modest = peer("m", "sending");
    greedy.sends(1_000, 4_000);
    modest.sends(3, 1_000);
    await work("sending");
    expect(order.indexOf("m2")).toBeLessThan(12);
    expect(order).toHaveLength(1_003);
  });

  it("takes turns though one sends batches a hundred times as large", async () => {
    const { peer, work, order } = anInbox();
    peer("g", "sending").sends(10, 400 * KIB);
    peer("m", "sending").sends(100, 4 * KIB);
    await work("sending");
    // A large batch pays for the turns it took: 400 KiB of the other come before the next one.
    expect(from(order.slice(0, order.indexOf("g1")), "m").length).toBeGreaterThan(90);
  });
});

describe("under overload", () => {
  it("connections that only settle go before those that send, however much of that waits", async () => {
    const { peer, work, order } = anInbox();
    const senders = Array.from({ length: 20 }, (_, at) => peer(`s${at}-`, "sending"));
    for (const sender of senders) sender.sends(100, 4_000);
    const consumer = peer("ack", "settling");
    consumer.sends(50, 500);
    await work("sending", "settling");
    expect(order.slice(0, 50)).toEqual(Array.from({ length: 50 }, (_, at) => `ack${at}`));
  });

  it("sends still get an eighth of the work when settling never ends", async () => {
    const { peer, turn, order } = anInbox();
    peer("s", "sending").sends(1_000, 1_000);
    peer("ack", "settling").sends(4_000, 1_000);
    for (let turns = 0; turns < 8; turns++) await turn("sending", "settling");
    const sends = from(order, "s").length;
    expect(sends / order.length).toBeGreaterThan(0.1);
    expect(sends / order.length).toBeLessThan(0.2);
  });

  it("settling goes on while the open block is full for sends", async () => {
    const { peer, work, order } = anInbox();
    peer("s", "sending").sends(10, 1_000);
    peer("ack", "settling").sends(10, 1_000);
    await work("settling");
    expect(from(order, "ack")).toHaveLength(10);
    expect(from(order, "s")).toHaveLength(0);
    await work("sending");
    expect(from(order, "s")).toHaveLength(10);
  });

  it("the connection that fills the inbox most is stopped alone, told a smaller window, and read again", async () => {
    const { peer, work, inbox } = anInbox();
    const greedy = peer("g", "sending");
    const modest = peer("m", "sending");
    modest.sends(10, 10 * KIB);
    greedy.sends(100, 64 * KIB);
    expect([greedy.isPaused, modest.isPaused]).toEqual([true, false]);
    expect(greedy.windows.length).toBe(1);
    expect(greedy.windows[0]).toBeLessThan(2 * MIB);
    expect(modest.windows).toEqual([]);
    expect(inbox.paused).toBe(1);
    await work("sending");
    expect(greedy.isPaused).toBe(false);
    expect(inbox.paused).toBe(0);
    // Calm again: the window grows back as the lane runs empty.
    for (let round = 0; round < 8; round++) {
      greedy.sends(1, 1_000);
      await work("sending");
    }
    expect(greedy.windows.at(-1)).toBe(2 * MIB);
  });

  it("each of many connections may hold less, the more of them fill it", () => {
    const { peer } = anInbox();
    const held = (count: number): number => {
      const peers = Array.from({ length: count }, (_, at) => peer(`p${count}-${at}-`, "sending"));
      for (let round = 0; round < 400; round++)
        for (const one of peers) if (!one.isPaused) one.sends(1, 16 * KIB);
      return Math.max(...peers.map(({ lane }) => lane.bytes));
    };
    const alone = held(1);
    const crowded = held(20);
    expect(alone).toBeGreaterThan(2 * MIB);
    expect(crowded).toBeLessThan(alone / 2);
  });

  it("what waits is the share and one read of each connection at most, and nobody is stopped for good", async () => {
    const { peer, inbox, work } = anInbox({ sendingBytesMax: 4 * MIB });
    const senders = Array.from({ length: 300 }, (_, at) => peer(`s${at}-`, "sending"));
    const consumer = peer("c", "settling");
    for (let round = 0; round < 50; round++)
      for (const sender of senders) if (!sender.isPaused) sender.sends(1, 64 * KIB);
    expect(inbox.bytes("sending")).toBeLessThanOrEqual(4 * MIB + 66 * KIB);
    expect(senders.every(({ isPaused }) => isPaused)).toBe(true);
    // Another kind is another share.
    expect(consumer.isPaused).toBe(false);
    await work("sending");
    expect(senders.some(({ isPaused }) => isPaused)).toBe(false);
  });

  it("a connection that comes while the share is used up is not read from until there is room", async () => {
    const { peer, work } = anInbox({ sendingBytesMax: MIB });
    const first = peer("a", "sending");
    first.sends(2, 600 * KIB);
    const late = peer("b", "sending");
    expect(late.isPaused).toBe(true);
    await work("sending");
    expect(late.isPaused).toBe(false);
  });

  it("what a connection sent before it left is worked on, and it is paused no more", async () => {
    const { peer, work, order, inbox } = anInbox({ sendingBytesMax: MIB });
    const gone = peer("a", "sending");
    gone.sends(20, 64 * KIB);
    expect(inbox.paused).toBe(1);
    gone.lane.close();
    expect(inbox.paused).toBe(0);
    await work("sending");
    expect(order).toHaveLength(20);
    expect(inbox.bytes("sending")).toBe(0);
  });
});
