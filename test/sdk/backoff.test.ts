import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoffMs, REDIAL } from "../../protocol/src/client/backoff.ts";
import { bytesOf } from "../../protocol/src/client/frame-size.ts";
import { idSource } from "../../protocol/src/client/ids.ts";
import { encodeBatch } from "../../protocol/src/index.ts";

describe("a backoff", () => {
  it.each([
    [1, 0, 50],
    [1, 0.999999, 100],
    [2, 0, 100],
    [5, 0, 800],
    [8, 0.5, 7_500],
    [1_000_000, 0.999999, 10_000],
  ])("after failure %i with jitter %f waits %i ms", (attempt, random, ms) => {
    expect(backoffMs(REDIAL, attempt, random)).toBe(ms);
  });

  it("never shrinks with the attempt, for one and the same jitter", () => {
    const jitter = fc.double({ min: 0, max: 0.999, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), jitter, (attempt, random) => {
        expect(backoffMs(REDIAL, attempt + 1, random)).toBeGreaterThanOrEqual(
          backoffMs(REDIAL, attempt, random),
        );
      }),
    );
  });
});

describe("a frame's estimated size", () => {
  it("counts its messages in full, and is close enough that no batch exceeds its limits", () => {
    const tokens = fc.array(fc.string({ unit: "binary", maxLength: 16 }), { maxLength: 1_000 });
    const messages = fc.array(fc.uint8Array({ maxLength: 400 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(tokens, messages, fc.maxSafeNat(), (acks, encoded, id) => {
        const frame = {
          type: "prepare",
          id,
          transactionId: "a".repeat(64),
          group: "g".repeat(128),
          messages: encoded,
          acks,
        } as const;
        const estimate = bytesOf(frame);
        expect(estimate).toBeGreaterThan(encoded.reduce((total, { length }) => total + length, 0));
        expect(encodeBatch([frame]).length).toBeLessThan(estimate * 8);
      }),
    );
  });
});

describe("an id", () => {
  it("is 32 hex digits of the randomness it was given, new at each call", () => {
    let next = 0;
    const newId = idSource((bytes) => {
      for (let at = 0; at < bytes.length; at++) bytes[at] = next++ & 0xff;
    });
    expect(newId()).toBe("000102030405060708090a0b0c0d0e0f");
    expect(newId()).toBe("101112131415161718191a1b1c1d1e1f");
  });

  it("never repeats while its source does not", () => {
    const newId = idSource((bytes) => void globalThis.crypto.getRandomValues(bytes));
    const ids = new Set(Array.from({ length: 2_000 }, newId));
    expect(ids.size).toBe(2_000);
  });
});
