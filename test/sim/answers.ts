/** What a reply may say, given what the log says: one answer to each request, and a true one (P3, R1, D3). */
import {
  type BrokerFrames,
  type ClientFrames,
  decodeMessage,
  type RequestFrame,
} from "@escrowmq/protocol";
import type { Admission, Input, Ready } from "../../broker/src/core/types.ts";
import { frameOf, type Moment, mayReserve } from "./causes.ts";
import { demandResetView } from "./positions.ts";
import { demand } from "./violation.ts";

type Reply = BrokerFrames["ok"] | BrokerFrames["error"];

const SETTLING = new Set([
  "sent",
  "prepared",
  "acked",
  "replayed",
  "purged",
  "resumed",
  "recalled",
  "skipped",
]);

/** The reply to the request of this step, or null if it was none. */
export function demandReply(input: Input, ready: Ready, moment: Moment): Reply | null {
  const frame = frameOf(input);
  if (frame === null || !("id" in frame)) return null;
  const replies = ready.sends.flatMap((send): Reply[] => {
    if (send.kind === "inspect") return [{ type: "ok", re: send.re }];
    return send.kind === "frame" && "re" in send.frame ? [send.frame] : [];
  });
  const [reply, ...others] = replies.filter(({ re }) => re === frame.id);
  demand(
    reply !== undefined && others.length === 0,
    "R1",
    () => `${frame.type} is not answered once`,
  );
  if (reply.type === "error") {
    const changed = ready.records.find(({ kind }) => SETTLING.has(kind));
    demand(changed === undefined, "P3", () => `${frame.type} is refused, and ${changed?.kind}`);
  }
  // A verdict or an ack is never refused for load, only when there is no room at all.
  const least = frame.type === "send" || frame.type === "prepare" ? "settle" : "none";
  if (!isRepetition(frame, moment) && demandRoom(reply, moment.presence.admission, least))
    return reply;
  switch (frame.type) {
    case "send":
      demandSend(frame, reply, moment);
      break;
    case "prepare":
      demandPrepare(frame, reply, moment);
      break;
    case "verdict":
      demandVerdict(frame, reply, moment);
      break;
    case "recall":
      demandRecall(frame, reply, moment);
      break;
    case "group.reset":
      demandResetView(frame, reply, moment.ledger);
      break;
    case "ack":
    case "release":
    case "extend":
      demandStale(frame.tokens, reply, moment);
      break;
    case "retry":
    case "bury":
      demand(
        reply.type === "ok" ? moment.valid.size === 1 : moment.valid.size === 0,
        "D3",
        () => `${frame.type} with ${frame.token} is answered ${reply.type}`,
      );
      break;
    default:
      break;
  }
  return reply;
}

function demandSend(frame: ClientFrames["send"], reply: Reply, moment: Moment): void {
  const { ledger, input } = moment;
  demandWaiting(frame, reply, moment);
  const known = ledger.sends.get(frame.sendId);
  const digest = input.kind === "send" ? input.digest : 0;
  if (reply.type === "ok")
    demand(known === digest, "T7", () => `${frame.sendId} is ok, but is not in the log`);
  else if (reply.code === "TX_CONFLICT")
    demand(known !== undefined && known !== digest, "T7", () => `${frame.sendId} has no conflict`);
}

/** So many may wait for their time or for others' verdicts. */
function demandWaiting(
  { messages }: ClientFrames["send" | "prepare"],
  reply: Reply,
  { ledger, policy }: Moment,
): void {
  if (reply.type === "ok" || reply.code !== "SCHEDULED_LIMIT") return;
  const { size } = ledger.schedule.all;
  const isMet = size + messages.length > policy.scheduledMax;
  demand(isMet, "D20", () => `${size} messages wait, and ${messages.length} more are refused`);
}

