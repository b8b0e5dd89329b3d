/** Values that a field accepts, made from the field itself, so that a new frame is covered without a new test. */
import fc from "fast-check";
import type { Field, Fields } from "../../protocol/src/fields.ts";
import { MESSAGE_FIELDS } from "../../protocol/src/message.ts";

const unicode = (bytesMax: number) =>
  fc.string({ unit: "binary", maxLength: Math.min(40, Math.floor(bytesMax / 4)) });

const printable = fc
  .string({ unit: "binary", minLength: 1, maxLength: 30 })
  .map((text) => `${text.replaceAll(/\p{Cc}/gu, "")}é`);

const letters = (min: number, max: number) =>
  fc
    .array(fc.constantFrom(..."ABCxyz019_-"), { minLength: min, maxLength: max })
    .map((characters) => `a${characters.join("")}`);

/** What each `says` of a plain field allows. A field that nothing here fits fails the test that uses it. */
const PLAIN: readonly [RegExp, (bounds: readonly number[]) => fc.Arbitrary<unknown>][] = [
  [/^an integer from (\d+) to (\d+)$/, ([min = 0, max = 0]) => fc.integer({ min, max })],
  [/^text of at most (\d+) bytes$/, ([max = 0]) => unicode(max)],
  [/^text of at most (\d+) characters$/, ([max = 0]) => unicode(max)],
  [/^at most (\d+) bytes$/, () => fc.uint8Array({ maxLength: 64 })],
  [/^a name$/, () => letters(0, 20)],
  [/^a key of 1 to/, () => printable],
  [/^a tag of 1 to/, () => printable.map((text) => `t${text.replaceAll("|", "")}t`)],
  [
    /^a reader name$/,
    () =>
      fc.oneof(
        letters(0, 20),
        fc.tuple(letters(0, 20), letters(0, 20)).map((two) => two.join("%")),
      ),
  ],
  [
    /^a topic name$/,
    () =>
      fc.oneof(
        letters(0, 20),
        letters(0, 20).map((name) => `%DLQ%${name}`),
      ),
  ],
  [/^a message id$/, () => letters(0, 63)],
  [/^a transaction id/, () => letters(21, 63)],
  [/^true or false$/, () => fc.boolean()],
  [/^plain data$/, () => plainData],
  [
    /^a map of header names to text$/,
    () => fc.dictionary(letters(0, 8), unicode(40), { maxKeys: 5 }),
  ],
];

const plainData = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }).filter((number) => !Object.is(number, -0)),
    unicode(40),
    fc.uint8Array({ maxLength: 8 }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(letters(0, 8), tie("value"), { maxKeys: 4 }),
  ),
})).value;

export function accepted(field: Field<unknown>): fc.Arbitrary<unknown> {
  if (field.fields !== undefined) return valuesOf(field.fields);
  if (field.item !== undefined) {
    const [, min = "0", max = "0"] = /^a list of (\d+) to (\d+)/.exec(field.says) ?? [];
    return fc.array(accepted(field.item), {
      minLength: Number(min),
      maxLength: Math.min(Number(max), Number(min) + 3),
    });
  }
  const words = [...field.says.matchAll(/"([^"]+)"/g)].map(([, word]) => word);
  if (words.length > 0) return fc.constantFrom(...words);
  for (const [pattern, make] of PLAIN) {
    const match = pattern.exec(field.says);
    if (match !== null) return make(match.slice(1).map(Number));
  }
  throw new Error(`No values are known for "${field.says}".`);
}

/** Maps that `fields` accept; what is optional is sometimes left out. */
export function valuesOf(fields: Fields): fc.Arbitrary<Record<string, unknown>> {
  const names = Object.keys(fields);
  const model = Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, accepted(field)]),
  );
  const requiredKeys = names.filter((name) => fields[name]?.isOptional === false);
  return fc.record(model, { requiredKeys });
}

/** Messages that the encoder takes: of two fields that exclude each other one. */
export const messageValues = valuesOf(MESSAGE_FIELDS).map(({ deliverAtMs, ...values }) =>
  deliverAtMs === undefined || values.delayMs !== undefined ? values : { ...values, deliverAtMs },
);

/** Values of every kind that MessagePack can say, to be offered to a field that wants another. */
export const EVERY_KIND: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 53,
  "",
  "text with spaces",
  new Uint8Array(3),
  [],
  [null],
  {},
  { text: 1 },
];
