/**
 * What an operator found, judged in the end by what is in the log: nothing that does not match, all that does, where
 * it stands (Q3). What was damaged or retired meanwhile is said to be so.
 */
import type { ClientFrames, FindView } from "@escrowmq/protocol";
import type { SaidMessage } from "../history/history.ts";
import type { Ledger } from "./ledger.ts";
import type { LedgerTopic } from "./ledger-facts.ts";
import { demand } from "./violation.ts";

export type Wanted = Pick<
  ClientFrames["message.find"],
  "messageId" | "key" | "tag" | "sinceMs" | "beforeMs"
>;

export interface Find {
  readonly topic: string;
  readonly wanted: Wanted;
  readonly view: FindView;
}

/** What is known of a place: which message it is. */
type MessageOf = (topic: LedgerTopic, offset: number) => SaidMessage | undefined;

export function demandFound(
  { topic: name, wanted, view }: Find,
  ledger: Ledger,
  messageOf: MessageOf,
): void {
  const topic = ledger.topic(ledger.topicNos.get(name) ?? 0);
  const found = new Map(view.items.map((item) => [item.offset, item]));
  const isThere = view.fromOffset <= view.toOffset && view.toOffset <= view.endOffset;
  demand(isThere, "Q3", () => `a find looked from ${view.fromOffset} to ${view.toOffset}`);
  let missing = 0;
  for (let offset = view.fromOffset; offset < view.toOffset; offset++) {
    const message = messageOf(topic, offset);
    const item = found.get(offset);
    found.delete(offset);
    const isWanted =
      message !== undefined && isMatch(message, wanted) && isInTime(topic, offset, wanted);
    demand(
      item === undefined || isWanted,
      "Q3",
      () => `${name}/${offset} is found, and was not meant`,
    );
    demand(
      item === undefined || item.id === message?.id,
      "Q3",
      () => `${name}/${offset} is ${message?.id}, and found as ${item?.id}`,
    );
    if (isWanted && item === undefined && !view.unreadable.includes(offset)) missing++;
  }
  demand(found.size === 0, "Q3", () => `${name}/${[...found.keys()]} was not looked at`);
  demand(missing <= view.retired, "Q3", () => `of ${name} a find leaves out ${missing}`);
}

const isMatch = (message: SaidMessage, { messageId, key, tag }: Wanted): boolean =>
  (messageId === undefined || message.id === messageId) &&
  (key === undefined || message.key === key) &&
  (tag === undefined || message.tag === tag);

function isInTime({ atMs }: LedgerTopic, offset: number, { sinceMs, beforeMs }: Wanted): boolean {
  const at = atMs[offset] ?? 0;
  return at >= (sinceMs ?? 0) && at < (beforeMs ?? Number.POSITIVE_INFINITY);
}
