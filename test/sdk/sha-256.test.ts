import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { sha256 } from "../../producer-sdk/src/sha-256.ts";

it("a hash is that of SHA-256, for a text of any length", () => {
  for (let length = 0; length < 200; length++) {
    const text = `${"abc é ".repeat(40)}`.slice(0, length);
    expect(sha256(text)).toBe(createHash("sha256").update(text).digest("hex"));
  }
});
