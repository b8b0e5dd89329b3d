/**
 * What a trace carries from one answer to the next, as text: block,part,part,… It is the client's to give back, and
 * so may be anything: it is read as what it says, and at worst tells a wrong story of the same message.
 */

export interface Thread {
  /** The transaction that is to bring the message. */
  readonly transactionId: string | null;
  /** Checks of it that counted. */
  readonly checks: number;
  /** Acks that joined transactions. */
  readonly joins: readonly { readonly cursorNo: number; readonly transactionId: string }[];
  /** Where it stands among dead letters, and whose. */
  readonly deadLetters: readonly {
    readonly topicNo: number;
    readonly offset: number;
    readonly cursorNo: number;
  }[];
  /** Where it waits for its time; null: it is visible by now. */
  readonly place: { readonly block: number; readonly slot: number } | null;
  /** Cursors that have looked at it, or were given it. */
  readonly given: ReadonlySet<number>;
  /** Cursors that have it in hand. */
  readonly leased: ReadonlySet<number>;
  /** By cursor: the block in which its group settled the message last. */
  readonly settled: ReadonlyMap<number, number>;
}

export const newThread = (): Thread => ({
  transactionId: null,
  checks: 0,
  joins: [],
  deadLetters: [],
  place: null,
  given: new Set(),
  leased: new Set(),
  settled: new Map(),
});

/** As much as fits; what is last only saves reading. */
export function threadText(block: number, thread: Thread, bytesMax: number): string {
  const { transactionId, checks, joins, deadLetters, place, given, leased, settled } = thread;
  const parts = [
    ...(transactionId === null ? [] : [`t:${transactionId}`, `c:${checks}`]),
    ...(place === null ? [] : [`p:${place.block}:${place.slot}`]),
    ...joins.map((one) => `j:${one.cursorNo}:${one.transactionId}`),
    ...deadLetters.map((one) => `d:${one.topicNo}:${one.offset}:${one.cursorNo}`),
    ...[...leased].map((cursorNo) => `l:${cursorNo}`),
    ...[...given]
      .filter((cursorNo) => !leased.has(cursorNo) && !settled.has(cursorNo))
      .map((cursorNo) => `n:${cursorNo}`),
    ...[...settled].map(([cursorNo, at]) => `s:${cursorNo}:${at}`),
  ];
  let text = String(block);
  for (const part of parts) if (text.length + part.length < bytesMax) text += `,${part}`;
  return text;
}

/** Null: it is no such text. */
export function readThread(
  text: string,
): { readonly block: number; readonly thread: Thread } | null {
  const [block = "", ...parts] = text.split(",");
  if (!/^\d{1,15}$/.test(block)) return null;
  const leased = new Set<number>();
  const settled = new Map<number, number>();
  const given = new Set<number>();
  let thread: Thread = { ...newThread(), leased, settled, given };
  for (const part of parts) {
    const [kind, first = "", second = "", third = ""] = part.split(":");
    const no = Number(first) || 0;
    if (kind === "t") thread = { ...thread, transactionId: first };
    if (kind === "c") thread = { ...thread, checks: no };
    if (kind === "j")
      thread = { ...thread, joins: [...thread.joins, { cursorNo: no, transactionId: second }] };
    if (kind === "d") {
      const letter = { topicNo: no, offset: Number(second) || 0, cursorNo: Number(third) || 0 };
      thread = { ...thread, deadLetters: [...thread.deadLetters, letter] };
    }
    if (kind === "p") thread = { ...thread, place: { block: no, slot: Number(second) || 0 } };
    if (kind === "l") leased.add(no);
    if (kind === "n") given.add(no);
    if (kind === "s") settled.set(no, Number(second) || 0);
  }
  return { block: Number(block), thread };
}
