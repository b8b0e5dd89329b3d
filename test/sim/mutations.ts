/**
 * Bugs as brokers really had them, planted into the engine from outside. A checker that never failed proves
 * nothing: the auditor must find each of them (planted.test.ts).
 */
import type { PartSizes } from "../../broker/src/core/checkpoint.ts";
import { Engine, type SealedBlock } from "../../broker/src/core/engine.ts";
import { LastingPart, wholePart } from "../../broker/src/core/lasting-part.ts";
import { NOWHERE } from "../../broker/src/core/places.ts";
import type { Policy } from "../../broker/src/core/policy.ts";
import type { LogRecord, Place, RecordOf } from "../../broker/src/core/records.ts";
import { readToken, tokenOf } from "../../broker/src/core/token.ts";
import { Topic } from "../../broker/src/core/topic.ts";
import type { TransactionsPart } from "../../broker/src/core/transactions.ts";
import type { Input, Ready, Send } from "../../broker/src/core/types.ts";
import type { WorldOptions } from "./world.ts";

type Step = (input: Input, nowMs: number) => Ready;

class MutantEngine extends Engine {
  readonly #around: (step: Step, input: Input, nowMs: number) => Ready;

  constructor(policy: Policy, around: (step: Step, input: Input, nowMs: number) => Ready) {
    super(policy);
    this.#around = around;
  }

  override step(input: Input, nowMs: number, isMoreComing?: boolean): Ready {
    return this.#around((one, atMs) => super.step(one, atMs, isMoreComing), input, nowMs);
  }
}

/** Every step goes through `around`, which may change what goes in and what comes out. */
const steps = (
  around: (engine: Engine, step: Step, input: Input, nowMs: number) => Ready,
): WorldOptions => ({
  makeEngine: (policy) => {
    const engine: Engine = new MutantEngine(policy, (step, input, nowMs) =>
      around(engine, step, input, nowMs),
    );
    return engine;
  },
});

/** Every record is applied through `around`, live and at recovery alike. */
const applies = (
  around: (engine: Engine, apply: (record: LogRecord) => void, record: LogRecord) => void,
): WorldOptions => ({
  makeEngine: (policy) => {
    const engine = new Engine(policy);
    const { state } = engine.core;
    const apply = state.apply.bind(state);
    Object.assign(state, { apply: (record: LogRecord) => around(engine, apply, record) });
    return engine;
  },
});

const patched = (patch: (engine: Engine) => void): WorldOptions => ({
  makeEngine: (policy) => {
    const engine = new Engine(policy);
    patch(engine);
    return engine;
  },
});

const withPolicy = (change: (policy: Policy) => Partial<Policy>): WorldOptions => ({
  makeEngine: (policy) => new Engine({ ...policy, ...change(policy) }),
});

const verdictOf = (input: Input) =>
  input.kind === "frame" && input.frame.type === "verdict" ? input.frame : null;

/** Puts the messages of a prepare into their topics, as a commit does. */
function showMessages(engine: Engine, { messages }: RecordOf<"prepared">, first: Place): void {
  for (const [at, { topicNo, bytes }] of messages.entries())
    engine.core.state
      .topic(topicNo)
      .append({ ...first, slot: first.slot + at }, bytes, engine.core.state.atMs);
}

