import { describe, expect, it } from "vitest";
import { CreditWindow } from "../../consumer-sdk/src/credit-window.ts";

const MIB = 1_048_576;

function windowOf(concurrency: number, bytesMax = 8 * MIB): CreditWindow {
  const window = new CreditWindow(bytesMax);
  window.serve(concurrency);
  return window;
}

/** Delivers, starts and finishes `count` small messages, each `waitedMs` after its arrival. */
function work(window: CreditWindow, count: number, nowMs: number, waitedMs = 0): void {
  for (let at = 0; at < count; at++) {
    window.delivered(10);
    window.started(nowMs, nowMs - waitedMs);
    window.finished(10);
  }
}

describe("a consumer's credit", () => {
  it("begins as twice the concurrency, and is granted once", () => {
    const window = windowOf(4);
    expect(window.grant()).toEqual({ messages: 8, bytes: 8 * MIB });
    expect(window.grant()).toBeNull();
  });

  it("is nothing while nobody reads", () => {
    expect(new CreditWindow(8 * MIB).grant()?.messages).toBe(0);
  });

  it("is not given back by a delivery, only by the end of its handler", () => {
    const window = windowOf(4);
    window.grant();
    for (let at = 0; at < 8; at++) window.delivered(10);
    expect(window.grant()).toBeNull();
    window.finished(10);
    expect(window.grant()).toBeNull();
    window.finished(10);
    expect(window.grant()).toEqual({ messages: 2, bytes: 20 });
  });

  it("is granted whole when nothing is held, so that any legal message fits", () => {
    const window = windowOf(4);
    window.grant();
    window.delivered(100);
    window.finished(100);
    expect(window.grant()).toEqual({ messages: 1, bytes: 100 });
  });

  it("counts bytes as well as messages", () => {
    const window = windowOf(64);
    window.grant();
    for (let at = 0; at < 8; at++) window.delivered(MIB);
    expect(window.grant()).toBeNull();
    window.finished(MIB);
    expect(window.grant()).toBeNull();
    window.finished(MIB);
    expect(window.grant()).toEqual({ messages: 2, bytes: 2 * MIB });
  });

  it("starts from nothing on a new connection, less what handlers still hold", () => {
    const window = windowOf(4);
    window.grant();
    window.delivered(10);
    window.connected();
    expect(window.grant()).toEqual({ messages: 7, bytes: 8 * MIB - 10 });
  });

  it("grows while it is used up in no time, to a maximum", () => {
    const window = windowOf(1);
    let nowMs = 10_000;
    let largest = 0;
    for (let round = 0; round < 100; round++) {
      const messages = window.grant()?.messages ?? 0;
      largest = Math.max(largest, messages);
      work(window, messages, nowMs);
      nowMs += 1;
    }
    expect(largest).toBe(8_192);
  });

  it("does not grow for a trickle", () => {
    const window = windowOf(1);
    for (let round = 0; round < 1_000; round++) {
      window.grant();
      work(window, 1, 10_000 + round * 60);
    }
    work(window, 2, 200_000);
    expect(window.grant()?.messages).toBeLessThanOrEqual(2);
  });

  it("goes back to twice the concurrency as soon as messages wait for a handler", () => {
    const window = windowOf(1);
    for (let round = 0; round < 20; round++)
      work(window, window.grant()?.messages ?? 0, 10_000 + round);
    work(window, 1, 20_000, 300);
    window.connected();
    expect(window.grant()?.messages).toBe(2);
  });
});
