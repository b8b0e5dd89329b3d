/** Bugs of transactions and of their checks, as brokers really had them. */
import type { Engine } from "../../../broker/src/core/engine.ts";
import type { Place, RecordOf } from "../../../broker/src/core/records.ts";
import type { Send } from "../../../broker/src/core/types.ts";
import type { WorldOptions } from "../world.ts";
import {
  applies,
  MutantEngine,
  type Planted,
  patched,
  rewritten,
  steps,
  verdictOf,
  withPolicy,
} from "./planting.ts";

/** Puts the messages of a prepare into their topics, as a commit does. */
export function showMessages(
  engine: Engine,
  { messages }: RecordOf<"prepared">,
  first: Place,
): void {
  for (const [at, { topicNo, bytes }] of messages.entries())
    engine.core.state
      .topic(topicNo)
      .append({ ...first, slot: first.slot + at }, bytes, engine.core.state.atMs);
}

/** What a verdict does when it comes to a transaction that is decided: the engine shows it once more. */
const showAgainAfter = (state: "committed" | "rolledBack"): WorldOptions => {
  const prepared = new Map<string, { record: RecordOf<"prepared">; first: Place }>();
  return {
    newEngine: (policy) => {
      const engine: Engine = new MutantEngine(policy, (step, input, nowMs) => {
        const verdict = verdictOf(input);
        const id = verdict?.verdict === "commit" ? verdict.transactionId : "";
        const isLate = engine.core.state.decisions.get(id)?.state === state;
        const ready = step(input, nowMs);
        for (const record of ready.records) {
          const first = { block: engine.core.state.block, slot: 0 };
          if (record.kind === "prepared") prepared.set(record.transactionId, { record, first });
        }
        const known = prepared.get(id);
        if (!isLate || known === undefined) return ready;
        showMessages(engine, known.record, known.first);
        for (const { topicNo } of known.record.messages) engine.core.consumers.stirTopic(topicNo);
        return { ...ready, wakeAtMs: nowMs };
      });
      return engine;
    },
  };
};

export const TRANSACTION_BUGS: Planted = {
  "a check that reached nobody counts (RocketMQ #8311)": patched(({ core: { checks } }) => {
    const answered = checks.endpointAnswered.bind(checks);
    Object.assign(checks, {
      endpointAnswered: (...[one, answer, turn]: Parameters<typeof answered>) =>
        answered(one, { ...answer, isCounted: true }, turn),
    });
  }),
  "a repeated commit shows the messages again (RocketMQ #8158)": showAgainAfter("committed"),
  "a commit after a rollback is honoured (RocketMQ #8158)": showAgainAfter("rolledBack"),
  "half messages are visible": applies((engine, apply, record) => {
    const slot = 0;
    apply(record);
    if (record.kind === "prepared")
      showMessages(engine, record, { block: engine.core.state.block, slot });
  }),
  "a check goes out after the decision (RocketMQ #8158)": steps((_engine, step, input, nowMs) => {
    const ready = step(input, nowMs);
    const decided = ready.records.find((record) => record.kind === "decided");
    if (decided === undefined || input.kind !== "frame") return ready;
    const check: Send = {
      kind: "check",
      to: input.from,
      transactionId: decided.transactionId,
      group: "shop",
      attempt: 1,
      ageMs: 0,
      block: 1,
      slots: [],
    };
    return { ...ready, sends: [...ready.sends, check] };
  }),
  "a transaction is dropped at its last check (RocketMQ #500, #8311)": applies(
    (_engine, apply, record) => {
      if (record.kind !== "parked") return apply(record);
      const { transactionId, cause } = record;
      const who = "policy";
      apply({ kind: "decided", transactionId, verdict: "rollback", by: who, who, reason: cause });
    },
  ),
  "checks go on beyond the maximum": withPolicy(({ checkAttemptsMax }) => ({
    checkAttemptsMax: checkAttemptsMax + 1,
  })),
  "checks keep no distance": withPolicy(() => ({ checkIntervalMs: 1 })),
  "a connection is asked too much": withPolicy(() => ({
    checksPerConnectionMax: 1_000,
    checksTotalMax: 1_000,
  })),
  "one stalled check stops all others (RocketMQ #9500, #1568)": patched((engine) => {
    const { checks } = engine.core;
    const pump = checks.pump.bind(checks);
    Object.assign(checks, {
      pump: (turn: Parameters<typeof pump>[0]) => {
        if (checks.inFlight === 0) pump(turn);
      },
    });
  }),
  "a verdict that was given before is refused for want of room": steps(
    (engine, step, input, nowMs) => {
      const ready = step(input, nowMs);
      if (verdictOf(input) === null || engine.core.admission !== "none") return ready;
      const sends = ready.sends.map((send): Send => {
        if (send.kind !== "frame" || send.frame.type !== "ok") return send;
        const { re } = send.frame;
        return { ...send, frame: { type: "error", re, code: "DISK_FULL", message: "" } };
      });
      return { ...ready, sends };
    },
  ),
  "a verdict from any group is accepted (Kafka KIP-890)": rewritten((engine, input) => {
    const verdict = verdictOf(input);
    const known = engine.core.state.transactions.get(verdict?.transactionId ?? "");
    if (verdict === null || known === undefined || input.kind !== "frame") return input;
    return { ...input, frame: { ...verdict, group: known.group } };
  }),
  "a prepare with other content is taken for a repetition": rewritten((engine, input) => {
    if (input.kind !== "prepare") return input;
    const known = engine.core.state.transactions.get(input.frame.transactionId);
    return known === undefined ? input : { ...input, digest: known.digest };
  }),
  "a repeated prepare is a new transaction": rewritten((engine, input) => {
    if (input.kind !== "prepare") return input;
    const { transactionId } = input.frame;
    if (!engine.core.state.transactions.has(transactionId)) return input;
    return { ...input, frame: { ...input.frame, transactionId: `${transactionId}-again` } };
  }),
  "a resumed transaction keeps its count": applies(({ core: { state } }, apply, record) => {
    if (record.kind !== "resumed") return apply(record);
    const { checks } = state.transaction(record.transactionId);
    apply(record);
    state.transaction(record.transactionId).checks = checks;
  }),
  "a late unknown ends the next question": patched(({ core: { checks } }) => {
    const answered = checks.answered.bind(checks);
    Object.assign(checks, {
      answered: (...[one, answer, connection, turn]: Parameters<typeof answered>) => {
        const asked = checks.askedOf(one)?.connection;
        answered(one, { ...answer, attempt: one.checks + 1 }, asked ?? connection, turn);
      },
    });
  }),
};
