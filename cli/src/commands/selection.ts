/**
 * Which dead letters of a group an operator means. All pages are read before anything changes, since
 * replaying while paging would move what the next page shows. Only offset and size are kept of each.
 */
import { type DeadLetterView, LIMITS } from "@escrowmq/protocol";
import type { Pair } from "../parse.ts";
import type { Session } from "../session.ts";

export interface Choice {
  /** `reason` contains, `topic` is; all must match. */
  readonly match: readonly Pair[];
  /** Empty: any offset. */
  readonly offsets: ReadonlySet<number>;
}

export interface Chosen {
  readonly letters: readonly { readonly offset: number; readonly bytes: number }[];
  /** Offsets that were asked for and hold no dead letter. */
  readonly missing: readonly number[];
  /** The first few, for people. */
  readonly sample: readonly DeadLetterView[];
}

const SAMPLE_ITEMS_MAX = 20;

export async function choose(session: Session, group: string, choice: Choice): Promise<Chosen> {
  const letters: { offset: number; bytes: number }[] = [];
  const sample: DeadLetterView[] = [];
  const missing = new Set(choice.offsets);
  for await (const letter of allOf(session, group)) {
    missing.delete(letter.offset);
    if (!isChosen(letter, choice)) continue;
    letters.push({ offset: letter.offset, bytes: letter.bytes });
    if (sample.length < SAMPLE_ITEMS_MAX) sample.push(letter);
  }
  return { letters, missing: [...missing], sample };
}

async function* allOf(session: Session, group: string): AsyncGenerator<DeadLetterView> {
  let after: string | undefined;
  do {
    const page = await session.request("dlq.list", {
      group,
      limit: LIMITS.pageItemsMax,
      ...(after === undefined ? {} : { after }),
    });
    yield* page.items;
    after = page.next;
  } while (after !== undefined);
}

function isChosen(letter: DeadLetterView, { match, offsets }: Choice): boolean {
  if (offsets.size > 0 && !offsets.has(letter.offset)) return false;
  return match.every(({ name, value }) =>
    name === "topic"
      ? letter.topic === value
      : letter.reason.toLowerCase().includes(value.toLowerCase()),
  );
}