function demandPrepare(frame: ClientFrames["prepare"], reply: Reply, moment: Moment): void {
  const { ledger, input, presence, valid, policy } = moment;
  const { transactionId: id, group } = frame;
  const known = ledger.transactions.get(id);
  const digest = input.kind === "prepare" ? input.digest : 0;
  const isSame = known !== undefined && known.digest === digest && known.group === group;
  if (reply.type === "ok") {
    demand(isSame, "T7", () => `${id} is ok, but is not in the log`);
    const isDecided = reply.state === "committed" || reply.state === "rolledBack";
    demand(!isDecided || reply.state === known.state, "T2", () => `${id} is said ${reply.state}`);
    return;
  }
  demand(!isSame, "T7", () => `${id} is prepared, and refused ${reply.code}`);
  if (reply.code === "TX_CONFLICT")
    demand(known !== undefined, "T7", () => `${id} has no conflict`);
  if (reply.code === "NO_CHECKER")
    demand(
      presence.checkersOf(group).length === 0 && !ledger.endpoints.has(group),
      "C1",
      () => `${group} can be asked`,
    );
  demandWaiting(frame, reply, moment);
  if (reply.code === "RESERVATION_LIMIT") {
    const more = frame.messages.filter((data) => mayReserve(decodeMessage(data))).length;
    const reserved = [...ledger.schedule.keys.reservations()].length;
    const isMet = reserved + more > policy.reservationsMax;
    demand(isMet, "D20", () => `${reserved} keys are reserved, and ${more} more are refused`);
  }
  if (reply.code === "STALE_DELIVERY")
    demand(valid.size < (frame.acks ?? []).length, "T9", () => "no token was stale");
}

function demandVerdict(frame: ClientFrames["verdict"], reply: Reply, { ledger }: Moment): void {
  const { transactionId: id, verdict } = frame;
  const known = ledger.transactions.get(id);
  if (known === undefined)
    return demand(reply.type === "error" && reply.code === "TX_NOT_FOUND", "T6", () => id);
  if (known.group !== frame.group)
    return demand(reply.type === "error" && reply.code === "WRONG_GROUP", "T4", () => id);
  if (verdict === "unknown") return;
  const wanted = verdict === "commit" ? "committed" : "rolledBack";
  if (known.state === wanted)
    return demand(
      reply.type === "ok" && reply.state === wanted,
      "P3",
      () => `${id} is ${wanted}, and the same verdict is refused`,
    );
  const code = known.state === "committed" ? "TX_ALREADY_COMMITTED" : "TX_ALREADY_ROLLED_BACK";
  demand(
    reply.type === "error" &&
      reply.code === code &&
      (reply.detail as Record<string, unknown> | undefined)?.decidedBy === known.by &&
      (reply.detail as Record<string, unknown>).who === known.who &&
      (reply.detail as Record<string, unknown>).decidedAtMs === known.decidedAtMs,
    "P3",
    () => `${id} is ${known.state} by ${known.by}, and ${verdict} is answered otherwise`,
  );
}

function demandRecall(frame: ClientFrames["recall"], reply: Reply, { ledger }: Moment): void {
  const { topic, messageId: id } = frame;
  const topicNo = ledger.topicNos.get(topic) ?? 0;
  const { schedule } = ledger;
  demand(schedule.of(topicNo, id).length === 0, "D14", () => `${id} waits after its recall`);
  const isRecalled = schedule.recalled.has(`${topicNo} ${id}`);
  demand(isRecalled === (reply.type === "ok"), "D14", () => `recall of ${id}: ${reply.type}`);
}

/** What was done before is answered so, and never refused for want of room: nothing has to be written for it. */
function isRepetition(frame: RequestFrame, { input, ledger }: Moment): boolean {
  if (frame.type === "recall")
    return ledger.schedule.recalled.has(`${ledger.topicNos.get(frame.topic)} ${frame.messageId}`);
  if (frame.type === "verdict") {
    const known = ledger.transactions.get(frame.transactionId);
    return known !== undefined && !ledger.undecided.has(known.id);
  }
  if (input.kind === "prepare") return ledger.transactions.has(input.frame.transactionId);
  return input.kind === "send" && ledger.sends.has(input.frame.sendId);
}

/** True: refused for want of room, rightly. `least`: how little room it takes. */
function demandRoom(reply: Reply, admission: Admission, least: "settle" | "none"): boolean {
  if (reply.type === "ok" || reply.code !== "DISK_FULL") return false;
  const isFull = admission === "none" || admission === least;
  demand(isFull, "P3", () => `refused for want of room, but the disk takes ${admission}`);
  return true;
}

/** Exactly the tokens that were not valid, or stood there before, are named as stale. */
function demandStale(tokens: readonly string[], reply: Reply, { valid }: Moment): void {
  if (reply.type === "error") return;
  const stale = reply.stale?.length ?? 0;
  demand(
    stale === tokens.length - valid.size,
    "D3",
    () => `of ${tokens.length} tokens ${stale} are said stale, but ${valid.size} were valid`,
  );
}
