/** Bugs of the store, of checkpoints and of recovery. */
import type { PartSizes } from "../../../broker/src/core/checkpoint.ts";
import { Engine, type SealedBlock } from "../../../broker/src/core/engine.ts";
import { LastingPart, wholePart } from "../../../broker/src/core/lasting-part.ts";
import type { Policy } from "../../../broker/src/core/policy.ts";
import type { RecordOf } from "../../../broker/src/core/records.ts";
import { Topic } from "../../../broker/src/core/topic.ts";
import type { TransactionsPart } from "../../../broker/src/core/transactions.ts";
import { MemoryStore } from "../../../broker/src/store/memory-store.ts";
import type { WorldOptions } from "../world.ts";
import { storeWith } from "./broken-store.ts";
import { applies, type Planted, patched } from "./planting.ts";
import { showMessages } from "./transactions.ts";

class ForgetfulEngine extends Engine {
  override replay(block: SealedBlock): void {
    const records = block.records.filter(({ kind }) => kind !== "acked");
    super.replay({ ...block, records });
  }
}

/** What was committed before it stopped it commits once more when it starts. */
class TwiceCommittingEngine extends Engine {
  readonly #prepared = new Map<string, { record: RecordOf<"prepared">; block: number }>();

  override replay(block: SealedBlock): void {
    super.replay(block);
    for (const record of block.records) {
      if (record.kind === "prepared")
        this.#prepared.set(record.transactionId, { record, block: block.number });
      if (record.kind !== "decided" || record.verdict !== "commit") continue;
      const known = this.#prepared.get(record.transactionId);
      if (known !== undefined) showMessages(this, known.record, { block: known.block, slot: 0 });
    }
  }
}

class ChainlessStore extends MemoryStore {
  protected override isNext(): boolean {
    return true;
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

export const losing = (lose: (part: object) => object | null): WorldOptions => ({
  newEngine: (policy) => new LossyCheckpointEngine(policy, lose),
});

export const DURABILITY_BUGS: Planted = {
  "a reply goes out before its block is synced": storeWith((store) => {
    let before: Promise<void> = Promise.resolve();
    return {
      append: async (block) => {
        const last = before;
        before = last.then(() => store.append(block));
        // One append at a time is all that it keeps to.
        before.catch(() => undefined);
        await last;
      },
    };
  }),
  "a failed write is taken for done": storeWith((store) => ({
    append: (block) => store.append(block).catch(() => undefined),
  })),
  "the chain of hashes is not looked at": { openStore: (disk) => ChainlessStore.open(disk) },
  "a commit is done again at a restart (RocketMQ #10199)": {
    newEngine: (policy) => new TwiceCommittingEngine(policy),
  },
  "acks are forgotten at recovery": { newEngine: (policy) => new ForgetfulEngine(policy) },
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
    const key = { at: (place: number) => state.entries.keyOf(place) };
    Object.assign(state.entries, { freeze: () => ({ next: links.next, numbers, reason, key }) });
  }),
  "a checkpoint says of an index what came after its block": {
    newEngine: (policy) => new LateIndexEngine(policy),
  },
  "a checkpoint loses which sends there were": losing((part) =>
    "remembered" in part && "of" in part && part.of === "sends" ? null : part,
  ),
  "a checkpoint loses the decisions": losing((part) =>
    "remembered" in part && "of" in part && part.of === "decisions" ? null : part,
  ),
  "what lasts of a checkpoint has the name of its neighbour": {
    newEngine: (policy) => new SameNamesEngine(policy),
  },
  "a pause of the broker is not made up for": applies((_engine, apply, record) =>
    apply(record.kind === "opened" ? { ...record, pausedMs: 0 } : record),
  ),
};
