/** The requests that only ask: they change nothing, and what they are answered may be far larger than they are. */
import type { ClientFrameType } from "@escrowmq/protocol";

export const QUERIES = [
  "topic.list",
  "topic.describe",
  "group.list",
  "group.describe",
  "producer.list",
  "tx.list",
  "tx.show",
  "message.show",
  "message.find",
  "message.trace",
  "dlq.list",
  "dlq.show",
  "stats",
  "doctor",
] as const satisfies readonly ClientFrameType[];
