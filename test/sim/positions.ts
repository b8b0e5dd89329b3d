/**
 * Where a group begins to read, and where an operator takes it: by the ledger's own reading of what a position
 * means (PROTOCOL.md, subscribe and group.reset).
 */
import type { BrokerFrames, ClientFrames, ResetView, TopicResetView } from "@escrowmq/protocol";
import type { RecordOf } from "../../broker/src/core/records.ts";
import type { Ledger } from "./ledger.ts";
import { isLive, type LedgerTopic } from "./ledger-facts.ts";
import { demand } from "./violation.ts";

type Position = Pick<ClientFrames["group.reset"], "from" | "at">;
/** The request of the step, if its input is one. */
type Asked = { readonly type: string } | null;

const isOf = <Type extends keyof ClientFrames>(
  asked: Asked,
  type: Type,
): asked is ClientFrames[Type] => asked?.type === type;

/** D19: a group begins where its first consumer says; an instance that does not say, at the end. */
export function demandOpened(record: RecordOf<"cursorOpened">, asked: Asked, ledger: Ledger): void {
  const { topicNo, groupNo, nextOffset } = record;
  const topic = ledger.topic(topicNo);
  const start = isOf(asked, "subscribe")
    ? asked.topics.find((one) => one.topic === topic.name)
    : undefined;
  demand(start !== undefined, "D19", () => `a group reads ${topic.name}, and nobody asked for it`);
  const from = start.from ?? (ledger.group(groupNo).instance === null ? "earliest" : "latest");
  demandThere(topic, { ...start, from }, nextOffset);
}

/** D19: a group is taken where its operator says, and by no dry run. */
export function demandReset(record: RecordOf<"cursorReset">, asked: Asked, ledger: Ledger): void {
  const topic = ledger.topic(ledger.cursor(record.cursorNo).topicNo);
  const isAsked =
    isOf(asked, "group.reset") &&
    asked.dryRun !== true &&
    (asked.topic ?? topic.name) === topic.name;
  demand(isAsked, "D19", () => `a group is taken back in ${topic.name} by nobody`);
  demandThere(topic, asked, record.nextOffset);
}

/** What a dry run says is what would happen. */
export function demandResetView(
  frame: ClientFrames["group.reset"],
  reply: BrokerFrames["ok"] | BrokerFrames["error"],
  ledger: Ledger,
): void {
  if (reply.type === "error") return;
  const { topics } = reply.value as ResetView;
  for (const view of topics) {
    const topic = ledger.topic(ledger.topicNos.get(view.topic) ?? 0);
    demandThere(topic, frame, view.toOffset);
    if (frame.dryRun === true) demandCounts(ledger, topic, frame.group, view);
  }
}

function demandThere(topic: LedgerTopic, position: Position, offset: number): void {
  const wanted = offsetOf(topic, position);
  demand(
    wanted === offset,
    "D19",
    () => `${position.from} ${position.at ?? ""} of ${topic.name} is ${wanted}, not ${offset}`,
  );
}

function offsetOf({ firstOffset, places, atMs }: LedgerTopic, { from, at = 0 }: Position): number {
  const end = places.length;
  switch (from) {
    case undefined:
    case "earliest":
      return firstOffset;
    case "latest":
      return end;
    case "offset":
      return at < firstOffset ? firstOffset : at > end ? end : at;
    case "time": {
      let offset = firstOffset;
      while (offset < end && (atMs[offset] ?? 0) < at) offset++;
      return offset;
    }
  }
}

/** With a filter it is not known without reading what matches; then they are the most that can be. */
function demandCounts(
  ledger: Ledger,
  topic: LedgerTopic,
  group: string,
  { toOffset, redelivered, skipped }: TopicResetView,
): void {
  const cursor = ledger.cursorOf(group, topic.no);
  if (cursor === undefined) return;
  let again = 0;
  let over = [...cursor.entries.keys()].filter((offset) => offset < toOffset).length;
  for (let offset = topic.firstOffset; offset < topic.places.length; offset++) {
    if (!isLive(topic, offset) || cursor.entries.has(offset)) continue;
    if (offset >= toOffset && offset < cursor.nextOffset) again++;
    if (offset < toOffset && offset >= cursor.nextOffset) over++;
  }
  demand(
    redelivered === again && skipped === over,
    "D19",
    () => `a dry run says ${redelivered} and ${skipped}; ${again} come again, ${over} do not come`,
  );
}
