/** `escrow message trace`: what became of one message, from the log. */
import type { MessageTrace } from "@escrowmq/protocol";
import { safe } from "../escape.ts";
import { eventLines } from "../event-lines.ts";
import { EXIT } from "../failure.ts";
import { offsetOf } from "../parse.ts";
import type { Printer } from "../print.ts";
import type { Session } from "../session.ts";
import { stopOnSignal } from "../stop.ts";
import type { Verb } from "../verb.ts";

export const messageTrace: Verb = {
  examples: ["escrow message trace orders 17", "escrow message trace %DLQ%billing 3 --json"],
  run: async (session, _options, topic, offset) => {
    const trace = await wholeTrace(session, topic, offsetOf(offset, "escrow message find"));
    session.print.answer(trace, story(session.print, trace));
    return trace.next === undefined ? undefined : EXIT.interrupted;
  },
};

/** One request reads some thousands of blocks: it is asked again until nothing more can follow. */
async function wholeTrace(session: Session, topic: string, offset: number): Promise<MessageTrace> {
  const stop = stopOnSignal(session.io);
  let trace = await session.request("message.trace", { topic, offset });
  const progress = session.io.startProgress("blocks", trace.blocks + trace.blocksLeft);
  try {
    while (trace.next !== undefined && !stop.signal.aborted) {
      progress.update(trace.blocks, trace.blocks + trace.blocksLeft);
      const after = trace.next;
      trace = joined(trace, await session.request("message.trace", { topic, offset, after }));
    }
  } finally {
    progress.stop();
    stop.unlisten();
  }
  return trace;
}

function joined(before: MessageTrace, after: MessageTrace): MessageTrace {
  return {
    ...after,
    timeline: [...before.timeline, ...after.timeline],
    isHistoryRetired: before.isHistoryRetired || after.isHistoryRetired,
    blocks: before.blocks + after.blocks,
  };
}

function story(print: Printer, trace: MessageTrace): string {
  const title = print.paint("bold", safe`Message ${trace.topic}@${trace.offset}`);
  const note = (text: string): string => `  ${print.paint("yellow", text)}`;
  const lines = eventLines(print, trace.timeline, trace.timeline[0]?.atMs ?? 0);
  if (trace.isHistoryRetired)
    lines.unshift(note("What happened before this was removed by retention."));
  if (trace.next !== undefined) lines.push(note("Interrupted: more may have happened later."));
  if (lines.length === 0) lines.push("  No group has been given it yet.");
  return [title, "", ...lines].join("\n");
}
