/** MessagePack values that a decoder may stumble over, most of them small; large ones come seldom. */
import { Packr } from "msgpackr";
import { preScan } from "../../protocol/src/pre-scan.ts";

const plain = new Packr({ useRecords: false, variableMapSize: true });
const sharing = new Packr({ useRecords: false, structuredClone: true, moreTypes: true });
const records = new Packr({ useRecords: true });

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
const nested = (tag: string, levels: number, end: string): Buffer => hex(tag.repeat(levels) + end);

/** Each level holds the one below twice, by reference. */
function sharedGraph(levels: number): Buffer {
  let graph: unknown[] = [1];
  for (let level = 0; level < levels; level++) graph = [graph, graph];
  return Buffer.from(sharing.pack(graph));
}

const SMALL: readonly Buffer[] = [
  // Extension types: shared references, records, big integers, dates, the undefined of others, unknown ones.
  hex("d4 00 00"),
  hex("d4 72 40"),
  hex("d5 69 00 01"),
  hex("d6 70 00 00 00 01"),
  hex("d6 ff 00 00 00 00"),
  hex("d7 ff 00 00 00 00 00 00 00 00"),
  hex(`d8 42 ${"ff".repeat(16)}`),
  hex("c7 02 42 01 01"),
  hex("c7 00 78"),
  hex("c8 ff ff 65"),
  hex("c9 ff ff ff ff 73"),
  Buffer.from(sharing.pack(/(a+)+$/)),
  Buffer.from(sharing.pack(new Error("x"))),
  Buffer.from(sharing.pack(new Map([[1, 2]]))),
  Buffer.from(records.pack({ admin: true })),
  sharedGraph(12),
  sharedGraph(26),
  hex("c1"),
  // Counts and lengths that nothing pays for.
  hex("dd ff ff ff ff"),
  hex("df ff ff ff ff"),
  hex("db ff ff ff ff"),
  hex("c6 ff ff ff ff"),
  hex("dd 00 01 00 01"),
  hex("dc ff ff"),
  hex("de ff ff"),
  hex("da ff ff"),
  hex("c5 ff ff"),
  hex("9f"),
  hex("8f"),
  // Nesting.
  nested("91", 15, "c0"),
  nested("91", 17, "c0"),
  nested("91", 400, "90"),
  nested("81a161", 14, "c0"),
  nested("81a161", 60, "80"),
  // Numbers.
  ...[0, 1, -1, 127, 128, 2 ** 31, 2 ** 32, 2 ** 53 - 1, -(2 ** 53 - 1), 0.5, -0, 1e308].map(
    (number) => Buffer.from(plain.pack(number)),
  ),
  ...[Number.NaN, Number.POSITIVE_INFINITY].map((number) => Buffer.from(plain.pack(number))),
  hex("cf 00 20 00 00 00 00 00 00"),
  hex("cf ff ff ff ff ff ff ff ff"),
  hex("d3 80 00 00 00 00 00 00 00"),
  hex("cb 41 d0 00 00 00 00 00 00"),
  // Text: none, prototypes, paths, other people's names, what UTF-8 forbids.
  ...["", "__proto__", "constructor", "type", "id", "hello", "send", "\0", "../../etc/passwd"].map(
    (text) => Buffer.from(plain.pack(text)),
  ),
  ...["%DLQ%", "%DLQ%g", "\u202e", "🂡".repeat(30), "a".repeat(300)].map((text) =>
    Buffer.from(plain.pack(text)),
  ),
  hex("a1 80"),
  hex("a2 c0 af"),
  hex("a3 ed a0 80"),
  hex("a4 f4 90 80 80"),
  // The rest.
  hex("c0"),
  hex("c2"),
  hex("c3"),
  hex("80"),
  hex("90"),
  hex("c4 00"),
  hex("c4 01 00"),
  hex("82 a1 61 01 a1 61 02"),
  hex("81 01 01"),
];

const LARGE: readonly Buffer[] = [
  Buffer.from(plain.pack("a".repeat(65_536))),
  Buffer.from(plain.pack("é".repeat(32_769))),
  Buffer.from(plain.pack(Buffer.alloc(70_000, 1))),
  Buffer.from(plain.pack(Array.from({ length: 65_000 }, () => 1))),
  Buffer.from(plain.pack(Array.from({ length: 30_000 }, () => []))),
  Buffer.from(plain.pack(Array.from({ length: 4_000 }, (_, at) => ({ [`k${at}`]: at })))),
  Buffer.from(
    plain.pack(Object.fromEntries(Array.from({ length: 128 }, (_, at) => [keyOf(at), 1]))),
  ),
];

/** As long as a key may be, and different from its like in the last bytes only. */
function keyOf(at: number): string {
  return `${"k".repeat(8_000)}${at}`;
}

/** Those that a strict decoder takes: it is the fields that refuse them. */
const SOUND = SMALL.filter((value) => preScan(value) === null);

const LARGE_ONE_IN = 2_000;

export function hostileValue(random: (max: number) => number): Buffer {
  const all = random(LARGE_ONE_IN) === 0 ? LARGE : SMALL;
  return all[random(all.length)] ?? Buffer.alloc(0);
}

export function soundValue(random: (max: number) => number): Buffer {
  return SOUND[random(SOUND.length)] ?? Buffer.alloc(0);
}
