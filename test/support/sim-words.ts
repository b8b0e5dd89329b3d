/** Says in words what the engine did: the right-hand side of a scenario. Times count from its start. */
import type { LogRecord, Place, RecordOf, Timing } from "../../broker/src/core/records.ts";
import type { Delivery, Question, Send } from "../../broker/src/core/types.ts";
import type { Driver } from "./sim-driver.ts";
import { bodyIn } from "./sim-looking.ts";

/** The names that a scenario gave to what the engine numbers. */
export interface Names {
  readonly driver: Driver;
  readonly startMs: number;
  connection(id: number): string;
  /** d1, d2, …: a delivery, by its token. */
  delivery(token: string): string;
}

const text = new TextDecoder();

export function span(ms: number): string {
  const parts = [
    [Math.floor(ms / 3_600_000), "h"],
    [Math.floor(ms / 60_000) % 60, "m"],
    [Math.floor(ms / 1_000) % 60, "s"],
    [ms % 1_000, "ms"],
  ] as const;
  const said = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count}${unit}`);
  return said.length === 0 ? "0s" : said.join("");
}

const because = (reason: string): string => (reason === "" ? "" : `, "${reason}"`);

export function sayRecord(names: Names, record: LogRecord): string {
  const { state } = names.driver.engine.core;
  const topic = (no: number): string => state.topics.get(no)?.name ?? `topic ${no}`;
  const place = (cursorNo: number, offset: number): string => {
    const cursor = state.cursors.get(cursorNo);
    if (cursor === undefined) return `cursor ${cursorNo}/${offset}`;
    const group = state.groups.get(cursor.groupNo)?.name ?? "";
    return `${topic(cursor.topicNo)}/${offset} of ${group}`;
  };
  const group = (no: number): string => state.groups.get(no)?.name ?? `group ${no}`;
  const at = (ms: number): string => span(ms - names.startMs);
  const when = (timing: Timing | undefined): string => {
    if (timing === undefined) return "";
    const { key, delayMs, deliverAtMs, ttlMs } = timing;
    const delay = delayMs > 0 ? ` ${span(delayMs)} after its commit` : "";
    const due = deliverAtMs > 0 ? ` due at ${at(deliverAtMs)}` : delay;
    const lives = ttlMs > 0 ? `${due} for ${span(ttlMs)}` : due;
    return key !== 0 && due === "" ? `${lives} by its key` : lives;
  };
  const bodies = (messages: RecordOf<"sent">["messages"]): string =>
    messages
      .map(
        ({ topicNo, data, timing }) =>
          `${topic(topicNo)} "${data === null ? "" : text.decode(data)}"${when(timing)}`,
      )
      .join(", ");
  switch (record.kind) {
    case "opened":
      return `opened after a pause of ${span(record.pausedMs)}`;
    case "clock":
      return "the clock is noted";
    case "topicCreated":
      return `topic ${record.topic} created`;
    case "topicUpdated":
      return `topic ${topic(record.topicNo)} updated${record.settings.isPaused ? ", paused" : ""}`;
    case "topicDeleted":
      return `topic ${record.topicNo} deleted by ${record.operator}${because(record.reason)}`;
    case "groupUpdated":
      return `group ${record.group} set`;
    case "groupPaused": {
      const group = state.groups.get(record.groupNo)?.name ?? "";
      return `group ${group} ${record.isPaused ? "paused" : "resumed"} by ${record.operator}${because(record.reason)}`;
    }
    case "skipped":
      return `skipped ${record.offsets.map((offset) => place(record.cursorNo, offset)).join(", ")} by ${record.operator}${because(record.reason)}`;
    case "groupDeleted":
      return `group ${record.groupNo} deleted by ${record.operator}${because(record.reason)}`;
    case "cursorOpened":
      return `progress opened at ${place(record.cursorNo, record.nextOffset)}`;
    case "cursorReset":
      return `progress reset to ${place(record.cursorNo, record.nextOffset)} by ${record.operator}${because(record.reason)}`;
    case "cursorFiltered":
      return record.filter === ""
        ? `no filter at ${place(record.cursorNo, 0)}`
        : `filter ${record.filter} at ${place(record.cursorNo, 0)}`;
    case "taken": {
      const matching = record.offsets.map((offset) => place(record.cursorNo, offset)).join(", ");
      return `taken in up to ${record.nextOffset}: ${matching || "none"}, ${record.filtered} passed over`;
    }
    case "sent":
      return `sent ${record.sendId}: ${bodies(record.messages)}`;
    case "prepared": {
      const acks = record.acks.map((ack) => place(ack.cursorNo, ack.offset));
      const parts = [
        bodies(record.messages),
        acks.length > 0 ? `acks ${acks.join(", ")} pending` : "",
        `first check at ${at(record.checkAtMs)}`,
        record.onUndecided === "rollback" ? "rolled back if undecided" : "",
        record.reservesKeys === true ? "keys reserved" : "",
      ];
      return `prepared ${record.transactionId} by ${record.group}: ${parts.filter((part) => part !== "").join("; ")}`;
    }
    case "decided": {
      const who = record.who === "" ? "" : ` (${record.who})`;
      const verdict = record.verdict === "commit" ? "committed" : "rolled back";
      return `decided ${record.transactionId}: ${verdict} by ${record.by}${who}${because(record.reason)}`;
    }
    case "checked":
      return `checked ${record.transactionId}: ${record.outcome} from ${record.asked}, ${record.isCounted ? "counted" : "not counted"}, next at ${at(record.nextCheckAtMs)}`;
    case "parked":
      return `parked ${record.transactionId}: ${record.cause}`;
    case "resumed":
      return `resumed ${record.transactionId} by ${record.operator}${because(record.reason)}`;
    case "endpointSet":
      return `endpoint of ${record.group}: ${record.endpoint?.url ?? "none"}`;
    case "delivered":
      return `delivered to ${names.connection(record.connection)}: ${record.offsets.map((offset) => place(record.cursorNo, offset)).join(", ")}`;
    case "acked":
      return `acked ${record.offsets.map((offset) => place(record.cursorNo, offset)).join(", ")}`;
    case "returned":
      return `returned ${place(record.cursorNo, record.offset)}: ${record.cause}, ${record.isCounted ? "an attempt" : "no attempt"}, ready ${record.readyAtMs === 0 ? "now" : `at ${at(record.readyAtMs)}`}${because(record.reason)}`;
    case "buried":
      return `buried ${place(record.cursorNo, record.offset)} in ${topic(record.deadTopicNo)}${because(record.reason)}`;
    case "replayed":
    case "purged":
      return `${record.kind} ${topic(record.deadTopicNo)}/${record.offset} by ${record.operator}${because(record.reason)}`;
    case "retired":
      return `retired ${topic(record.topicNo)} before ${record.beforeOffset}`;
    case "due":
      return `due in ${topic(record.topicNo)}`;
    case "queued":
      return `due for ${topic(record.topicNo)}, behind a reserved key`;
    case "recalled":
      return `recalled ${record.messageId} out of ${topic(record.topicNo)}`;
    case "lapsed":
      return `lapsed ${record.offsets.map((offset) => place(record.cursorNo, offset)).join(", ")}`;
    case "instanceOpened":
      return `instance ${record.instance} of ${group(record.parentNo)} opened`;
    case "instanceSeen":
      return `instance ${group(record.groupNo)} ${record.isHere ? "is here" : "is away"}`;
    case "instanceForgotten":
      return `instance of group number ${record.groupNo} forgotten`;
    case "abandoned":
      return `abandoned ${place(record.cursorNo, record.offset)}${because(record.reason)}`;
    case "gapTold":
      return `told that ${record.lost} are lost in ${place(record.cursorNo, 0).replace("/0 of", " to")}`;
    case "moved":
      return `moved forward: ${bodies(record.messages)}`;
  }
}

export function saySend(names: Names, send: Send): readonly string[] {
  switch (send.kind) {
    case "frame":
      return [`-> ${names.connection(send.to)}: ${sayFrame(names, send.frame)}`];
    case "deliver":
      return send.deliveries.map(
        (delivery) =>
          `-> ${names.connection(send.to)}: ${sayDelivery(names, send.topic, delivery, send.leaseMs)}`,
      );
    case "reply":
      return [`-> ${names.connection(send.to)}: reply to ${send.correlation}`];
    case "check":
      return [`-> ${names.connection(send.to)}: ${sayQuestion(names, send)}`];
    case "askEndpoint":
      return [`-> ${send.url}: ${sayQuestion(names, send)}`];
    case "look":
      return [`asks for a look at ${send.places.length}`];
    case "inspect":
      return [`-> ${names.connection(send.to)}: ok, ${sayValue(names, send.inspection.value)}`];
  }
}

function sayFrame(names: Names, frame: Extract<Send, { readonly kind: "frame" }>["frame"]): string {
  if (frame.type === "error") {
    const detail = frame.detail as Readonly<Record<string, unknown>> | undefined;
    if (detail?.decidedBy === undefined) return `refused ${frame.code}`;
    const decidedAt = span(Number(detail.decidedAtMs) - names.startMs);
    return `refused ${frame.code}, decided by ${detail.decidedBy} (${detail.who}) at ${decidedAt}`;
  }
  if (frame.type === "ended") return `subscription ${frame.subscription} ended, ${frame.code}`;
  if (frame.type === "gap") return `gap, ${sayGaps(frame.gaps)}`;
  if (frame.type !== "ok") return frame.type;
  const parts = [
    frame.state ?? "",
    frame.duplicate === true ? "as before" : "",
    frame.stale === undefined ? "" : `stale ${frame.stale.map(names.delivery).join(" ")}`,
    frame.gaps === undefined ? "" : sayGaps(frame.gaps),
    frame.inbox === undefined ? "" : `inbox ${frame.inbox}`,
    frame.value === undefined ? "" : sayValue(names, frame.value as object),
  ];
  return ["ok", ...parts.filter((part) => part !== "")].join(", ");
}

const sayGaps = (
  gaps: readonly { topic: string; lost?: number | undefined; total: number }[],
): string =>
  gaps
    .map(({ topic, lost, total }) =>
      lost === undefined ? `${topic} is new to it` : `${lost} of ${topic} lost, ${total} ever`,
    )
    .join(", ");

function sayDelivery(names: Names, topic: string, delivery: Delivery, leaseMs: number): string {
  const { token, offset, attempt, place, origin } = delivery;
  const from =
    origin === null
      ? ""
      : `, from ${origin.topic}/${origin.offset} after ${origin.attempts}${because(origin.reason)}`;
  return `${names.delivery(token)} = ${topic}/${offset} "${bodyAt(names, place)}", attempt ${attempt}, lease ${span(leaseMs)}${from}`;
}

function sayQuestion(names: Names, question: Question): string {
  const { transactionId, attempt, ageMs, block, slots } = question;
  const bodies = slots.map((slot) => `"${bodyAt(names, { block, slot })}"`).join(", ");
  return `${transactionId}? check ${attempt}, age ${span(ageMs)}, ${bodies === "" ? "no messages" : bodies}`;
}

/** Operators' answers, one fact after the other; empty lists and times of the test's clock are left out. */
function sayValue(names: Names, value: object): string {
  const parts = Object.entries(value).flatMap(([name, fact]) => {
    if (Array.isArray(fact) && fact.length === 0) return [];
    if (name === "atMs") return [`at ${span(Number(fact) - names.startMs)}`];
    if (/AtMs$/.test(name))
      return [`${name.slice(0, -4)} at ${span(Number(fact) - names.startMs)}`];
    if (/DelaysMs$/.test(name))
      return [`${name.slice(0, -2)} ${(fact as readonly number[]).map(span).join(" ")}`];
    if (/Ms$/.test(name)) return [`${name.slice(0, -2)} ${span(Number(fact))}`];
    return [`${name} ${typeof fact === "object" ? sayList(names, fact) : fact}`];
  });
  return parts.join(", ");
}

const sayList = (names: Names, fact: unknown): string =>
  Array.isArray(fact)
    ? `[${fact.map((one) => (typeof one === "object" ? sayValue(names, one) : one)).join(" | ")}]`
    : `{${sayValue(names, fact as object)}}`;

const bodyAt = ({ driver }: Names, place: Place): string => bodyIn(driver.blocks, place) ?? "?";
