/** The one error class: told by its brand and its code, across copies of the package. */
import { describe, expect, test, vi } from "vitest";
import { ERROR_TABLE, EscrowError, isErrorCode } from "../../protocol/src/errors.ts";

describe("EscrowError.is", () => {
  test("knows the errors of another copy of the package, which instanceof does not", async () => {
    vi.resetModules();
    const copy = await import("../../protocol/src/errors.ts");
    const foreign = new copy.EscrowError("TX_NOT_FOUND");
    expect(foreign).not.toBeInstanceOf(EscrowError);
    expect(EscrowError.is(foreign)).toBe(true);
    expect(EscrowError.is(foreign, "TX_NOT_FOUND")).toBe(true);
    expect(EscrowError.is(foreign, "TX_CONFLICT")).toBe(false);
  });

  test.each([null, undefined, "BAD_FRAME", 1, {}, { code: "BAD_FRAME" }, new Error("BAD_FRAME")])(
    "is false for %s",
    (value) => expect(EscrowError.is(value)).toBe(false),
  );
});

describe("an error", () => {
  test("says what its code means unless it is told better", () => {
    expect(new EscrowError("TX_NOT_FOUND").message).toBe(ERROR_TABLE.TX_NOT_FOUND.meaning);
    expect(new EscrowError("TX_NOT_FOUND", "Not here.").message).toBe("Not here.");
  });

  test("carries cause and detail only if there are any", () => {
    const cause = new Error("inner");
    const error = new EscrowError("OVERLOADED", undefined, { cause, detail: { waiting: 3 } });
    expect([error.cause, error.detail, error.retriable]).toEqual([cause, { waiting: 3 }, true]);
    expect("cause" in new EscrowError("OVERLOADED")).toBe(false);
  });
});

test("no inherited name is an error code", () => {
  expect(isErrorCode("BAD_FRAME")).toBe(true);
  for (const name of ["constructor", "__proto__", "toString", ""])
    expect(isErrorCode(name)).toBe(false);
});

test("no code that ends the connection claims that the request may be sent again", () => {
  for (const kind of Object.values(ERROR_TABLE))
    expect(kind.closes && kind.isRetriable).toBe(false);
});
