/**
 * Filters from the reference of the filter language, and headers that they have to do with: what such a filter
 * means is told by the reference, never by the broker's own code. The same ones in every process.
 */
import fc from "fast-check";
import type { MessageHead } from "../../broker/src/filter/filter.ts";
import { heads, textOf, trees, verdictOf } from "../filter/trees.ts";
import type { SaidMessage, Wants } from "../history/history.ts";

const SEED = 7;
/** Of headers; many filters say nothing of most of them, and those are not used. */
const HEADERS = 300;
const TREES = 1_500;
/** Messages are small here, for the sake of credit in bytes. */
const HEADERS_BYTES_MAX = 60;

const bytesOf = (headers: object): number => Buffer.byteLength(JSON.stringify(headers));

export const REFERENCE_HEADERS: readonly Readonly<Record<string, string>>[] = fc
  .sample(heads, { numRuns: HEADERS, seed: SEED })
  .map(({ headers = {} }) => headers as Readonly<Record<string, string>>)
  .filter((headers) => bytesOf(headers) <= HEADERS_BYTES_MAX);

const wantsOf =
  (tree: Parameters<typeof verdictOf>[0]): Wants =>
  (message: SaidMessage) =>
    verdictOf(tree, message as MessageHead) === true;

/** Those that let some pass, and not all. */
export const REFERENCE_FILTERS: readonly { readonly text: string; readonly wants: Wants }[] = fc
  .sample(trees, { numRuns: TREES, seed: SEED })
  .map((tree) => ({ text: textOf(tree), wants: wantsOf(tree) }))
  .filter(({ wants }) => {
    const some = REFERENCE_HEADERS.filter((headers) =>
      wants({ id: "m", topic: "orders", digest: 0, tag: "red", key: "ann", headers }),
    );
    const share = some.length / REFERENCE_HEADERS.length;
    return share > 0.1 && share < 0.9;
  });