/** What a verdict does when it comes to a transaction that is decided: the engine shows it once more. */
const showAgainAfter = (state: "committed" | "rolledBack"): WorldOptions => {
  const prepared = new Map<string, { record: RecordOf<"prepared">; first: Place }>();
  return {
    makeEngine: (policy) => {
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

/** Swaps what a request names, on its way to the engine. */
const rewritten = (rewrite: (engine: Engine, input: Input) => Input): WorldOptions =>
  steps((engine, step, input, nowMs) => step(rewrite(engine, input), nowMs));

function freshToken(engine: Engine, token: string): string {
  const ref = readToken(token);
  const entry =
    ref === null ? undefined : engine.core.state.cursors.get(ref.cursorNo)?.entry(ref.offset);
  return ref !== null && entry?.state.kind === "leased"
    ? tokenOf(ref.cursorNo, ref.offset, entry.state.deliveryNo)
    : token;
}

class ForgetfulEngine extends Engine {
  override replay(block: SealedBlock): void {
    const records = block.records.filter(({ kind }) => kind !== "acked");
    super.replay({ ...block, records });
  }
}

function withoutTheFirst(part: TransactionsPart): TransactionsPart {
  const { ids, numbers, details } = part;
  return {
    ...part,
    ids: ids.slice(1),
    numbers: numbers.slice(numbers.length / ids.length),
    details: details.filter(([at]) => at > 0).map(([at, one]) => [at - 1, one]),
  };
}

/** Nothing of an index is captured when a save begins: each piece says what is there when it is taken. */
class LateIndexEngine extends Engine {
  override save(sizes?: PartSizes): Iterable<unknown> {
    for (const topic of this.core.state.topics.values()) {
      const save = Topic.prototype.saveIndex.bind(topic);
      Object.assign(topic, {
        saveIndex: function* (chunksMax: number) {
          yield* save(chunksMax);
        },
      });
    }
    return super.save(sizes);
  }
}

/** Where a part begins is not said in its name. */
class SameNamesEngine extends Engine {
  override *save(sizes?: PartSizes): Iterable<unknown> {
    for (const part of super.save(sizes))
      if (part instanceof LastingPart)
        yield new LastingPart(part.name.replace(/\d+-\d+$/, ""), part.make);
      else yield part;
  }
}

/** Its checkpoints lack some of what the state holds. */
class LossyCheckpointEngine extends Engine {
  readonly #lose: (part: object) => object | null;

  constructor(policy: Policy, lose: (part: object) => object | null) {
    super(policy);
    this.#lose = lose;
  }

  override save(sizes?: PartSizes): Iterable<unknown> {
    return left(super.save(sizes), this.#lose);
  }
}

function* left(parts: Iterable<unknown>, lose: (part: object) => object | null): Iterable<unknown> {
  for (const part of parts) {
    const whole = wholePart(part) as object;
    const rest = lose(whole);
    if (rest !== null) yield rest === whole ? part : rest;
  }
}

const losing = (lose: (part: object) => object | null): WorldOptions => ({
  makeEngine: (policy) => new LossyCheckpointEngine(policy, lose),
});

type Look = Engine["core"]["retention"]["look"];

/** Every look of retention goes through `around`. */
const retains = (around: (engine: Engine, look: Look, turn: Parameters<Look>[0]) => void) =>
  patched((engine) => {
    const { retention } = engine.core;
    const look = retention.look.bind(retention);
    Object.assign(retention, {
      look: (turn: Parameters<Look>[0]) => around(engine, look, turn),
    });
  });

/** The engine says that this block is the first that is needed. */
const needs = (neededBlock: (state: Engine["core"]["state"]) => number): WorldOptions =>
  patched(({ core: { state } }) => {
    Object.defineProperty(state, "neededBlock", { get: () => neededBlock(state) });
  });

export const MUTATIONS: Readonly<Record<string, WorldOptions>> = {
  "a reply goes out before its block is synced": { answersBeforeSync: true },
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
  "a repeated send is a new message": patched(({ core }) => {
    Object.assign(core.state.sends, { get: () => undefined });
  }),
  "old tokens are as good as new ones": rewritten((engine, input) => {
    if (input.kind !== "frame" || input.frame.type !== "ack") return input;
    const tokens = input.frame.tokens.map((token) => freshToken(engine, token));
    return { ...input, frame: { ...input.frame, tokens } };
  }),
  "a pending ack is delivered again": applies((engine, apply, record) => {
    apply(record);
    if (record.kind !== "prepared") return;
    for (const { cursorNo, offset } of record.acks)
      engine.core.state.cursor(cursorNo).giveBack(offset, "released", 0, false, "");
  }),
  "acks are forgotten at recovery": { makeEngine: (policy) => new ForgetfulEngine(policy) },
  "a checkpoint loses a transaction": losing((part) =>
    "transactions" in part
      ? { ...part, transactions: withoutTheFirst(part.transactions as TransactionsPart) }
      : part,
  ),
  "a checkpoint says of transactions what came after its block": patched(({ core: { state } }) => {
    // Nothing is frozen: each part says what is there when it is taken.
    const save = state.transactions.save.bind(state.transactions);
    Object.assign(state.transactions, {
      save: function* (countMax: number) {
        yield* save(countMax);
      },
    });
  }),
  "a checkpoint says of deliveries what came after its block": patched(({ core: { state } }) => {
    const { links, offset, deliveries, failures, kind, number, reason } = state.entries;
    const numbers = [offset, deliveries, failures, kind, number];
    Object.assign(state.entries, { freeze: () => ({ next: links.next, numbers, reason }) });
  }),
  "a checkpoint says of an index what came after its block": {
    makeEngine: (policy) => new LateIndexEngine(policy),
  },
  "a checkpoint loses which sends there were": losing((part) =>
    "remembered" in part && "of" in part && part.of === "sends" ? null : part,
  ),
  "a checkpoint loses the decisions": losing((part) =>
    "remembered" in part && "of" in part && part.of === "decisions" ? null : part,
  ),
  "what lasts of a checkpoint has the name of its neighbour": {
    makeEngine: (policy) => new SameNamesEngine(policy),
  },
  "a restart gives pending acks back": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind !== "opened") return;
    for (const cursor of state.cursors.values())
      for (const { offset, state: entry } of [...cursor.entries()])
        if (entry.kind === "pending") cursor.giveBack(offset, "restart", 0, false, "");
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
  "an extension of a lease is forgotten": patched(({ core }) => {
    Object.assign(core.consumers, { extend: () => undefined });
  }),
  "an unreadable body costs the consumer its credit": patched(({ core }) => {
    Object.assign(core.consumers, { refund: () => undefined });
  }),
  "a pause of the broker is not made up for": applies((_engine, apply, record) =>
    apply(record.kind === "opened" ? { ...record, pausedMs: 0 } : record),
  ),
  "more is delivered than was granted": patched(({ core: { consumers } }) => {
    const grant = consumers.grant.bind(consumers);
    Object.assign(consumers, {
      grant: (...[subscription, messages, ...rest]: Parameters<typeof grant>) =>
        grant(subscription, messages + 1, ...rest),
    });
  }),
  "attempts are not counted": applies((_engine, apply, record) =>
    apply(record.kind === "returned" ? { ...record, isCounted: false } : record),
  ),
  "a retry does not wait": applies((_engine, apply, record) =>
    apply(record.kind === "returned" ? { ...record, readyAtMs: 0 } : record),
  ),
  "an expired lease is not given back": patched(({ core: { alarms, state } }) => {
    const takeDue = alarms.takeDue.bind(alarms);
    Object.assign(alarms, {
      takeDue: (nowMs: number) => {
        const place = takeDue(nowMs);
        return state.entries.holder.at(place) === null ? place : NOWHERE;
      },
    });
  }),
  "an ack of one group counts for all": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind !== "acked") return;
    const { topicNo } = state.cursor(record.cursorNo);
    for (const cursor of state.readers.get(topicNo) ?? [])
      for (const offset of record.offsets)
        if (cursor.entry(offset)?.state.kind === "ready") cursor.settle(offset);
  }),
  "a buried message is not a dead letter": applies(({ core: { state } }, apply, record) => {
    apply(record);
    if (record.kind === "buried") state.topic(record.deadTopicNo).origins.clear();
  }),
  "a dead letter can be replayed twice": applies(({ core: { state } }, apply, record) => {
    if (record.kind !== "replayed") return apply(record);
    const { origins } = state.topic(record.deadTopicNo);
    const origin = origins.get(record.offset);
    apply(record);
    if (origin !== undefined) origins.set(record.offset, origin);
  }),
  "new messages wake nobody": patched(({ core }) => {
    Object.assign(core.consumers, { stirTopic: () => undefined });
  }),
  "retention takes what a group has not settled, though the topic keeps it": retains(
    ({ core: { state } }, look, turn) => {
      const said = new Map([...state.topics.values()].map((topic) => [topic, topic.settings]));
      for (const topic of said.keys()) topic.settings = { ...topic.settings, unsettled: "drop" };
      look(turn);
      for (const [topic, settings] of said) topic.settings = settings;
    },
  ),
  "retention goes one message too far": retains(({ core: { state } }, look, turn) => {
    const log = turn.log.bind(turn);
    const further = (record: LogRecord): LogRecord => {
      if (record.kind !== "retired") return record;
      const { nextOffset } = state.topic(record.topicNo);
      return { ...record, beforeOffset: Math.min(record.beforeOffset + 1, nextOffset) };
    };
    Object.assign(turn, { log: (record: LogRecord) => log(further(record)) });
    look(turn);
    Object.assign(turn, { log });
  }),
  "what retention took from a group is not counted": applies(
    ({ core: { state } }, apply, record) => {
      if (record.kind !== "retired") return apply(record);
      const { expired } = state.topic(record.topicNo);
      apply(record);
      state.topic(record.topicNo).expired = expired;
    },
  ),
  "after a start groups get no time to come back": withPolicy(() => ({ dropAfterStartMs: 0 })),
  "retention stops after a while": retains(({ core }, look, turn) => {
    const log = turn.log.bind(turn);
    if (core.state.block >= 40) Object.assign(turn, { log: () => undefined });
    look(turn);
    Object.assign(turn, { log });
  }),
  "an idle broker does not wake for retention": patched(({ core: { retention } }) => {
    Object.assign(retention, { stir: () => undefined });
  }),
  "a segment goes though an undecided transaction is in it": needs(({ topics, block }) =>
    Math.min(block + 1, ...[...topics.values()].map((topic) => topic.lowestBlock)),
  ),
  "a segment goes though a dead letter is in it": needs(({ topics, transactions, block }) => {
    const alive = [...topics.values()].filter((topic) => !topic.isDeadLetters);
    const undecided = [...transactions.values()].filter(({ messages }) => messages.length > 0);
    return Math.min(
      block + 1,
      ...alive.map((topic) => topic.lowestBlock),
      ...undecided.map((transaction) => transaction.place.block),
    );
  }),
  "what is copied forward is taken for its neighbour": applies((_engine, apply, record) => {
    if (record.kind !== "moved") return apply(record);
    const { length } = record.messages;
    const entries = record.entries.map((one) => ({ ...one, at: (one.at + 1) % length }));
    apply({ ...record, entries });
  }),
  "a transaction is looked for where it stood before it was copied forward": applies(
    (_engine, apply, record) =>
      apply(record.kind === "moved" ? { ...record, transactions: [] } : record),
  ),
  "what was retired while it was read is copied forward": rewritten(
    ({ core: { state } }, input) => {
      if (input.kind !== "copied") return input;
      // Whatever stands at the topic's front now is said to be it.
      const messages = input.messages.map((one) => {
        if (one.of.kind !== "entry") return one;
        const topic = state.topics.get(one.of.topicNo);
        const offset = topic?.firstOffset ?? 0;
        const place = topic?.neededPlaceOf(offset);
        return place == null ? one : { ...one, of: { ...one.of, offset, place } };
      });
      return { ...input, messages };
    },
  ),
  "a checkpoint forgets what a group lost to retention": losing((part) =>
    "cursor" in part ? { ...part, cursor: { ...(part.cursor as object), expired: 0 } } : part,
  ),
  "a step delivers, and its record is lost": steps((_engine, step, input, nowMs) => {
    const ready = step(input, nowMs);
    return { ...ready, records: ready.records.filter(({ kind }) => kind !== "delivered") };
  }),
};
