/**
 * Batches that went wrong on purpose: frames of every type, made from the frames' own tables, and changed where it
 * matters. Values, keys, counts, lengths, nesting and whole frames are replaced, doubled, left out or swapped;
 * sometimes only bytes. The same for the same seed.
 */
import fc from "fast-check";
import { encodeBatch } from "../../protocol/src/codec.ts";
import type { Fields } from "../../protocol/src/fields.ts";
import type { BrokerFrame } from "../../protocol/src/frames.ts";
import { valuesOf } from "../protocol/arbitraries.ts";
import { mutated, seeded } from "../protocol/mutants.ts";
import { hostileValue, soundValue } from "./fuzz-values.ts";
import { type Token, tokensOf } from "./msgpack-tokens.ts";

interface Sample {
  readonly bytes: Buffer;
  readonly tokens: readonly Token[];
}

interface Edit {
  readonly at: number;
  readonly end: number;
  readonly by: Uint8Array;
}

export interface FuzzedBatch {
  readonly data: Buffer;
  readonly frames: number;
}

const SAMPLES_PER_TYPE = 12;
const FRAMES_MAX = 6;
const FIXARRAY = 0x90;

export class FrameFuzzer {
  readonly #random: (max: number) => number;
  readonly #samples: readonly Sample[];

  /** `also`: frames that the tables cannot make, messages that are messages for one. */
  constructor(seed: number, table: Record<string, Fields>, also: readonly object[] = []) {
    this.#random = seeded(seed);
    const made = Object.entries(table).flatMap(([type, fields], index) =>
      fc
        .sample(valuesOf(fields), { numRuns: SAMPLES_PER_TYPE, seed: seed + index })
        .map((values) => ({ type, ...values })),
    );
    this.#samples = [...made, ...also].map(sampleOf);
  }

  /** A number below `max`, for those who decide what becomes of the batch. */
  random(max: number): number {
    return this.#random(max);
  }

  batch(): FuzzedBatch {
    const frames = 1 + this.#random(FRAMES_MAX);
    // Whose MessagePack is sound: what is wrong with them is for the fields and the states to find.
    if (this.#random(2) === 0) return { data: this.#sound(frames), frames };
    const parts: Uint8Array[] = [this.#header(frames)];
    for (let frame = 0; frame < frames; frame++) {
      const again = parts.at(-1);
      // The same frame twice: the same id, the same sendId.
      if (frame > 0 && again !== undefined && this.#random(8) === 0) parts.push(again);
      else parts.push(this.#frame());
    }
    if (this.#random(50) === 0) parts.push(hostileValue(this.#random));
    const data = Buffer.concat(parts);
    return {
      data: this.#random(12) === 0 ? Buffer.from(mutated(data, this.#random)) : data,
      frames,
    };
  }

  #sound(frames: number): Buffer {
    const parts: Uint8Array[] = [Uint8Array.of(FIXARRAY + frames)];
    for (let frame = 0; frame < frames; frame++) {
      const { bytes, tokens } = this.#sample();
      const values = tokens.filter(({ isKey }) => !isKey);
      const isChanged = this.#random(3) === 0;
      const { at, end } = this.#one(values);
      const by = this.#random(2) === 0 ? soundValue(this.#random) : this.#anyValue();
      parts.push(isChanged ? applied(bytes, [{ at, end, by }]) : bytes);
    }
    return Buffer.concat(parts);
  }

  #header(frames: number): Uint8Array {
    const kind = this.#random(60);
    if (kind === 0) return hostileValue(this.#random);
    return Uint8Array.of(FIXARRAY + ((kind === 1 ? frames + 1 + this.#random(3) : frames) & 15));
  }

  #frame(): Uint8Array {
    const sample = this.#sample();
    if (this.#random(6) === 0) return sample.bytes;
    const edits: Edit[] = [];
    for (let count = this.#random(3); count >= 0; count--) edits.push(this.#edit(sample));
    return applied(sample.bytes, edits);
  }

  #edit({ bytes, tokens }: Sample): Edit {
    const token = this.#one(tokens);
    const other = this.#one(tokens);
    const { at, bodyAt, end } = token;
    const whole = bytes.subarray(at, end);
    switch (this.#random(9)) {
      case 0: // Another value of the same frame in its place.
        return { at, end, by: bytes.subarray(other.at, other.end) };
      case 1: // A value, or a key, of another frame.
        return { at, end, by: this.#anyValue() };
      case 2: // Twice.
        return { at: end, end, by: whole };
      case 3: // Not at all.
        return { at, end, by: NOTHING };
      case 4: // Its length or count is a lie.
        return { at, end: bodyAt, by: this.#liar() };
      case 5: // Deeper than it was.
        return { at, end, by: Buffer.concat([Buffer.alloc(1 + this.#random(20), 0x91), whole]) };
      case 6: {
        const changed = Buffer.from(whole);
        changed[this.#random(changed.length)] = this.#random(256);
        return { at, end, by: changed };
      }
      default:
        return { at, end, by: hostileValue(this.#random) };
    }
  }

  #anyValue(): Uint8Array {
    const { bytes, tokens } = this.#sample();
    const { at, end } = this.#one(tokens);
    return bytes.subarray(at, end);
  }

  #liar(): Uint8Array {
    const value = hostileValue(this.#random);
    return value.subarray(0, Math.min(value.length, 1 + this.#random(5)));
  }

  #sample(): Sample {
    return this.#one(this.#samples);
  }

  #one<T>(items: readonly T[]): T {
    const item = items[this.#random(items.length)];
    if (item === undefined) throw new Error("there is something to choose from");
    return item;
  }
}

const NOTHING = new Uint8Array(0);

function sampleOf(frame: object): Sample {
  // Without the batch around it.
  const bytes = Buffer.from(encodeBatch([frame as BrokerFrame]).subarray(1));
  return { bytes, tokens: tokensOf(bytes) };
}

function applied(bytes: Buffer, edits: readonly Edit[]): Buffer {
  const parts: Uint8Array[] = [];
  let done = 0;
  for (const { at, end, by } of [...edits].sort((one, other) => one.at - other.at)) {
    if (at < done) continue;
    parts.push(bytes.subarray(done, at), by);
    done = end;
  }
  parts.push(bytes.subarray(done));
  return Buffer.concat(parts);
}
