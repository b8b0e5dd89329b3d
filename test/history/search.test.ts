/** The search for an order: of a register that is written and read. */
import { describe, expect, it } from "vitest";
import type { Operation } from "./history.ts";
import { type Machine, unexplained } from "./search.ts";

interface Access extends Operation {
  readonly name: string;
  readonly kind: "write" | "read";
  readonly value: number;
}

const REGISTER: Machine<Access, number> = {
  start: 0,
  next: (state, { kind, value }) => (kind === "write" ? [value] : state === value ? [state] : []),
  textOf: String,
};

/** `write 1 @2-5`, `read 1 @3-`: without an end nobody knows whether it happened. */
function access(text: string): Access {
  const [, kind, value, invokedAt, endedAt] = /^(\w+) (\d+) @(\d+)-(\d*)$/.exec(text) ?? [];
  return {
    name: text,
    kind: kind === "write" ? "write" : "read",
    value: Number(value),
    invokedAt: Number(invokedAt),
    endedAt: endedAt === "" ? Number.POSITIVE_INFINITY : Number(endedAt),
    outcome: endedAt === "" ? "info" : "ok",
  };
}

const culprit = (...texts: string[]): string | null =>
  unexplained(REGISTER, texts.map(access))?.name ?? null;

describe("a search for an order that explains everything", () => {
  it("finds one for operations one after the other", () => {
    expect(culprit("write 1 @1-2", "read 1 @3-4", "write 2 @5-6", "read 2 @7-8")).toBeNull();
  });

  it("lets operations at the same time take effect in any order", () => {
    expect(culprit("write 1 @1-9", "write 2 @2-8", "read 1 @10-11")).toBeNull();
    expect(culprit("write 1 @1-9", "write 2 @2-8", "read 2 @10-11")).toBeNull();
    expect(culprit("write 1 @1-9", "read 1 @2-3", "read 1 @4-5")).toBeNull();
  });

  it("does not let time go back", () => {
    expect(culprit("write 1 @1-2", "write 2 @3-4", "read 1 @5-6")).toBe("read 1 @5-6");
    expect(culprit("write 1 @1-9", "read 1 @2-3", "read 0 @4-5")).toBe("read 0 @4-5");
  });

  it("lets what nobody knows of happen late, or never", () => {
    expect(culprit("write 1 @1-", "read 0 @2-3")).toBeNull();
    expect(culprit("write 1 @1-", "read 0 @2-3", "read 1 @4-5")).toBeNull();
  });

  it("does not take back what was seen once", () => {
    expect(culprit("write 1 @1-", "read 1 @2-3", "read 0 @4-5")).toBe("read 0 @4-5");
  });

  it("lets nothing happen before it was asked for", () => {
    expect(culprit("read 1 @1-2", "write 1 @3-4")).toBe("read 1 @1-2");
    expect(culprit("read 1 @1-2", "write 1 @3-")).toBe("read 1 @1-2");
  });

  it("blames what came first of what cannot be explained", () => {
    expect(culprit("write 1 @1-2", "read 5 @3-4", "read 6 @5-6")).toBe("read 5 @3-4");
  });
});
